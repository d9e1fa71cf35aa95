// The whole agent when its scheduler falls silent, has lost it, or is another one; and when it cannot start.
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { enrol, readEnrolment } from '../../../src/agent/enrolment.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { type FakeScheduler, startFakeScheduler, until } from '../../fakes/scheduler.ts';
import { type AgentBed, createAgentBed, get, order } from './bed.ts';

const WAIT_MS = 25_000;
let bed: AgentBed;
beforeEach(() => {
  bed = createAgentBed();
});
afterEach(() => bed.close());

const leased = (jobId: string, policy: object): object => ({
  ...order(jobId, ['sleep', '600'], `order-${jobId.slice(4)}`),
  spec: {
    version: 1,
    command: ['sleep', '600'],
    resources: { cpus: 0.1 },
    graceMs: 1000,
    disconnect: policy,
  },
});

/** Stops jobs that a test leaves running. */
async function stopAll(fake: FakeScheduler, jobIds: readonly string[]): Promise<void> {
  const session = fake.sessions.at(-1);
  for (const jobId of jobIds)
    session?.send({ type: 'stop', orderId: 'order-9', jobId, epoch: 1, by: 'test', reason: 'over' });
  await until(() => jobIds.every((jobId) => fake.results.has(`${jobId}.1`)), 'the end of the jobs', WAIT_MS);
}

describe('a scheduler that falls silent', () => {
  test('ends the jobs that asked for it, by its heartbeats alone, and no others', async () => {
    const fake = await bed.scheduler({ heartbeatMs: 500 });
    await (await bed.agent({ scheduler: fake.url, joinToken: 'join-token' })).connected(WAIT_MS);
    const session = await fake.session(0);
    session.send(leased('job-1', { policy: 'stop', afterMs: 0 }));
    session.send(leased('job-2', { policy: 'stop', afterMs: 3_600_000 }));
    session.send(leased('job-3', { policy: 'keep' }));
    await until(
      () => session.messages.filter(({ type }) => type === 'jobStarted').length === 3,
      'starts',
      WAIT_MS,
    );
    // Heard, and signs of life come back: but no proof that it is this node that is heard.
    fake.behaviour = { ...fake.behaviour, echo: false };
    const sign = setInterval(() => session.send({ type: 'heartbeat' }), 100);
    await until(() => fake.results.has('job-1.1'), 'the end of the job', WAIT_MS);
    clearInterval(sign);
    const result = fake.results.get('job-1.1') as JobResult;
    expect(result).toMatchObject({ endKind: 'disconnected', stoppedBy: 'node', signal: 15 });
    expect(result.cause).toContain('disconnect policy');
    fake.behaviour = { ...fake.behaviour, echo: true };
    await until(() => fake.sessions.at(-1)?.hello !== null, 'a session', WAIT_MS);
    expect([fake.results.has('job-2.1'), fake.results.has('job-3.1')]).toEqual([false, false]);
    await until(() => fake.sessions.at(-1)?.socket.readyState === 1, 'a connection', WAIT_MS);
    await stopAll(fake, ['job-2', 'job-3']);
  });
});

describe('one order', () => {
  test('a hundred times, over two sessions, starts one job; an older attempt starts none', async () => {
    const fake = await bed.scheduler();
    await (await bed.agent({ scheduler: fake.url, joinToken: 'join-token' })).connected(WAIT_MS);
    const first = await fake.session(0);
    const starts = join(bed.folder, 'starts');
    writeFileSync(starts, '');
    chmodSync(starts, 0o666);
    const copy = (at: number, epoch = 2): object => ({
      ...order('job-1', ['sh', '-c', `echo once >>${starts}; sleep 600`], `order-${at}`),
      epoch,
    });
    for (let at = 0; at < 50; at += 1) first.send(copy(at));
    await first.waitFor('jobStarted');
    first.socket.terminate();
    const second = await fake.session(1);
    await second.waitFor('hello');
    for (let at = 50; at < 100; at += 1) second.send(copy(at));
    second.send(copy(100, 1));
    await second.waitFor('orderAck', 51);
    const acks = [first, second].flatMap(({ messages }) =>
      messages.filter(({ type }) => type === 'orderAck'),
    );
    expect(acks.filter((ack) => 'outcome' in ack && ack.outcome === 'accepted').length).toBeLessThanOrEqual(
      1,
    );
    const stale = acks.find((ack) => 'orderId' in ack && ack.orderId === 'order-100');
    expect(stale).toMatchObject({ outcome: 'refused', code: 'JOB_EPOCH_STALE' });
    expect(bed.log.lines.some(({ message }) => message.includes('a later attempt was ordered since'))).toBe(
      true,
    );
    second.send({ type: 'stop', orderId: 'order-9', jobId: 'job-1', epoch: 2, by: 'test', reason: 'over' });
    await until(() => fake.results.has('job-1.2'), 'the end', WAIT_MS);
    expect(readFileSync(starts, 'utf8')).toBe('once\n');
  });
});

describe('a scheduler that has lost this node', () => {
  test('is asked again with the token file that it joined with, and the node keeps its id', async () => {
    const fake = await bed.scheduler();
    const tokenFile = join(bed.stateDir, 'token');
    writeFileSync(tokenFile, 'join-token\n');
    const before = await enrol({
      url: fake.url,
      token: 'join-token',
      stateDir: bed.stateDir,
      name: 'n',
      tokenFile,
    });
    fake.behaviour = { ...fake.behaviour, forgetful: true };
    const agent = await bed.agent({});
    await until(() => fake.enrolments === 2, 'the second enrolment', WAIT_MS);
    fake.behaviour = { ...fake.behaviour, forgetful: false };
    await agent.connected(WAIT_MS);
    expect(agent.nodeId).toBe(before.nodeId);
  });

  test('is told to people where there is no token, and heals when somebody joins again', async () => {
    const fake = await bed.scheduler();
    const join = { url: fake.url, token: 'join-token', stateDir: bed.stateDir, name: 'n' };
    await enrol(join);
    fake.behaviour = { ...fake.behaviour, forgetful: true };
    const agent = await bed.agent({});
    await until(
      () => bed.log.lines.some(({ message }) => message.includes('run "flopd join" again')),
      'the advice',
    );
    expect(fake.enrolments).toBe(1);
    fake.behaviour = { ...fake.behaviour, forgetful: false };
    await enrol({ ...join, again: true });
    expect(agent.nodeId).toBe((await readEnrolment(bed.stateDir))?.nodeId);
  });
});

describe('another scheduler at the same address', () => {
  async function replaced(joinToken: string | null) {
    const first = await startFakeScheduler({ schedulerId: 'scheduler-first' });
    await enrol({ url: first.url, token: 'join-token', stateDir: bed.stateDir, name: 'n' });
    await first.close();
    const second = await bed.scheduler({ port: first.port, schedulerId: 'scheduler-second' });
    const agent = await bed.agent({ joinToken, scheduler: second.url });
    return { second, agent };
  }

  test('gets neither a token nor a proof from an agent that was handed none', async () => {
    const { second } = await replaced(null);
    await until(
      () => bed.log.lines.some(({ message }) => message.includes('belongs to')),
      'the refusal',
      WAIT_MS,
    );
    expect([second.enrolments, second.sessions[0]?.hello]).toEqual([0, null]);
    expect(JSON.stringify(bed.log.lines)).toContain('flopd join');
  });

  test('is joined by the agent that its own process has handed the token: `flopd up` over a lost state', async () => {
    const { second, agent } = await replaced('join-token');
    await agent.connected(WAIT_MS);
    expect(second.enrolments).toBe(1);
    expect(await readEnrolment(bed.stateDir)).toMatchObject({
      nodeId: agent.nodeId,
      schedulerId: 'scheduler-second',
    });
  });
});

describe('an agent that cannot start', () => {
  test('three times is careful the fourth: it supervises what runs, takes no orders, and says why', async () => {
    const fake = await bed.scheduler();
    const first = await bed.agent({ scheduler: fake.url, joinToken: 'join-token' });
    const session = await fake.session(0);
    await session.waitFor('hello');
    session.send(leased('job-1', { policy: 'keep' }));
    await session.waitFor('jobStarted');
    await first.close();

    const journal = join(bed.stateDir, 'agent', 'journal');
    renameSync(journal, `${journal}.good`);
    mkdirSync(journal);
    for (let at = 0; at < 3; at += 1) await expect(bed.agent({})).rejects.toThrow('EISDIR');
    const careful = await bed.agent({});
    await careful.connected(WAIT_MS);
    const seen = fake.sessions.at(-1);
    expect(seen?.hello).toMatchObject({ jobs: [{ jobId: 'job-1', epoch: 1 }], inventory: { executors: [] } });
    expect(seen?.hello?.inventory.limitations[0]).toMatch(/^safe mode: the last 3 starts failed .*EISDIR/);
    const ready = await get(`${careful.metricsUrl}/readyz`);
    expect([ready.status, ready.text]).toEqual([503, expect.stringContaining('safe mode')]);
    expect((await get(`${careful.metricsUrl}/healthz`)).text).toContain('safe mode');
    seen?.send(leased('job-2', { policy: 'keep' }));
    expect(await seen?.waitFor('orderAck')).toMatchObject({
      outcome: 'refused',
      message: expect.stringContaining('safe mode'),
    });
    await stopAll(fake, ['job-1']);
    // Whoever stops it has looked after it.
    await careful.close();
    rmSync(journal, { recursive: true });
    renameSync(`${journal}.good`, journal);
    const well = await bed.agent({});
    await well.connected(WAIT_MS);
    expect(fake.sessions.at(-1)?.hello?.inventory.executors).toEqual(expect.arrayContaining(['process']));
    expect(existsSync(join(bed.stateDir, 'agent', 'starts.json'))).toBe(true);
    expect(JSON.parse(readFileSync(join(bed.stateDir, 'agent', 'starts.json'), 'utf8'))).toEqual({
      failures: [],
    });
  });
});
