// Kernel messages that tell of a device's error: every form, and nothing out of any other text.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isBuilt, packageRoot, title } from './addon.ts';
import { buildSyntheticProgram } from './synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-kernel-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let program: string;

beforeAll(() => {
  if (!isBuilt) return;
  const asan = spawnSync(process.env.CC ?? 'cc', ['-print-file-name=libasan.so'], { encoding: 'utf8' });
  const flags = existsSync(asan.stdout.trim())
    ? ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
    : [];
  const main = join(packageRoot, 'test/integration/native/kernel-lines.c');
  program = buildSyntheticProgram(folder, main, ['-O1', ...flags], /^kernel-log|xid/);
}, 120_000);

function parse(...lines: (string | Uint8Array)[]): string[] {
  const input = Buffer.concat(lines.flatMap((line) => [Buffer.from(line), Buffer.from('\n')]));
  const { status, stdout, stderr } = spawnSync(program, [], {
    input,
    encoding: 'latin1',
    maxBuffer: 64 << 20,
  });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.replace(/\n$/, '').split('\n');
}

const full = 'NVRM: Xid (PCI:0000:65:00): 79, pid=1234, name=python, GPU has fallen off the bus.';

describe.skipIf(!isBuilt)(title('kernel messages'), () => {
  it.each([
    [full, '79 0000:65:00 pid=1234, name=python, GPU has fallen off the bus.'],
    [`4,1234,56789,-;${full}`, '79 0000:65:00 pid=1234, name=python, GPU has fallen off the bus.'],
    [`4,1234,56789,-,caller=T12;${full}`, '79 0000:65:00 pid=1234, name=python, GPU has fallen off the bus.'],
    [`[  123.456789] ${full}`, '79 0000:65:00 pid=1234, name=python, GPU has fallen off the bus.'],
    ['NVRM: Xid (PCI:0000:8A:00 GPU-I:05): 94, pid=7, Contained', '94 0000:8A:00 pid=7, Contained'],
    ['NVRM: Xid (0000:03:00): 13, 0001 00000000', '13 0000:03:00 0001 00000000'],
    ['NVRM: Xid (PCI:00000000:03:00.0): 48, x\t\xff', '48 00000000:03:00.0 x???'],
    ['NVRM: Xid (PCI:0000:03:00): 63', '63 0000:03:00 '],
  ])('%s', (line, expected) => {
    expect(parse(line)).toEqual([expected]);
  });

  it.each([
    '',
    `12,1,2,-;${full}`,
    ` ${full}`,
    `kernel: ${full}`,
    `[ 1.2 ${full}`,
    full.replace('Xid', 'SXid'),
    full.replace('79', ''),
    full.replace('79', '-79'),
    full.replace('79', '79x'),
    full.replace('79', '0'),
    full.replace('79', '65536'),
    full.replace('79', '99999999999999999999999'),
    full.replace('0000:65:00', ''),
    full.replace('0000:65:00', '65:00'),
    full.replace('0000:65:00', '0000:65:zz'),
    full.replace('0000:65:00', '0'.repeat(5000)),
    'NVRM: Xid (PCI:0000:65:00 GPU-I:05',
    'NVRM: GPU at PCI:0000:65:00: GPU-5',
  ])('nothing in %j', (line) => {
    expect(parse(line)).toEqual(['-']);
  });

  const capture = join(packageRoot, '../shared/fixtures/nvidia/xid/dmesg-xid-119.log');
  it.skipIf(!existsSync(capture))('finds what a real log holds, and no more', () => {
    const lines = readFileSync(capture, 'utf8').trimEnd().split('\n');
    const found = parse(...lines).filter((line) => line !== '-');
    expect(found).toHaveLength(lines.filter((line) => line.includes('NVRM: Xid (')).length);
    expect(new Set(found.map((line) => line.split(' ', 2).join(' ')))).toEqual(new Set(['119 0000:9b:00']));
  });

  it('never invents a code or an address, however the message is garbled', { timeout: 60_000 }, () => {
    const bytes = fc.uint8Array({ maxLength: 12 }).map((each) => Buffer.from(each).toString('latin1'));
    const garbled = fc
      .tuple(fc.nat(full.length), fc.nat(8), bytes, fc.constantFrom('', '4,1,2,-;', '12,1,2,-;', '['))
      .map(([at, gone, more, prefix]) => prefix + full.slice(0, at) + more + full.slice(at + gone))
      .map((line) => line.replaceAll('\n', ' '));
    const lines = fc.sample(garbled, {
      numRuns: 20_000,
      seed: Number(process.env.FLOPD_FUZZ_SEED ?? 20260101),
    });
    const found = parse(...lines.map((line) => Buffer.from(line, 'latin1')));
    expect(found).toHaveLength(lines.length);
    for (const [at, answer] of found.entries()) {
      const [code = '', bus = ''] = answer.split(' ');
      if (answer === '-') continue;
      expect(lines[at]).toContain(`${bus}`);
      expect(lines[at]).toMatch(new RegExp(`: *0*${code}`));
    }
    expect(found.filter((answer) => answer !== '-').length).toBeGreaterThan(1000);
  });
});
