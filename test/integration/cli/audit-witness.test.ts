// `audit verify --witness`: the scheduler's log against what its nodes were told of it. Whoever holds the key of a log can
// write it anew so that it holds by itself; what others wrote down meanwhile they cannot.
import { appendFileSync, cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Audit, openAudit } from '../../../src/audit/audit.ts';
import { takeAuditSigner } from '../../../src/audit/key.ts';
import { createClock } from '../../../src/base/clock.ts';
import { makeFolder } from '../../../src/base/folder.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import type { AuditHead } from '../../../src/protocol/audit.ts';
import { buildIfStale, createPlace, flopd, type Place } from './command-line.ts';

let place: Place;
beforeAll(buildIfStale, 60_000);
beforeEach(() => {
  place = createPlace(null);
});
afterEach(() => place.remove());

const schedulerLog = (): string => join(place.stateDir, 'scheduler', 'audit');
const nodeLog = (): string => join(place.folder, 'node', 'agent', 'audit');

function open(folder: string, owner: string, code: 'AGENT' | 'SCHEDULER', limits = {}): Audit {
  makeFolder(folder);
  const signer = takeAuditSigner(join(folder, '..'), code);
  return openAudit({ folder, owner, signer, clock: createClock(), log: createSilentLog(), ...limits });
}

/** So many records of the scheduler, and its head afterwards. */
async function schedule(records: number, word: string): Promise<AuditHead> {
  const audit = open(schedulerLog(), 'scheduler-1', 'SCHEDULER');
  for (let n = 0; n < records; n += 1) audit.record('job.ordered', { jobId: `job-${word}${n}` });
  await audit.close();
  const head = audit.head();
  if (head === null) throw new Error('the log could not be opened');
  return head;
}

async function witness(...heads: readonly AuditHead[]): Promise<void> {
  const audit = open(nodeLog(), 'node-1', 'AGENT');
  for (const { sequence, hash, keyId } of heads)
    audit.record('scheduler.head', { schedulerId: 'scheduler-1', sequence, hash, keyId });
  await audit.close();
}

async function verify(path = nodeLog()): Promise<{ readonly code: number | null; readonly text: string }> {
  const { code, stdout, stderr } = await flopd(place, ['audit', 'verify', '--witness', path]);
  return { code, text: `${stdout}${stderr}` };
}

test('a log that was written anew and signed with its own key holds by itself and not before a witness', async () => {
  await witness(await schedule(5, 'a'), await schedule(5, 'a'));
  const honest = await verify();
  expect(honest.code, honest.text).toBe(0);
  expect(honest.text).toContain('2 records are as witnesses were told, the last of them 14');
  expect(honest.text).toContain('its own chain holds');
  // A line that a crash left unfinished is no forgery.
  appendFileSync(join(schedulerLog(), 'audit-000001.jsonl'), '{"sequence":15,"at":"20');
  const torn = await verify();
  expect(torn.code, torn.text).toBe(0);
  expect(torn.text).toContain('as a crash leaves them');
  rmSync(schedulerLog(), { recursive: true });
  await schedule(40, 'forged');
  expect((await flopd(place, ['audit', 'verify'])).code).toBe(0);
  const forged = await verify();
  expect(forged.code).toBe(1);
  expect(forged.text).toContain('THE CHAIN IS BROKEN');
  expect(forged.text).toMatch(/record 7, .*: it is not the one that node-1 was told of at/);
  // With another key as well.
  rmSync(join(place.stateDir, 'scheduler'), { recursive: true });
  await schedule(40, 'forged');
  const resigned = await verify();
  expect(resigned.code).toBe(1);
  expect(resigned.text).toMatch(/it is not the one that node-1, under the key [0-9a-f]{16}, was told of/);
});

test('a restored backup is told as what it is: true up to the backup, and not what was told after it', async () => {
  const kept = join(place.folder, 'kept');
  const early = await schedule(3, 'a');
  cpSync(join(place.stateDir, 'scheduler'), kept, { recursive: true });
  await witness(early, await schedule(9, 'b'));
  rmSync(join(place.stateDir, 'scheduler'), { recursive: true });
  cpSync(kept, join(place.stateDir, 'scheduler'), { recursive: true });
  const missing = await verify();
  expect(missing.code).toBe(1);
  expect(missing.text).toContain('it is not there any more; node-1 was told of it at');
  expect(missing.text).toContain('1 record is as witnesses were told, the last of them 5');
  expect(missing.text).toContain(
    'what they were told later is not here: an older copy was put back and gone on with',
  );
  await schedule(20, 'c');
  const goneOn = await verify();
  expect(goneOn.code).toBe(1);
  expect(goneOn.text).toMatch(/record 16, .*: it is not the one that node-1 was told of/);
});

test('a witness may be a state directory, a segment or an export, and one that says nothing is refused', async () => {
  await witness(await schedule(5, 'a'));
  const listed = await flopd(place, ['audit', 'list', '--path', nodeLog(), '--limit', '0', '-o', 'json']);
  const exported = join(place.folder, 'export.json');
  writeFileSync(exported, listed.stdout);
  for (const path of [join(place.folder, 'node'), join(nodeLog(), 'audit-000001.jsonl'), exported]) {
    const { code, text } = await verify(path);
    expect(code, text).toBe(0);
    expect(text).toContain('1 record is as witnesses were told');
  }
  const silent = await verify(schedulerLog());
  expect([silent.code, silent.text]).toEqual([
    1,
    expect.stringContaining('the witnesses were told nothing of any scheduler'),
  ]);
  writeFileSync(exported, 'nothing');
  expect((await verify(exported)).text).toContain('holds no records of an audit log');
  expect((await verify(join(place.folder, 'nowhere'))).text).toContain('cannot be read');
});

test('a witness whose own chain was changed, and a log that begins behind all that was told, vouch for nothing', async () => {
  const head = await schedule(5, 'a');
  await witness(head);
  const keep = { keepMs: null, quotaBytes: 4000 };
  const audit = open(schedulerLog(), 'scheduler-1', 'SCHEDULER', { keep, segmentBytes: 1000 });
  for (let n = 0; n < 100; n += 1) audit.record('job.ordered', { jobId: `job-${n}` });
  await audit.close();
  const behind = await verify();
  expect(behind.code).toBe(1);
  expect(behind.text).toContain('IT IS NOT KNOWN WHETHER THE CHAIN HOLDS');
  expect(behind.text).toContain(
    '1 that witnesses were told of are from before the first record that is kept',
  );
  appendFileSync(join(nodeLog(), 'audit-000001.jsonl'), '{"sequence":99}\n');
  const changed = await verify();
  expect(changed.code).toBe(1);
  expect(changed.text).toContain('its own chain IS BROKEN');
});
