// The example job: right, metered, and loud when it is wrong.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { packageRoot, paths } from './addon.ts';

const isBuilt = existsSync(paths.matmul);
const folder = mkdtempSync(join(tmpdir(), 'flopd-matmul-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (args: readonly string[], environment: Record<string, string> = {}, program = paths.matmul) =>
  spawnSync(program, args, { env: environment, encoding: 'utf8' });

describe.skipIf(!isBuilt)(isBuilt ? 'flopd-matmul' : 'flopd-matmul (skipped: it is not built)', () => {
  it.each([1, 2, 5, 31, 97, 200, 257, 400])('verifies the product of size %i on three threads', (size) => {
    const { status, stdout, stderr } = run(['--size', `${size}`, '--threads', '3', '--seconds', '0']);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`${size} × ${size}, 3 threads`);
    expect(stdout).toContain('1 products');
    expect(stdout).toMatch(/FLOP in [\d.]+ s: [\d.]+ GFLOP\/s, verified\n$/);
  });

  it('appends what it did to the meter file', () => {
    const file = join(folder, 'meter');
    run(['--size', '100', '--seconds', '0'], { FLOPD_METER_FILE: file });
    run(['--size', '64', '--seconds', '0.05'], { FLOPD_METER_FILE: file });
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^flop=2000000 seconds=\d+\.\d{6} precision=fp64$/);
    const [, flop, seconds] = /^flop=(\d+) seconds=(\S+) /.exec(lines[1] ?? '') ?? [];
    expect(Number(flop) % (2 * 64 ** 3)).toBe(0);
    expect(Number(seconds)).toBeGreaterThanOrEqual(0.05);
  });

  it('goes on when the meter file cannot be written, and says so', () => {
    const { status, stderr } = run(['--size', '8', '--seconds', '0'], { FLOPD_METER_FILE: '/nosuch/meter' });
    expect(status).toBe(0);
    expect(stderr).toContain('/nosuch/meter');
  });

  it.each([
    ['--size', '0'],
    ['--size', 'x'],
    ['--size', '1.5'],
    ['--size'],
    ['--threads', '-1'],
    ['--seconds', 'nan'],
    ['--what', '1'],
  ])('answers %s %s with its usage and 2', (...args) => {
    const { status, stderr } = run(args.filter((arg) => arg !== undefined));
    expect(status).toBe(2);
    expect(stderr).toContain('usage:');
  });

  it('exits 1 when one element of the product is wrong', () => {
    const faulty = join(folder, 'faulty');
    const source = join(packageRoot, 'native/example/matmul.c');
    execFileSync(process.env.CC ?? 'cc', [
      '-O2',
      '-D_GNU_SOURCE',
      '-DFLOPD_MATMUL_FAULT',
      '-pthread',
      source,
      '-o',
      faulty,
      '-lm',
    ]);
    const { status, stderr } = run(['--size', '300', '--seconds', '0'], {}, faulty);
    expect([status, stderr]).toEqual([1, 'flopd-matmul: the first product is wrong\n']);
  });
});
