// native/build.mjs as npm and people call it, in a copy of the package.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadNative } from '../../../src/native.ts';
import { isBuilt, packageRoot, title } from './addon.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-build-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function build(args: readonly string[], environment: Record<string, string> = {}) {
  return spawnSync(process.execPath, [join(folder, 'native/build.mjs'), ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '', ...environment },
  });
}

describe.skipIf(!isBuilt)(title('native/build.mjs'), () => {
  const addon = join(folder, 'native/build/flopd.node');
  const notBuild = (path: string): boolean => !path.startsWith(join(packageRoot, 'native/build/'));
  cpSync(join(packageRoot, 'native'), join(folder, 'native'), { recursive: true, filter: notBuild });
  cpSync(join(packageRoot, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(packageRoot, 'node_modules'), join(folder, 'node_modules'));

  it('tells npm in two lines what is missing, and goes on', () => {
    const { status, stderr, stdout } = build(['--tolerant'], { CC: 'no-such-compiler' });
    expect([status, stdout]).toEqual([0, '']);
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain('compiler not found: no-such-compiler');
    expect(lines[0]).toContain('host numbers stay absent and jobs cannot run');
    expect(lines[1]).toContain('apt-get install g++');
  });

  it('fails without the tolerance, and on an argument that it does not know', () => {
    expect(build([], { CXX: 'no-such-compiler' }).status).toBe(1);
    expect(build(['--asna']).status).toBe(2);
    expect(existsSync(addon)).toBe(false);
  });

  it('builds without a warning, then only what changed', { timeout: 60_000 }, () => {
    const first = build(['--strict']);
    expect([first.status, first.stderr]).toEqual([0, '']);
    expect(loadNative(addon).problem).toBeNull();
    const made = statSync(addon).mtimeMs;
    expect(build(['--strict']).stdout).toBe('native: up to date\n');
    expect(statSync(addon).mtimeMs).toBe(made);
    const later = new Date(Date.now() + 5000);
    utimesSync(join(folder, 'native/notify.c'), later, later);
    expect(build(['--strict']).stdout).toBe('native: built native/build/flopd.node\n');
  });

  it('keeps the program that runs when a source is broken', { timeout: 60_000 }, () => {
    writeFileSync(join(folder, 'native/notify.c'), 'this is no C');
    const later = new Date(Date.now() + 10_000);
    utimesSync(join(folder, 'native/notify.c'), later, later);
    const broken = build(['--strict']);
    expect(broken.status).toBe(1);
    expect(broken.stderr).toContain('notify.c');
    expect(loadNative(addon).problem).toBeNull();
    expect(build(['--tolerant', '--strict']).status).toBe(0);
  });
});
