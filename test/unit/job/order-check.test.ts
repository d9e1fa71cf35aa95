// The door of a real job room: what is let in, what is refused with which code, and that a refusal leaves no trace.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CLOSED_MAX } from '../../../src/job/closed-names.ts';
import { createOrderDoor, type OrderDoorParts } from '../../../src/job/order-check.ts';
import { createSubmitters } from '../../../src/job/submitters.ts';
import type { AuditFacts } from '../../../src/protocol/audit.ts';
import type { ExecEnd } from '../../../src/protocol/exec.ts';
import { ORDER_LIFE_MS, ORDER_SKEW_MS } from '../../../src/protocol/order.ts';
import { createFakeKey, createFakeSigner, signSubmission } from '../../fakes/signer.ts';
import { createFakeTrust } from '../../fakes/trust.ts';
import { createKeptLog } from '../link/parts.ts';
import { settleDown } from './fake-clock.ts';
import { startOrder, stopOrder } from './samples.ts';
import { createRoom, openRoom, type Room } from './scripted.ts';

const small = { version: 1, command: ['true'], resources: { cpus: 0.01 } };
const signer = createFakeSigner(
  'scheduler-1',
  () => 'node-1',
  () => time.nowMs,
);
const time = { nowMs: 0 };

async function openDoor(room: Room = createRoom(), change: Partial<OrderDoorParts> = {}) {
  const opened = await openRoom(room);
  const { jobs, clock } = opened;
  time.nowMs = clock.wallMs();
  const records: [string, AuditFacts][] = [];
  const log = createKeptLog();
  const door = createOrderDoor({
    jobs,
    nodeId: 'node-1',
    trust: createFakeTrust('scheduler-1', signer.statements),
    signatures: 'require',
    submitters: null,
    granted() {},
    clock,
    log,
    audit: (kind, facts) => void records.push([kind, facts]),
    ...change,
  });
  const ended: ExecEnd[] = [];
  const events = {
    started() {},
    output() {},
    inputTaken() {},
    ended: (end: ExecEnd) => void ended.push(end),
  };
  return { ...opened, room, door, log, records, ended, events };
}

describe('the door of the job room', () => {
  test('lets signed orders in, says what was granted, and writes each decision down once', async () => {
    const granted: string[] = [];
    const { door, runs, records, jobs } = await openDoor(undefined, {
      granted: ({ jobId, spec }) => void granted.push(`${jobId} ${spec.resources.cpus}`),
    });
    const order = signer.start('job-1', small);
    expect(await door.order(order)).toMatchObject({ outcome: 'accepted' });
    expect(await door.order(order)).toMatchObject({ outcome: 'duplicate' });
    expect(await door.order(signer.stop('job-1'))).toMatchObject({ outcome: 'accepted' });
    expect(runs.map(({ name, stops }) => [name, stops.length])).toEqual([['job-1.1', 1]]);
    expect(granted).toEqual(['job-1 0.01']);
    expect(records.map(([kind, { order: what, repeated }]) => [kind, what, repeated])).toEqual([
      ['order.accepted', 'start', false],
      ['order.accepted', 'start', true],
      ['order.stopped', 'stop', false],
    ]);
    expect(jobs.report('job-1', 1)).toMatchObject({ order: null, proof: order });
    await settleDown();
  });

  test('refuses what is not signed, of any kind, with the remedy; and leaves no trace of it', async () => {
    const { door, runs, records, ended, events, jobs, room, log } = await openDoor();
    expect(await door.order(startOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'ORDER_UNSIGNED',
    });
    expect((await door.order(stopOrder('job-1'))).message).toContain('orders.signatures: optional');
    door.exec(
      {
        type: 'exec',
        execId: 'exec-1',
        jobId: 'job-1',
        epoch: 1,
        command: ['ls'],
        terminal: null,
        terminalType: null,
        by: 'x',
      },
      events,
    );
    await settleDown();
    expect(ended).toMatchObject([{ code: 'ORDER_UNSIGNED' }]);
    for (const wrong of [
      signer.start('job-1', small, { nodeId: 'node-2' }),
      { ...signer.start('job-1', small), epoch: 2 },
      signer.start('job-1', small, {}, null, createFakeKey()),
    ])
      expect((await door.order(wrong)).outcome).toBe('refused');
    expect(records.map(([kind, { code }]) => [kind, code])).toEqual([
      ['order.refused', 'ORDER_UNSIGNED'],
      ['order.refused', 'ORDER_UNSIGNED'],
      ['order.refused', 'ORDER_UNSIGNED'],
      ['order.refused', 'ORDER_OTHER_NODE'],
      ['order.refused', 'ORDER_CHANGED'],
      ['order.refused', 'ORDER_KEY_UNKNOWN'],
    ]);
    expect([runs.length, jobs.held().length, room.disk.bytes.length]).toEqual([0, 0, 0]);
    expect(log.lines.filter(({ message }) => message.startsWith('an order was refused'))).toHaveLength(6);
    // The name of the attempt is not used up by whoever cannot sign.
    expect(await door.order(signer.start('job-1', small))).toMatchObject({ outcome: 'accepted' });
  });

  test('says a flood of refusals in few lines', async () => {
    const { door, log } = await openDoor();
    for (let at = 0; at < 1000; at += 1) await door.order(startOrder('job-1'));
    expect(log.lines.length).toBeLessThan(30);
  });

  test('takes unsigned orders where it is told to, and says so', async () => {
    const { door, runs, log, jobs } = await openDoor(undefined, { signatures: 'optional' });
    expect(await door.order(startOrder('job-1', 1, { resources: { cpus: 0.01 } }))).toMatchObject({
      outcome: 'accepted',
    });
    expect(await door.order(stopOrder('job-1'))).toMatchObject({ outcome: 'accepted' });
    expect(runs).toHaveLength(1);
    expect(log.lines.some(({ message }) => message.includes('told to take it'))).toBe(true);
    expect(jobs.report('job-1', 1)).toMatchObject({ order: { jobId: 'job-1' }, proof: null });
    await settleDown();
  });

  test('lets only those submit whom the operator named', async () => {
    const room = createRoom();
    const path = join(room.folder, 'submitters');
    const [alice, mallory] = [createFakeKey(), createFakeKey()];
    writeFileSync(path, `# who may\n\n${alice.publicKey} alice@example\n`);
    const { door, events, ended } = await openDoor(room, {
      submitters: createSubmitters(path),
      signatures: 'optional',
    });
    const text = JSON.stringify(small);
    const by = (key: typeof alice, signed = text, scheduler = 'scheduler-1') =>
      signSubmission(key, scheduler, signed, time.nowMs - 86_400_000);
    const codeOf = async (submission: ReturnType<typeof by> | null) =>
      (await door.order(signer.start('job-1', text, {}, submission))).code;
    expect(await codeOf(null)).toBe('ORDER_SUBMITTER');
    expect(await codeOf(by(mallory))).toBe('ORDER_SUBMITTER');
    expect(await codeOf(by(alice, `${text} `))).toBe('ORDER_SUBMITTER');
    expect(await codeOf(by(alice, text, 'scheduler-2'))).toBe('ORDER_SUBMITTER');
    expect(await codeOf({ ...by(mallory), publicKey: alice.publicKey })).toBe('ORDER_SUBMITTER');
    expect((await door.order(startOrder('job-1'))).code).toBe('ORDER_SUBMITTER');
    door.exec(signer.exec('exec-1', 'job-1', ['ls']), events);
    await settleDown();
    expect(ended).toMatchObject([{ code: 'ORDER_SUBMITTER' }]);
    expect(await codeOf(by(alice))).toBeNull();
    // As the file is now; one that cannot be read lets nobody in.
    writeFileSync(path, 'not a key\n');
    expect((await door.order(signer.start('job-2', text, {}, by(alice)))).message).toContain('line 1 is not');
    rmSync(path);
    expect((await door.order(signer.start('job-2', text, {}, by(alice)))).code).toBe('ORDER_SUBMITTER');
  });
});

describe('a replay', () => {
  test('of a genuine order starts nothing: not while it is remembered, not later, not after a restart or a reboot', async () => {
    const room = createRoom();
    const first = await openDoor(room);
    const order = signer.start('job-1', small);
    expect((await first.door.order(order)).outcome).toBe('accepted');
    await first.jobs.close();
    const second = await openDoor(room);
    expect((await second.door.order(order)).outcome).toBe('duplicate');
    await second.jobs.close();
    // Rebooted: the attempt is lost, and its result has been taken.
    const reopened = await openRoom(room, { bootId: 'boot-2' });
    const door = createOrderDoor({
      jobs: reopened.jobs,
      nodeId: 'node-1',
      trust: createFakeTrust('scheduler-1', signer.statements),
      signatures: 'require',
      submitters: null,
      granted() {},
      clock: reopened.clock,
      log: createKeptLog(),
      audit() {},
    });
    expect((await door.order(order)).outcome).toBe('duplicate');
    expect(reopened.runs.filter(({ how }) => how === 'started')).toEqual([]);
    const late = await openDoor(room);
    time.nowMs = late.clock.wallMs() - ORDER_LIFE_MS - 2 * ORDER_SKEW_MS;
    expect((await late.door.order(signer.start('job-2', small))).code).toBe('ORDER_EXPIRED');
  });

  test('of an order that was refused, or stopped before it came, is answered as then, also after a restart', async () => {
    const room = createRoom();
    const { door, jobs } = await openDoor(room);
    const large = signer.start('job-1', { ...small, resources: { cpus: 64 } });
    expect((await door.order(large)).code).toBe('JOB_CPUS_EXCEED_NODE');
    expect((await door.order(signer.stop('job-2'))).code).toBe('JOB_UNKNOWN');
    await jobs.close();
    const again = await openDoor(room);
    expect((await again.door.order(large)).code).toBe('JOB_CPUS_EXCEED_NODE');
    expect((await again.door.order(signer.start('job-2', small))).code).toBe('JOB_STOPPED');
    expect(again.runs).toEqual([]);
  });

  test('of an older attempt after a newer one is refused as stale', async () => {
    const { door, runs, records } = await openDoor();
    const old = signer.start('job-1', small, { epoch: 1 });
    expect((await door.order(signer.start('job-1', small, { epoch: 2 }))).outcome).toBe('accepted');
    expect(await door.order(old)).toMatchObject({ outcome: 'refused', code: 'JOB_EPOCH_STALE' });
    expect((await door.order(signer.stop('job-1', { epoch: 1 }))).code).toBe('JOB_EPOCH_STALE');
    expect(runs.map(({ name, stops }) => [name, stops.length])).toEqual([['job-1.2', 0]]);
    expect(records.slice(1).map(([kind, { code }]) => [kind, code])).toEqual([
      ['order.refused', 'JOB_EPOCH_STALE'],
      ['order.refused', 'JOB_EPOCH_STALE'],
    ]);
  });

  test('of an order whose name was forgotten for the many that came since is refused, across restarts; new ones are not', async () => {
    const room = createRoom();
    const { door, jobs } = await openDoor(room);
    const first = signer.start('job-0', { ...small, resources: { cpus: 64 } });
    expect((await door.order(first)).code).toBe('JOB_CPUS_EXCEED_NODE');
    time.nowMs += 1;
    const untilMs = time.nowMs + ORDER_LIFE_MS;
    await Promise.all(
      Array.from({ length: CLOSED_MAX }, (_, at) => jobs.stop(stopOrder(`job-${at + 1}`), untilMs)),
    );
    expect((await door.order(first)).code).toBe('ORDER_EXPIRED');
    await jobs.close();
    const again = await openDoor(room);
    expect((await again.door.order(first)).code).toBe('ORDER_EXPIRED');
    time.nowMs += 2;
    expect((await again.door.order(signer.start('job-new', small))).outcome).toBe('accepted');
  });

  test('of a command beside a job runs nothing, also after a restart', async () => {
    const room = createRoom();
    const { door, events, ended, jobs, records } = await openDoor(room);
    await door.order(signer.start('job-1', small));
    const command = signer.exec('exec-1', 'job-1', ['ls']);
    door.exec(command, events);
    door.exec(command, events);
    await settleDown();
    // The scripted executor runs no commands beside a job: the first got as far as that.
    expect(ended.map(({ code }) => code)).toEqual(['EXEC_JOB_NOT_RUNNING', 'ORDER_REPEATED']);
    // Nothing of it was accepted: copies, of which there may be any number, are bounded in the audit log as refusals.
    expect(records.slice(1).map(([kind, { code }]) => [kind, code])).toEqual([
      ['order.refused', 'EXEC_JOB_NOT_RUNNING'],
      ['order.refused', 'ORDER_REPEATED'],
    ]);
    await jobs.close();
    const again = await openDoor(room);
    again.door.exec(command, again.events);
    await settleDown();
    expect(again.ended.map(({ code }) => code)).toEqual(['ORDER_REPEATED']);
  });
});

test('what was accepted before there were signatures goes on, and is told as it was ordered', async () => {
  const room = createRoom();
  const first = await openRoom(room);
  await first.jobs.start(startOrder('job-1', 1, { resources: { cpus: 0.01 } }));
  await first.jobs.close();
  const { jobs, runs, door } = await openDoor(room);
  expect(runs.map(({ name, how }) => `${how} ${name}`)).toEqual(['recovered job-1.1']);
  expect(jobs.report('job-1', 1)).toMatchObject({ order: { jobId: 'job-1' }, proof: null });
  expect((await door.order(signer.start('job-1', small))).outcome).toBe('duplicate');
  expect((await door.order(signer.stop('job-1'))).outcome).toBe('accepted');
});
