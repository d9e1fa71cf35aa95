// Stored output on a real disk: where what came since a time begins, and what was removed.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createOutputStore, type OutputLengths, type OutputStore } from '../../../src/scheduler/output.ts';

describe('stored output', () => {
  let folder: string;
  let store: OutputStore;
  let wallMs: number;
  let synced: OutputLengths[];
  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), 'flopd-output-store-')), 'output');
    mkdirSync(folder);
    wallMs = Date.now() - 1_000_000;
    open();
  });
  afterEach(async () => {
    await store.close();
    rmSync(join(folder, '..'), { recursive: true, force: true });
  });

  function open(): void {
    synced = [];
    const clock: Clock = { ...createClock(), wallMs: () => wallMs };
    const events = {
      grew() {},
      synced: (_jobId: string, _epoch: number, lengths: OutputLengths) => void synced.push(lengths),
    };
    store = createOutputStore({ folder, clock, log: createSilentLog(), events });
  }

  const append = (offset: number, text: string, epoch = 1): Promise<void> =>
    new Promise((resolve) => store.append('job-a', epoch, 'stdout', offset, Buffer.from(text), resolve));
  const since = async (ms: number): Promise<number> => (await store.offsetsAt('job-a', 1, ms)).stdoutBytes;
  const settled = (): Promise<OutputLengths> => store.syncedLengths('job-a', 1);

  it('begins where what came since a time begins, also after a restart', async () => {
    const beganMs = wallMs;
    for (let second = 0; second < 5; second += 1) {
      await append(second * 10, 'x'.repeat(10));
      wallMs += 2000;
    }
    for (const restarted of [false, true]) {
      if (restarted) {
        await store.close();
        open();
      }
      expect(await since(0)).toBe(0);
      expect(await since(beganMs + 4000)).toBe(20);
      expect(await since(beganMs + 5999)).toBe(20);
      expect(await since(beganMs + 8000)).toBe(40);
      // Nothing of a stream is newer than its file.
      expect(await since(Date.now() + 60_000)).toBe(50);
    }
  });

  it('that was removed says why, and tells an agent that offers it again that all of it is here', async () => {
    await append(0, 'hello');
    wallMs += 5000;
    await append(5, 'later');
    await settled();
    expect(await store.list()).toEqual([{ jobId: 'job-a', epoch: 1, bytes: 10 + 48 }]);
    // A sync may still be due.
    while (!(await store.remove('job-a', 1, 'removed: a test')))
      await new Promise((resolve) => setTimeout(resolve, 5));
    expect(readdirSync(folder)).toEqual(['job-a.1.removed']);
    for (const restarted of [false, true]) {
      if (restarted) {
        await store.close();
        open();
      }
      expect(await store.removal('job-a', 1)).toBe('removed: a test');
      expect(await store.lengths('job-a', 1)).toEqual({ stdoutBytes: 0, stderrBytes: 0 });
      expect((await store.read('job-a', 1, 'stdout', 0, 100)).length).toBe(0);
      await append(10, 'more');
      expect(synced.at(-1)?.stdoutBytes).toBe(Number.MAX_SAFE_INTEGER);
      expect((await settled()).stdoutBytes).toBe(Number.MAX_SAFE_INTEGER);
      expect(existsSync(join(folder, 'job-a.1.stdout'))).toBe(false);
    }
    expect(await store.removal('job-a', 2)).toBeNull();
    expect(await store.list()).toEqual([]);
  });

  it('is removed from a full disk too, which takes no words on why before', async () => {
    await append(0, 'a'.repeat(100));
    await settled();
    symlinkSync('/dev/full', join(folder, 'job-a.1.removed'));
    await expect.poll(() => store.remove('job-a', 1, 'removed: a test')).toBe(true);
    expect(readdirSync(folder)).toEqual(['job-a.1.removed']);
  });

  it('is not removed while something is under way with it', async () => {
    const writing = append(0, 'hello');
    expect(await store.remove('job-a', 1, 'too soon')).toBe(false);
    await writing;
    await settled();
    expect(await store.removal('job-a', 1)).toBeNull();
    expect((await store.lengths('job-a', 1)).stdoutBytes).toBe(5);
  });
});
