// The addon and the parsers under AddressSanitizer.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { packageRoot } from './addon.ts';

const compiler = process.env.CC ?? 'cc';
const library =
  spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
const hasAsan = library.startsWith('/') && existsSync(library);
const folder = mkdtempSync(join(tmpdir(), 'flopd-asan-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!hasAsan)(hasAsan ? 'AddressSanitizer' : 'AddressSanitizer (skipped: no libasan)', () => {
  it('finds nothing in the addon', { timeout: 120_000 }, () => {
    execFileSync(process.execPath, [join(packageRoot, 'native/build.mjs'), '--asan'], { stdio: 'pipe' });
    const script = fileURLToPath(new URL('asan-script.mjs', import.meta.url));
    const addon = join(packageRoot, 'native/build/asan/flopd.node');
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, addon, folder], {
      encoding: 'utf8',
      // V8 itself leaves memory behind when it ends.
      env: { PATH: process.env.PATH, LD_PRELOAD: library, ASAN_OPTIONS: 'detect_leaks=0' },
    });
    expect(stderr).toBe('');
    expect([status, stdout]).toEqual([0, 'done\n']);
  });

  it('finds nothing in the parsers, whatever the texts', { timeout: 120_000 }, () => {
    const host = join(packageRoot, 'native/host');
    const sources = readdirSync(host)
      .filter((name) => name.endsWith('.c') && name !== 'source.c')
      .map((name) => join(host, name));
    const flags = [
      '-std=gnu11',
      '-D_GNU_SOURCE',
      '-g',
      '-O1',
      '-fsanitize=address,undefined',
      '-fno-sanitize-recover',
    ];
    const fuzz = join(folder, 'fuzz');
    const main = fileURLToPath(new URL('fuzz.c', import.meta.url));
    const all = [...sources, join(packageRoot, 'native/row.c'), main];
    execFileSync(compiler, [...flags, `-I${join(packageRoot, 'native')}`, ...all, '-lm', '-o', fuzz]);
    const seed = `${process.env.FLOPD_FUZZ_SEED ?? 20260101}`;
    const { status, stdout, stderr } = spawnSync(fuzz, ['400', seed], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect([status, stdout]).toEqual([0, '400 rounds\n']);
  });
});
