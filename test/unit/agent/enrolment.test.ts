import { createPublicKey, verify } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Enrolment,
  enrol,
  nodeKey,
  readEnrolment,
  requireSafeUrl,
} from '../../../src/agent/enrolment.ts';
import { countStart, takeIdentity } from '../../../src/agent/identity.ts';
import { publicKeyText, readKey, takeKey } from '../../../src/base/key-file.ts';
import { readBootId } from '../../../src/daemon/boot-id.ts';
import { lockStateFolder, prepareStateFolder } from '../../../src/daemon/state-folder.ts';
import type { Native } from '../../../src/native.ts';
import { helloProofText } from '../../../src/protocol/control.ts';
import { challenge, createHandClock } from '../link/parts.ts';

let stateDir = '';
let folder = '';
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'flopd-agent-'));
  folder = join(stateDir, 'agent');
  mkdirSync(folder);
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

const enrolment: Enrolment = {
  version: 1,
  nodeId: 'node-1',
  schedulerId: challenge.schedulerId,
  schedulerUrl: 'http://127.0.0.1:7070',
  name: 'host',
  credential: null,
  signedCredential: null,
  tokenFile: null,
  withRunner: false,
  givenName: null,
};

describe('the node key', () => {
  test('is made once, private from the first byte, and found again', () => {
    const path = join(folder, 'key.pem');
    const key = takeKey(path, nodeKey);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(publicKeyText(takeKey(path, nodeKey))).toBe(publicKeyText(key));
    expect(readFileSync(path, 'utf8')).toContain('PRIVATE KEY');
    expect(
      createPublicKey({ key: Buffer.from(publicKeyText(key), 'base64'), format: 'der', type: 'spki' })
        .asymmetricKeyType,
    ).toBe('ed25519');
  });

  test('that others may read is refused by name, with the remedy', () => {
    const path = join(folder, 'key.pem');
    takeKey(path, nodeKey);
    for (const mode of [0o640, 0o604, 0o620]) {
      chmodSync(path, mode);
      expect(() => readKey(path, nodeKey)).toThrow(
        expect.objectContaining({
          code: 'AGENT_KEY_EXPOSED',
          remedy: expect.stringContaining(`chmod 600 ${path}`),
        }),
      );
    }
  });

  test('that is no key is refused without a word of what it holds', () => {
    const path = join(folder, 'key.pem');
    for (const text of ['', 'SECRET', '-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n']) {
      writeFileSync(path, text, { mode: 0o600 });
      try {
        readKey(path, nodeKey);
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({ code: 'AGENT_KEY_DAMAGED' });
        expect((error as Error).cause).toBeUndefined();
        expect(String(error)).not.toContain('SECRET');
      }
    }
  });

  test('is not looked for behind a symbolic link', () => {
    takeKey(join(folder, 'other.pem'), nodeKey);
    symlinkSync(join(folder, 'other.pem'), join(folder, 'key.pem'));
    expect(() => readKey(join(folder, 'key.pem'), nodeKey)).toThrow(
      expect.objectContaining({ code: 'AGENT_KEY_DAMAGED' }),
    );
    expect(readKey(join(folder, 'none.pem'), nodeKey)).toBeNull();
  });
});

describe('the identity', () => {
  test('proves itself for exactly this challenge, boot and start', () => {
    const key = takeKey(join(folder, 'key.pem'), nodeKey);
    const identity = takeIdentity(folder, enrolment, 'boot-1', createHandClock());
    const publicKey = createPublicKey(key);
    const check = (nonce: string): boolean =>
      verify(
        null,
        Buffer.from(
          helloProofText({ nodeId: 'node-1', bootId: 'boot-1', generation: 1 }, { ...challenge, nonce }),
        ),
        publicKey,
        Buffer.from(identity.prove(challenge, ''), 'base64'),
      );
    expect(check(challenge.nonce)).toBe(true);
    expect(check('another nonce')).toBe(false);
  });

  test('is not shown to another scheduler', () => {
    takeKey(join(folder, 'key.pem'), nodeKey);
    const identity = takeIdentity(folder, enrolment, 'boot-1', createHandClock());
    expect(() => identity.prove({ ...challenge, schedulerId: 'scheduler-evil' }, '')).toThrow(
      expect.objectContaining({ code: 'AGENT_OTHER_SCHEDULER' }),
    );
  });

  test('counts each start, and never goes back when the count is damaged', () => {
    const path = join(folder, 'generation');
    const clock = createHandClock();
    expect([countStart(path, clock), countStart(path, clock), countStart(path, clock)]).toEqual([1, 2, 3]);
    for (const text of ['', 'x', '-1', '9'.repeat(30)]) {
      writeFileSync(path, text);
      expect(countStart(path, clock)).toBeGreaterThan(1e9);
    }
    expect(readFileSync(path, 'utf8')).toMatch(/^\d+\n$/);
  });

  test('without its key is an error that says what to do', () => {
    expect(() => takeIdentity(folder, enrolment, 'boot-1', createHandClock())).toThrow(
      expect.objectContaining({ code: 'AGENT_KEY_DAMAGED', remedy: expect.stringContaining('join') }),
    );
  });

  test('takes the boot id from the kernel, or says that there is none', () => {
    mkdirSync(join(stateDir, 'sys/kernel/random'), { recursive: true });
    const path = join(stateDir, 'sys/kernel/random/boot_id');
    writeFileSync(path, '5fbd8a7e-0000-4000-8000-000000000000\n');
    expect(readBootId(stateDir)).toBe('5fbd8a7e-0000-4000-8000-000000000000');
    writeFileSync(path, '\n');
    expect(() => readBootId(stateDir)).toThrow(expect.objectContaining({ code: 'AGENT_BOOT_ID' }));
    expect(() => readBootId('/nowhere')).toThrow(expect.objectContaining({ code: 'AGENT_BOOT_ID' }));
  });
});

describe('the enrolment', () => {
  test('is absent before, read after, and refused when it is damaged', async () => {
    expect(await readEnrolment(stateDir)).toBeNull();
    expect(await readEnrolment('/nowhere')).toBeNull();
    writeFileSync(join(folder, 'node.json'), JSON.stringify(enrolment));
    expect(await readEnrolment(stateDir)).toEqual(enrolment);
    for (const text of ['', '{', 'null', '{}', JSON.stringify({ ...enrolment, nodeId: '../x' })]) {
      writeFileSync(join(folder, 'node.json'), text);
      await expect(readEnrolment(stateDir)).rejects.toMatchObject({ code: 'AGENT_ENROLMENT_DAMAGED' });
    }
  });

  test('of a host that is enrolled is not replaced', async () => {
    writeFileSync(join(folder, 'node.json'), JSON.stringify(enrolment));
    await expect(enrol({ url: 'http://127.0.0.1:1', token: 't', stateDir, name: 'n' })).rejects.toMatchObject(
      {
        code: 'AGENT_ENROLLED',
        message: expect.stringContaining('node-1'),
      },
    );
  });

  test('with an empty token or a name without end asks nobody', async () => {
    const url = 'http://127.0.0.1:1';
    await expect(enrol({ url, token: ' \n', stateDir, name: 'n' })).rejects.toMatchObject({
      code: 'ENROL_TOKEN',
    });
    await expect(enrol({ url, token: 't', stateDir, name: 'n'.repeat(254) })).rejects.toMatchObject({
      code: 'ENROL_NAME',
    });
  });

  test('goes over TLS, or stays on this machine', () => {
    for (const url of [
      'https://a.example',
      'wss://a.example',
      'http://127.0.0.1:7070',
      'http://localhost:1',
      'http://[::1]:7070',
      'ws://127.9.9.9',
    ]) {
      requireSafeUrl(url);
    }
    for (const url of [
      'http://10.0.0.1:7070',
      'ws://a.example',
      'http://127.0.0.1.evil.example',
      'http://localhost.evil.example',
      'ftp://127.0.0.1',
      'file:///etc/passwd',
      'nonsense',
      '',
    ]) {
      expect(() => requireSafeUrl(url), url).toThrow(
        expect.objectContaining({ code: 'AGENT_URL', field: 'scheduler' }),
      );
    }
  });
});

describe('the state folder', () => {
  test('is made private, also when it was open before', () => {
    const fresh = join(stateDir, 'a', 'b');
    expect(statSync(prepareStateFolder(fresh)).mode & 0o777).toBe(0o700);
    chmodSync(folder, 0o755);
    expect(statSync(prepareStateFolder(stateDir)).mode & 0o777).toBe(0o700);
  });

  test('that cannot be written is refused with key and remedy', () => {
    const file = join(stateDir, 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below'), '/proc/flopd', `/tmp/${'x'.repeat(300)}`]) {
      expect(() => prepareStateFolder(path), path).toThrow(
        expect.objectContaining({
          code: 'AGENT_STATE_DIR',
          field: 'stateDir',
          remedy: expect.stringContaining('--state-dir'),
        }),
      );
    }
  });

  test('that another agent holds is refused with its pid', () => {
    const native = { lockFile: () => -1 } as unknown as Native;
    writeFileSync(join(folder, 'lock'), '4711\n');
    expect(() => lockStateFolder(folder, native)).toThrow(
      expect.objectContaining({
        code: 'AGENT_LOCKED',
        message: 'another flopd agent (pid 4711) uses this state directory',
      }),
    );
    writeFileSync(join(folder, 'lock'), 'rubbish');
    expect(() => lockStateFolder(folder, native)).toThrow('(pid unknown)');
  });
});
