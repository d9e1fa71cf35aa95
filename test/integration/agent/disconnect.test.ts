// The whole agent when its scheduler falls silent, has lost it, or is another one; and when it cannot start.
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { enrol, readEnrolment } from '../../../src/agent/enrolment.ts';
import type { AgentMessage } from '../../../src/protocol/control.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { type FakeScheduler, type FakeSession, startFakeScheduler, until } from '../../fakes/scheduler.ts';
import { type AgentBed, createAgentBed, get, order } from './bed.ts';

const WAIT_MS = 40_000;
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

/**
 * Says this to the agent until `done`: again in each new session, as there may be one at any time, because the
 * inventory is complete. What is said must be safe to repeat.
 */
async function tell(
  fake: FakeScheduler,
  done: () => boolean,
  what: string,
  ...messages: object[]
): Promise<void> {
  const told = new Set<FakeSession>();
  await until(
    () => {
      const last = fake.sessions.at(-1);
      if (last !== undefined && last.hello !== null && last.socket.readyState === 1 && !told.has(last)) {
        told.add(last);
        for (const message of messages) last.send(message);
      }
      return done();
    },
    what,
    WAIT_MS,
  );
}

const said = <T extends AgentMessage['type']>(fake: FakeScheduler, type: T) =>
  fake.sessions.flatMap(({ messages }) =>
    messages.filter((message): message is Extract<AgentMessage, { type: T }> => message.type === type),
  );

/** Stops jobs that a test leaves running. */
async function stopAll(fake: FakeScheduler, names: readonly string[]): Promise<void> {
  const orders = names.map((name) => {
    const [jobId, epoch] = name.split('.');
    return { type: 'stop', orderId: 'order-9', jobId, epoch: Number(epoch), by: 'test', reason: 'over' };
  });
  await tell(fake, () => names.every((name) => fake.results.has(name)), 'the end of the jobs', ...orders);
}

describe('a scheduler that falls silent', () => {
  test('ends the jobs that asked for it, by its heartbeats alone, and no others', async () => {
    const fake = await bed.scheduler({ heartbeatMs: 1000 });
    await (await bed.agent({ scheduler: fake.url, joinToken: 'join-token' })).connected(WAIT_MS);
    await tell(
      fake,
      () => new Set(said(fake, 'jobStarted').map(({ jobId }) => jobId)).size === 3,
      'three starts',
      leased('job-1', { policy: 'stop', afterMs: 0 }),
      leased('job-2', { policy: 'stop', afterMs: 3_600_000 }),
      leased('job-3', { policy: 'keep' }),
    );
    // Heard, and signs of life come back: but no proof that it is this node that is heard.
    fake.behaviour = { ...fake.behaviour, echo: false };
    const sign = setInterval(() => fake.sessions.at(-1)?.send({ type: 'heartbeat' }), 100);
    await until(() => fake.results.has('job-1.1'), 'the end of the job', WAIT_MS);
    clearInterval(sign);
    const result = fake.results.get('job-1.1') as JobResult;
    expect(result).toMatchObject({ endKind: 'disconnected', stoppedBy: 'node', signal: 15 });
    expect(result.cause).toContain('disconnect policy');
    fake.behaviour = { ...fake.behaviour, echo: true };
    expect([fake.results.has('job-2.1'), fake.results.has('job-3.1')]).toEqual([false, false]);
    await stopAll(fake, ['job-2.1', 'job-3.1']);
  });
});

describe('one order', () => {
  test('a hundred times, over two sessions, starts one job; an older attempt starts none', async () => {
    const fake = await bed.scheduler();
    await (await bed.agent({ scheduler: fake.url, joinToken: 'join-token' })).connected(WAIT_MS);
    const starts = join(bed.folder, 'starts');
    writeFileSync(starts, '');
    chmodSync(starts, 0o666);
    const copy = (at: number, epoch = 2): object => ({
      ...order('job-1', ['sh', '-c', `echo once >>${starts}; sleep 600`], `order-${at}`),
      epoch,
    });
    const copies = Array.from({ length: 50 }, (_, at) => copy(at));
    await tell(fake, () => said(fake, 'jobStarted').length > 0, 'the start', ...copies);
    fake.sessions.at(-1)?.socket.terminate();
    const answered = (orderId: string) => said(fake, 'orderAck').find((ack) => ack.orderId === orderId);
    const more = [...copies, copy(100, 1)];
    await tell(fake, () => answered('order-100') !== undefined, 'the last answer', ...more);
    expect(said(fake, 'orderAck').filter(({ outcome }) => outcome === 'accepted').length).toBeLessThanOrEqual(
      1,
    );
    expect(answered('order-100')).toMatchObject({ outcome: 'refused', code: 'JOB_EPOCH_STALE' });
    expect(bed.log.lines.some(({ message }) => message.includes('a later attempt was ordered since'))).toBe(
      true,
    );
    await stopAll(fake, ['job-1.2']);
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
      WAIT_MS,
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
    expect(second.enrolments).toBe(0);
    expect(second.sessions.map(({ hello }) => hello)).toEqual(second.sessions.map(() => null));
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
    await tell(
      fake,
      () => said(fake, 'jobStarted').length > 0,
      'the start',
      leased('job-1', { policy: 'keep' }),
    );
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
    const answers = () => said(fake, 'orderAck').filter(({ orderId }) => orderId === 'order-2');
    await tell(fake, () => answers().length > 0, 'the answer', leased('job-2', { policy: 'keep' }));
    expect(answers()[0]).toMatchObject({ outcome: 'refused', message: expect.stringContaining('safe mode') });
    await stopAll(fake, ['job-1.1']);
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
