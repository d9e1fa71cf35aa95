// The crew in C, with a vendor that hangs, vanishes and floods, under the sanitizers.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { isBuilt } from './addon.ts';
import { buildSyntheticProgram } from './synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-crew-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const main = fileURLToPath(new URL('crew.c', import.meta.url));
// All but the vendors' own files, which are not called here.
const ours = /^(?!nvidia|ascend)/;
const seed = `${process.env.FLOPD_FUZZ_SEED ?? 20260101}`;

function hasLibrary(name: string): boolean {
  const answer = spawnSync(process.env.CC ?? 'cc', [`-print-file-name=${name}`], { encoding: 'utf8' });
  const path = answer.stdout?.trim() ?? '';
  return path.startsWith('/') && existsSync(path);
}

/** Runs the program; resolves to its exit code and what it wrote. */
function run(program: string, args: readonly string[]): Promise<{ code: number | null; text: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (more) => (text += more));
    child.on('close', (code) => resolve({ code, text }));
  });
}

describe.concurrent.each([
  ['ThreadSanitizer', 'libtsan.so', 'thread'],
  ['AddressSanitizer', 'libasan.so', 'address,undefined'],
])('the crew under %s', (name, library, sanitize) => {
  const isThere = isBuilt && hasLibrary(library);
  const title = isThere ? 'keeps to its contract' : `keeps to its contract (skipped: no addon or ${library})`;
  it.skipIf(!isThere)(title, { timeout: 400_000 }, async ({ expect: check }) => {
    const own = join(folder, name);
    const script = join(own, 'script');
    mkdirSync(script, { recursive: true });
    const flags = ['-O1', `-fsanitize=${sanitize}`, '-fno-sanitize-recover=all', '-fno-omit-frame-pointer'];
    const program = buildSyntheticProgram(own, main, flags, ours);
    const { code, text } = await run(program, [script, seed]);
    check(text.trimEnd().split('\n').at(-1)).toBe('well');
    check([code, text.includes('WARNING')]).toEqual([0, false]);
  });
});

it('is not silently skipped where the compiler is missing', () => {
  expect(spawnSync(process.env.CC ?? 'cc', ['--version']).status).toBe(0);
});
