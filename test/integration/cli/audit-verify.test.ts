// `audit verify --against` over the logs of a node that was split: what it told of one log is not held against the other,
// and what it told of this one is.
import { cpSync, rmSync } from 'node:fs';
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

function open(room: string, owner: string): Audit {
  const folder = join(place.stateDir, room);
  makeFolder(folder);
  const signer = takeAuditSigner(folder, 'AGENT');
  const log = createSilentLog();
  return openAudit({ folder: join(folder, 'audit'), owner, signer, clock: createClock(), log });
}

/** Writes so many records and closes. Resolves with the head that is on disk. */
async function write(room: string, records: number): Promise<AuditHead> {
  const audit = open(room, 'node-1');
  for (let n = 0; n < records; n += 1) audit.record('order.accepted', { jobId: `job-${n}` });
  await audit.close();
  const head = audit.head();
  if (head === null) throw new Error('the log could not be opened');
  return head;
}

async function tell(...heads: readonly object[]): Promise<void> {
  const audit = open('scheduler', 'scheduler-1');
  for (const head of heads) audit.record('node.head', { nodeId: 'node-1', generation: 1, ...head });
  await audit.close();
}

async function verify(room: string): Promise<{ readonly code: number | null; readonly text: string }> {
  const [log, against] = [room, 'scheduler'].map((one) => join(place.stateDir, one, 'audit'));
  const args = ['audit', 'verify', '--path', log as string, '--against', against as string];
  const { code, stdout, stderr } = await flopd(place, args);
  return { code, text: `${stdout}${stderr}` };
}

test('the two logs of a split node each hold, and one that was put back is found', async () => {
  const agent = await write('agent', 40);
  const folder = join(place.stateDir, 'runner', 'audit');
  const kept = join(place.folder, 'kept');
  const early = await write('runner', 2);
  cpSync(folder, kept, { recursive: true });
  await tell(agent, early, await write('runner', 5));
  for (const room of ['agent', 'runner']) {
    const { code, text } = await verify(room);
    expect(code, text).toBe(0);
    expect(text).toContain('the chain holds');
    expect(text).toContain('this node has told of another log too');
  }
  rmSync(folder, { recursive: true });
  cpSync(kept, folder, { recursive: true });
  const back = await verify('runner');
  expect(back.code).toBe(1);
  expect(back.text).toContain('THE CHAIN IS BROKEN');
  expect(back.text).toContain('it is not there any more');
});

test('heads that do not say of which log they are count where they fit, and are told as unknown where they do not', async () => {
  const { sequence, hash } = await write('agent', 40);
  const runner = await write('runner', 2);
  await tell({ sequence, hash }, runner);
  expect((await verify('agent')).code).toBe(0);
  const { code, text } = await verify('runner');
  expect(code).toBe(1);
  expect(text).not.toContain('BROKEN');
  expect(text).toContain('IT IS NOT KNOWN WHETHER THE CHAIN HOLDS');
  expect(text).toMatch(/unknown: record 42, .*it is not there any more/);
});
