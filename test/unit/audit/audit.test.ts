import { appendFileSync, chmodSync, cpSync, existsSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { parseLine } from '../../../src/audit/chain.ts';
import { WAITING_MAX } from '../../../src/audit/writer.ts';
import type { AuditFacts } from '../../../src/protocol/audit.ts';
import { createChainBed } from './chain-bed.ts';

const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 20_000, interval: 5 });

describe('the audit log', () => {
  test('goes on where it was, over restarts, with one file only its user reads', async () => {
    const bed = createChainBed();
    await bed.fill(2);
    await bed.fill(2);
    bed.whole(8);
    expect(bed.records().map(({ kind }) => kind)).toEqual([
      'opened',
      'job.ordered',
      'job.ordered',
      'closed',
      'opened',
      'job.ordered',
      'job.ordered',
      'closed',
    ]);
    expect(bed.records()[4]?.facts).toMatchObject({ clean: true, afterSequence: 4 });
    expect(statSync(bed.path()).mode & 0o777).toBe(0o600);
  });

  test('is on disk soon without being closed, and its head soon after', async () => {
    const bed = createChainBed();
    const audit = bed.open();
    audit.record('job.ordered', { jobId: 'job-1', epoch: 1 });
    await until(() =>
      expect(bed.verify()).toMatchObject({ records: 2, head: { sequence: 2 }, problems: [] }),
    );
    expect(audit.head()?.sequence).toBe(2);
    await audit.close();
  });

  test('facts are cut, made one line, and hold no number that JSON has not', async () => {
    const bed = createChainBed();
    const audit = bed.open();
    audit.record('node.enrolled', {
      name: `x\n{"forged":1}\u001b[31m\u202e\u2028${'y'.repeat(500)}`,
      ratio: Number.NaN,
      none: null,
    });
    await audit.close();
    bed.whole(3);
    const facts: AuditFacts = bed.records()[1]?.facts ?? {};
    expect(facts.name).toMatch(/^x\ufffd\{"forged":1\}\ufffd\[31m\ufffd\ufffdy+…$/);
    expect(String(facts.name)).toHaveLength(256);
    expect(facts).toMatchObject({ ratio: null, none: null });
  });

  test('a torn last line is cut off, kept aside and noted, cut at whatever byte', async () => {
    const bed = createChainBed();
    await bed.fill(2);
    const whole = bed.bytes();
    for (let extra = 1; extra < 90; extra += 11) {
      bed.write(Buffer.concat([whole, whole.subarray(0, extra)]));
      expect(bed.verify()).toMatchObject({ problems: [], notes: [expect.stringContaining('unfinished')] });
      const audit = bed.open();
      await audit.close();
      const cut = bed.records().find(({ kind }) => kind === 'tail.cut');
      expect(cut?.facts).toMatchObject({ segment: 'audit-000001.jsonl', atByte: whole.length, bytes: extra });
      expect(existsSync(join(bed.folder, 'cut-5.bin'))).toBe(true);
      expect(bed.records().find(({ kind, sequence }) => kind === 'opened' && sequence > 1)?.facts.clean).toBe(
        false,
      );
      bed.whole(7);
      rmSync(join(bed.folder, 'audit-head.json'));
      rmSync(bed.path());
      await bed.fill(2);
      bed.write(bed.bytes());
      whole.set(bed.bytes());
    }
  });

  test('zeros behind the last record, as some file systems leave them, are a torn tail', async () => {
    const bed = createChainBed();
    await bed.fill(2);
    appendFileSync(bed.path(), Buffer.alloc(4096));
    await bed.fill(1);
    bed.whole(8);
  });

  test.each([
    [
      'a tail that the head names is gone',
      (bed: ReturnType<typeof createChainBed>) => truncateSync(bed.path(), bed.bytes().length - 10),
    ],
    [
      'a record was changed',
      (bed: ReturnType<typeof createChainBed>) => bed.write(bed.bytes().toString().replace('job-2', 'job-7')),
    ],
    [
      'the head is gone',
      (bed: ReturnType<typeof createChainBed>) => rmSync(join(bed.folder, 'audit-head.json')),
    ],
    ['the segment is gone', (bed: ReturnType<typeof createChainBed>) => rmSync(bed.path())],
  ])('damage is told and marked, never mended: %s', async (_, damage) => {
    const bed = createChainBed();
    await bed.fill(3);
    damage(bed);
    const before = existsSync(bed.path()) ? bed.bytes() : null;
    const audit = bed.open();
    expect(audit.figures().isDamaged).toBe(true);
    audit.record('job.ordered', { jobId: 'job-9', epoch: 1 });
    await audit.close();
    if (before !== null) expect(bed.bytes().equals(before)).toBe(true);
    expect(bed.segments().at(-1)).toBe(2);
    expect(parseLine(bed.bytes(2).subarray(0, bed.bytes(2).indexOf(10))).record?.kind).toBe('chain.broken');
    expect(bed.verify().problems.length).toBeGreaterThan(0);
    expect(bed.verify().problems.at(-1)?.text).toContain('found damaged');
    // From there on it is a chain again, and the next start finds no new damage.
    const again = bed.open();
    expect(again.figures().isDamaged).toBe(false);
    await again.close();
  });

  test('a full disk stops nothing: what was half written is cut off, and everything is written when there is space', async () => {
    const bed = createChainBed();
    bed.leaveHalves();
    const audit = bed.open();
    await until(() => expect(audit.head()?.sequence).toBe(1));
    bed.failing.append = 'ENOSPC';
    for (let n = 0; n < 50; n += 1) audit.record('job.ordered', { jobId: `job-${n}`, epoch: 1 });
    await until(() => expect(audit.figures().problem).toContain('ENOSPC'));
    bed.failing.append = null;
    await until(() => expect(audit.head()?.sequence).toBe(51));
    expect(audit.figures()).toMatchObject({ lost: 0, problem: null });
    await audit.close();
    bed.whole(52);
  });

  test('what does not fit into memory while the disk takes nothing is counted, in one record', async () => {
    const bed = createChainBed();
    const audit = bed.open();
    await until(() => expect(audit.head()?.sequence).toBe(1));
    bed.failing.append = 'EROFS';
    for (let n = 0; n < WAITING_MAX + 7; n += 1) audit.record('job.ordered', { n });
    expect(audit.figures().lost).toBeGreaterThan(0);
    bed.failing.append = null;
    await until(() => expect(audit.head()?.sequence).toBeGreaterThan(WAITING_MAX));
    const { lost } = audit.figures();
    await audit.close();
    expect(bed.verify()).toMatchObject({ problems: [] });
    const gaps = bed.records().filter(({ kind }) => kind === 'gap');
    expect(gaps.map(({ facts }) => facts.lost)).toEqual([lost]);
  });

  test('a sync that failed is not believed: its records are written to a new segment', async () => {
    const bed = createChainBed();
    const audit = bed.open();
    await until(() => expect(audit.head()?.sequence).toBe(1));
    bed.failing.sync = 'EIO';
    audit.record('job.ordered', { jobId: 'job-1', epoch: 1 });
    await until(() => expect(audit.figures().problem).toContain('EIO'));
    bed.failing.sync = null;
    await until(() => expect(audit.head()?.sequence).toBe(2));
    await audit.close();
    bed.whole(3);
    expect(bed.segments()).toEqual([1, 2]);
  });

  test('where the folder cannot be opened, records wait and are written later', async () => {
    const bed = createChainBed();
    bed.write('x');
    rmSync(bed.path());
    const folder = join(bed.folder, 'below');
    appendFileSync(folder, 'in the way');
    const audit = bed.open({ folder, disk: undefined as never });
    audit.record('job.ordered', { jobId: 'job-1', epoch: 1 });
    expect(audit.head()).toBe(null);
    expect(audit.figures().problem).not.toBe(null);
    rmSync(folder);
    await until(() => expect(audit.head()?.sequence).toBe(2));
    await audit.close();
  });

  test('old segments are removed by age and size, and what is kept verifies from the anchor of the head', async () => {
    const bed = createChainBed();
    await bed.fill(500, { segmentBytes: 8192, keep: { keepMs: null, quotaBytes: 30_000 } });
    expect(bed.segments()[0]).toBeGreaterThan(1);
    expect(bed.verify()).toMatchObject({ problems: [], notes: [] });
    expect(bed.records().some(({ kind }) => kind === 'segments.removed')).toBe(true);
    const first = bed.segments()[0] as number;
    rmSync(bed.path(first));
    expect(bed.verify().problems.length).toBeGreaterThan(0);
    chmodSync(bed.folder, 0o700);
  });

  test('the tail of a run that did not close the log is handed out once, for what is compared with it', async () => {
    const bed = createChainBed();
    const killed = bed.open();
    killed.record('job.ordered', { jobId: 'job-1', epoch: 1 });
    await until(() => expect(bed.verify().head?.sequence).toBe(2));
    const { folder } = bed;
    const copy = createChainBed();
    cpSync(folder, copy.folder, { recursive: true });
    await killed.close();
    const audit = copy.open({ signer: bed.signer });
    expect(audit.isClean).toBe(false);
    expect(audit.takeTail().map(({ kind }) => kind)).toEqual(['opened', 'job.ordered']);
    expect(audit.takeTail()).toEqual([]);
    await audit.close();
    const next = copy.open({ signer: bed.signer });
    expect([next.isClean, next.takeTail()]).toEqual([true, []]);
    await next.close();
  });
});

test('a whole record that does not fit is damage, also behind the signed head; garbage there is a torn tail', async () => {
  for (const [change, kind] of [
    [(line: string) => line.replace('job-1', 'job-7'), 'chain.broken'],
    [(line: string) => line.replace('{', 'x'), 'tail.cut'],
  ] as const) {
    const bed = createChainBed();
    const killed = bed.open();
    await until(() => expect(bed.verify().head?.sequence).toBe(1));
    bed.failing.head = 'EIO';
    killed.record('job.ordered', { jobId: 'job-1', epoch: 1 });
    killed.record('job.ordered', { jobId: 'job-2', epoch: 1 });
    await until(() => expect(bed.verify().records).toBe(3));
    const copy = createChainBed();
    cpSync(bed.folder, copy.folder, { recursive: true });
    await killed.close();
    expect(copy.verify([bed.signer.publicKey]).head?.sequence).toBe(1);
    const lines = copy.bytes().toString().split('\n');
    lines[kind === 'tail.cut' ? 2 : 1] = change(lines[kind === 'tail.cut' ? 2 : 1] as string);
    copy.write(lines.join('\n'));
    const audit = copy.open({ signer: bed.signer });
    await audit.close();
    const kinds = copy.records().map((record) => record.kind);
    expect(kinds).toContain(kind);
  }
});
