import { describe, expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import { openJournal } from '../../../src/job/journal.ts';
import { encodeRecord, parseJournal } from '../../../src/job/journal-format.ts';
import { createFakeClock, settleDown } from './fake-clock.ts';
import { createMemoryDisk } from './memory-disk.ts';

async function open(disk = createMemoryDisk(), live: object[] = []) {
  const clock = createFakeClock();
  const opened = await openJournal({
    disk,
    live: () => live,
    clock,
    log: createSilentLog(),
    random: () => 0,
  });
  return { ...opened, disk, clock };
}

describe('journal', () => {
  test('records of one turn, and those that come while the disk works, share one write each', async () => {
    const { journal, disk } = await open();
    let openGate = (): void => {};
    disk.gate = () =>
      new Promise((resolve) => {
        openGate = resolve;
      });
    const first = [journal.append({ n: 1 }), journal.append({ n: 2 })];
    await settleDown();
    const second = [journal.append({ n: 3 }), journal.append({ n: 4 }), journal.append({ n: 5 })];
    expect(disk.appends).toBe(1);
    disk.gate = null;
    openGate();
    await Promise.all([...first, ...second]);
    expect(disk.appends).toBe(2);
    expect(parseJournal(disk.bytes).records).toEqual([1, 2, 3, 4, 5].map((n) => ({ n })));
  });

  test('a lazy record goes with the next batch, or after a second', async () => {
    const { journal, disk, clock } = await open();
    journal.appendLazily({ n: 1 });
    await settleDown();
    expect(disk.appends).toBe(0);
    clock.advance(1000);
    await settleDown();
    expect(parseJournal(disk.bytes).records).toEqual([{ n: 1 }]);
    journal.appendLazily({ n: 2 });
    await journal.append({ n: 3 });
    expect(disk.appends).toBe(2);
  });

  test('damage is kept aside, reported and mended, and what is whole is read', async () => {
    const lines = [{ n: 1 }, { n: 2 }, { n: 3 }].map(encodeRecord);
    lines[1] = (lines[1] ?? '').replace('2}', '9}');
    const disk = createMemoryDisk(Buffer.from(`${lines.join('')}12345678 99 {"half`));
    const { read, journal } = await open(disk);
    expect(read.records).toEqual([{ n: 1 }, { n: 3 }]);
    expect(read.damage.map(({ kind }) => kind)).toEqual(['damaged', 'torn']);
    expect(Buffer.concat(disk.aside).toString()).toContain('"n":9');
    await journal.append({ n: 4 });
    expect(parseJournal(disk.bytes)).toEqual({ records: [{ n: 1 }, { n: 3 }, { n: 4 }], damage: [] });
  });

  test('a failed write is final: its records are refused, and the journal is written anew before anything is promised', async () => {
    const live = [{ alive: true }];
    const { journal, disk, clock } = await open(undefined, live);
    await journal.append({ n: 1 });
    disk.failing = 'EIO';
    await expect(journal.append({ n: 2 })).rejects.toMatchObject({ code: 'JOB_JOURNAL_FAILED' });
    expect(journal.problem()).toContain('EIO');
    disk.failing = null;
    await expect(journal.append({ n: 3 })).rejects.toMatchObject({ code: 'JOB_JOURNAL_FAILED' });
    const appends = disk.appends;
    clock.advance(30_000);
    await settleDown();
    expect(journal.problem()).toBeNull();
    expect(disk.appends).toBe(appends);
    await journal.append({ n: 4 });
    expect(parseJournal(disk.bytes).records).toEqual([{ alive: true }, { n: 4 }]);
  });

  test('a lazy record after a mended failure is written after a second as well', async () => {
    const { journal, disk, clock } = await open();
    disk.failing = 'EIO';
    await expect(journal.append({ n: 1 })).rejects.toMatchObject({ code: 'JOB_JOURNAL_FAILED' });
    disk.failing = null;
    clock.advance(30_000);
    await settleDown();
    journal.appendLazily({ n: 2 });
    clock.advance(1000);
    await settleDown();
    expect(parseJournal(disk.bytes).records).toEqual([{ n: 2 }]);
  });

  test('a full disk is met with the reserve', async () => {
    const { journal, disk, clock } = await open(undefined, [{ alive: true }]);
    disk.failing = 'ENOSPC';
    disk.reserve = true;
    await journal.append({ n: 1 }).catch(() => {});
    clock.advance(30_000);
    await settleDown();
    expect([disk.reserve, journal.problem()]).toEqual([false, null]);
    expect(parseJournal(disk.bytes).records).toEqual([{ alive: true }]);
  });

  test('goes on trying for as long as the disk refuses', async () => {
    const { journal, disk, clock } = await open();
    disk.failing = 'EROFS';
    await journal.append({ n: 1 }).catch(() => {});
    const before = disk.replaces;
    for (let i = 0; i < 5; i += 1) {
      clock.advance(30_000);
      await settleDown();
    }
    expect(disk.replaces).toBeGreaterThanOrEqual(before + 5);
    expect(journal.problem()).toContain('EROFS');
  });

  test('a disk that refuses from the start leaves a journal that says so', async () => {
    const disk = createMemoryDisk();
    disk.failing = 'EROFS';
    const { journal } = await open(disk);
    expect(journal.problem()).toContain('EROFS');
  });

  test('grows no further than a multiple of what is alive', async () => {
    const { journal, disk } = await open(undefined, [{ alive: true }]);
    const big = { text: 'x'.repeat(500_000) };
    for (let i = 0; i < 12; i += 1) await journal.append(big);
    expect(disk.bytes.length).toBeLessThan(5_000_000);
    expect(parseJournal(disk.bytes).records[0]).toEqual({ alive: true });
  });

  test('closing writes what waits, and nothing after', async () => {
    const { journal, disk } = await open();
    journal.appendLazily({ n: 1 });
    await journal.close();
    expect(parseJournal(disk.bytes).records).toEqual([{ n: 1 }]);
    await expect(journal.append({ n: 2 })).rejects.toMatchObject({ code: 'JOB_JOURNAL_FAILED' });
  });
});
