import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  MAX_TIMES_ENTRIES,
  openOutputTimes,
  parseTimes,
  TIMES_PERIOD_MS,
} from '../../../src/scheduler/output-times.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-times-'));
  path = join(folder, 'times');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the index of times', () => {
  test('says where what came since a time begins, to a second, and the same after a restart', async () => {
    const times = openOutputTimes(path, true);
    for (let tenth = 0; tenth < 100; tenth += 1) await times.note(100_000 + tenth * 100, tenth * 10);
    for (const index of [times, openOutputTimes(path, false)]) {
      expect(await index.offsetAt(99_999)).toBe(0);
      expect(await index.offsetAt(100_000)).toBe(0);
      expect(await index.offsetAt(105_000)).toBe(500);
      expect(await index.offsetAt(105_999)).toBe(500);
      expect(await index.offsetAt(999_999)).toBe(900);
    }
  });

  test('needs no file for output that came within a second', async () => {
    const times = openOutputTimes(path, true);
    await times.note(100_000, 0);
    expect(times.note(100_000 + TIMES_PERIOD_MS - 1, 50)).toBeNull();
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
    expect(await times.offsetAt(200_000)).toBe(0);
  });

  test('goes on after a restart, with a clock that went back, without going back itself', async () => {
    const first = openOutputTimes(path, true);
    for (let second = 0; second < 5; second += 1) await first.note(100_000 + second * 1000, second);
    const second = openOutputTimes(path, false);
    await second.note(50_000, 5);
    await second.note(106_000, 6);
    expect(await second.offsetAt(106_000)).toBe(6);
    expect(await second.offsetAt(105_999)).toBe(4);
  });

  test('stays within its bound, coarser and never later than the truth', async () => {
    const times = openOutputTimes(path, true);
    const seconds = MAX_TIMES_ENTRIES + 500;
    for (let second = 0; second < seconds; second += 1) await times.note(second * 1000, second * 100);
    expect(statSync(path).size).toBeLessThanOrEqual(16 * (MAX_TIMES_ENTRIES + 1));
    for (const second of [1, 77, 4000, MAX_TIMES_ENTRIES, seconds - 1]) {
      const offset = await times.offsetAt(second * 1000);
      expect(offset).toBeLessThanOrEqual(second * 100);
      expect(offset).toBeGreaterThanOrEqual((second - 2) * 100);
    }
  });

  test('reads a torn, foreign or impossible file as far as it makes sense', async () => {
    const times = openOutputTimes(path, true);
    for (let second = 0; second < 4; second += 1) await times.note(second * 1000, second * 10);
    expect(parseTimes(Buffer.alloc(0)).entries).toEqual([]);
    expect(parseTimes(Buffer.from('not an index at all, but text')).entries).toEqual([]);
    writeFileSync(path, 'x'.repeat(100));
    expect(await openOutputTimes(path, false).offsetAt(5)).toBe(0);
    await openOutputTimes(join(folder, 'no', 'such'), false).note(1000, 0);
  });
});
