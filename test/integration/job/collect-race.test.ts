// A job's process that is left over swaps a folder for a link and back while its outputs are collected and its inputs
// are placed: nothing outside of the workspace is ever read or written.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openFolder } from '../../../src/files/beneath.ts';
import { placeTree } from '../../../src/files/place.ts';
import { collectOutput } from '../../../src/job/collect.ts';
import { createStore, digestOf, freshFolder } from '../../unit/files/parts.ts';

/** By hand: FLOPD_RACE_ROUNDS=10000. */
const ROUNDS = Number(process.env.FLOPD_RACE_ROUNDS ?? 200);

const PATIENCE_MS = 20_000;

/** Exchanges two names as fast as it can, until it is killed; says a line when it has begun. */
const SWAPPER = `
const { renameSync } = require('node:fs');
const [, one, two] = process.argv;
console.log('begun');
for (;;) {
  try { renameSync(one, one + '.x'); renameSync(two, one); renameSync(one, two); renameSync(one + '.x', one); } catch {}
}`;

async function startSwapper(one: string, two: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', SWAPPER, one, two], { stdio: ['ignore', 'pipe', 'ignore'] });
  const gone = new Promise((resolve) => child.once('close', resolve));
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await gone;
  });
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  return child;
}

test('collecting reads no file outside, however often a folder is swapped for a link', async () => {
  const folder = freshFolder();
  const outside = freshFolder();
  writeFileSync(join(outside, 'f'), 'secret');
  const workspace = join(folder, 'workspace');
  mkdirSync(join(workspace, 'out', 'x'), { recursive: true });
  writeFileSync(join(workspace, 'out', 'x', 'f'), 'own');
  symlinkSync(outside, join(workspace, 'out', 'y'));
  await startSwapper(join(workspace, 'out', 'x'), join(workspace, 'out', 'y'));
  const store = createStore({ syncs: false });
  const { signal } = new AbortController();
  const seen = new Set<string>();
  // Longer where the swapper gets no time: a race with nobody would prove nothing.
  const endMs = performance.now() + PATIENCE_MS;
  for (let round = 0; round < ROUNDS || (seen.size < 2 && performance.now() < endMs); round += 1) {
    const kept = await collectOutput(folder, round % 2 === 0 ? 'out/x/f' : 'out', store, signal);
    seen.add(kept.problem ?? (kept.kind === 'file' ? 'own file' : 'tree'));
    if (kept.kind === 'file') expect(kept.digest).toBe(digestOf('own'));
  }
  expect(store.sizeOf(digestOf('secret'))).toBeNull();
  // The race was one: it was met before and behind the swap.
  expect(seen.size).toBeGreaterThan(1);
});

test('placing writes nothing outside, however often a folder is swapped for a link', async () => {
  const outside = freshFolder();
  const target = freshFolder();
  const swapped = join(target, 'd');
  symlinkSync(outside, join(target, 'z'));
  mkdirSync(swapped);
  await startSwapper(swapped, join(target, 'z'));
  async function* entries() {
    yield [
      { kind: 'folder' as const, path: 'd' },
      { kind: 'file' as const, path: 'd/f', sizeBytes: 1, digest: digestOf('1'), executable: false },
    ];
  }
  let placed = 0;
  const endMs = performance.now() + PATIENCE_MS;
  for (let round = 0; round < ROUNDS || (placed === 0 && performance.now() < endMs); round += 1) {
    const root = await openFolder(target);
    try {
      await placeTree(root, entries(), {
        sizeBytes: 1,
        owner: null,
        contents: async (_, file) => void (await file.write('1')),
      });
      placed += 1;
    } catch {
      // It met the link, or what an earlier round has made.
    } finally {
      await root.close();
    }
    for (const name of readdirSync(target)) rmSync(join(target, name, 'f'), { force: true });
    expect(readdirSync(outside)).toEqual([]);
  }
  expect(placed).toBeGreaterThan(0);
});
