import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  findLogin,
  followLogin,
  forgetLogin,
  keepAuthorities,
  keepLogin,
  type Login,
  loginFile,
  readLogins,
} from '../../../src/cli/login-store.ts';

let folder: string;
let environment: Record<string, string>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-logins-'));
  environment = { XDG_CONFIG_HOME: join(folder, 'config') };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const login = (user: string): Login => ({
  user,
  token: `token-of-${user}`,
  schedulerId: 'scheduler-a',
  authorities: null,
  checkedAtMs: 0,
});

describe('the file of logins', () => {
  it('keeps one for each scheduler, the last of them first in line, and is for its user alone', () => {
    expect(readLogins(environment)).toEqual({ version: 1, latest: null, schedulers: {} });
    keepLogin(environment, 'https://a', login('mei'));
    keepLogin(environment, 'https://b', login('lin'));
    keepLogin(environment, 'https://a', login('ada'));
    expect(findLogin(environment, 'https://a')).toEqual(login('ada'));
    expect(findLogin(environment, '__proto__')).toBeNull();
    expect(readLogins(environment).latest).toBe('https://a');
    expect(statSync(loginFile(environment)).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'config', 'flopd')).mode & 0o777).toBe(0o700);
    expect([forgetLogin(environment, 'https://a'), forgetLogin(environment, 'https://a')]).toEqual([
      true,
      false,
    ]);
    expect(readLogins(environment).latest).toBe('https://b');
  });

  it('learns of authorities without making that login the latest, and of none that there is not', () => {
    keepLogin(environment, 'https://a', login('mei'));
    keepLogin(environment, 'https://b', login('lin'));
    keepAuthorities(environment, 'https://a', ['PEM'], 5);
    keepAuthorities(environment, 'https://c', ['PEM'], 5);
    expect(readLogins(environment)).toEqual({
      version: 1,
      latest: 'https://b',
      schedulers: {
        'https://a': { ...login('mei'), authorities: ['PEM'], checkedAtMs: 5 },
        'https://b': login('lin'),
      },
    });
  });

  it('tells the authorities of a login as they are now, the same list while they are, and the last while there are none', () => {
    const first = { ...login('mei'), authorities: ['PEM'] };
    keepLogin(environment, 'https://a', first);
    const present = followLogin(environment, 'https://a', first);
    expect(present()).toBe(first.authorities);
    keepAuthorities(environment, 'https://a', ['PEM', 'NEXT'], 5);
    expect(present()).toEqual(['PEM', 'NEXT']);
    expect(present()).toBe(present());
    writeFileSync(loginFile(environment), 'damaged');
    expect(present()).toEqual(['PEM', 'NEXT']);
    rmSync(loginFile(environment));
    expect(present()).toEqual(['PEM', 'NEXT']);
  });

  it('is refused when others may read it, or when it is damaged, without a word of what is in it', () => {
    keepLogin(environment, 'https://a', login('mei'));
    const path = loginFile(environment);
    chmodSync(path, 0o640);
    expect(() => readLogins(environment)).toThrow(/is open to other users/);
    chmodSync(path, 0o600);
    for (const text of [
      '',
      '{"token":"secret',
      '{"version":1,"latest":null,"schedulers":{"https://a":"secret"}}',
    ]) {
      writeFileSync(path, text);
      expect(() => readLogins(environment)).toThrow(/^the file of logins .* is damaged$/);
    }
  });
});
