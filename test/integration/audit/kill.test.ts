// A process that writes an audit log is killed at any moment, again and again on the same folder: the chain holds, and what
// was on disk before is there after.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyChain } from '../../../src/audit/verify.ts';

const SEED = 20261128;
const LIVES = 12;
const folder = mkdtempSync(join(tmpdir(), 'flopd-audit-kill-'));
let entry = '';

beforeAll(async () => {
  const cache = join(import.meta.dirname, '../../.cache');
  mkdirSync(cache, { recursive: true });
  entry = join(mkdtempSync(join(cache, 'audit-')), 'writer.mjs');
  const bundle = await rolldown({
    input: join(import.meta.dirname, 'writer-process.ts'),
    platform: 'node',
    logLevel: 'silent',
  });
  await bundle.write({ file: entry, format: 'esm', codeSplitting: false });
  await bundle.close();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  rmSync(join(entry, '..'), { recursive: true, force: true });
});

test('killed at any moment, the chain holds and nothing that was on disk is gone', async () => {
  let seed = SEED;
  const random = (below: number): number => {
    seed = (seed * 48_271) % 0x7fff_ffff;
    return seed % below;
  };
  let last = 0;
  for (let life = 0; life < LIVES; life += 1) {
    const child = spawn(process.execPath, [entry, folder, String(1 + random(400))], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let durable = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      durable = Math.max(durable, ...chunk.toString().trim().split('\n').map(Number));
    });
    // From the first start of this life to some writes later.
    const lines = 1 + random(60);
    for (let seen = 0; seen < lines; seen += 1) await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
    const seen: string[] = [];
    let reached = 0;
    const found = verifyChain(join(folder, 'audit'), null, {
      onRecord({ sequence, kind }) {
        reached = sequence;
        if (kind !== 'job.ordered') seen.push(kind);
      },
    });
    expect(found.problems, `seed ${SEED}, life ${life}`).toEqual([]);
    expect(reached).toBeGreaterThanOrEqual(durable);
    expect(reached).toBeGreaterThanOrEqual(last);
    expect(seen).not.toContain('chain.broken');
    last = reached;
  }
  expect(last).toBeGreaterThan(LIVES);
});
