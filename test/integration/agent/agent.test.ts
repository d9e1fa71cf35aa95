// The whole agent, real addon and shim, against the fake scheduler.
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { enrol, readEnrolment } from '../../../src/agent/enrolment.ts';
import { startFakeScheduler, until } from '../../fakes/scheduler.ts';
import type { KeptLog } from '../../unit/link/parts.ts';
import { type AgentBed, createAgentBed, get, order, root } from './bed.ts';

let bed: AgentBed;
let stateDir = '';
let log: KeptLog;
let scheduler: AgentBed['scheduler'];
let agent: AgentBed['agent'];
beforeEach(() => {
  bed = createAgentBed();
  ({ stateDir, log, scheduler, agent } = bed);
});
afterEach(() => bed.close());

describe('an agent with a join token', () => {
  test('enrols, proves itself, sends numbers, and is ready', async () => {
    const fake = await scheduler({ telemetryMs: 200 });
    const started = await agent({ scheduler: fake.url, joinToken: 'join-token' });
    await started.connected(30_000);
    const session = await fake.session(0);
    expect(session.hello).toMatchObject({ nodeId: started.nodeId, name: 'bench', generation: 1, jobs: [] });
    expect(session.hello?.inventory.executors).toEqual(['process']);
    await until(() => session.windows.length >= 3, 'three windows');
    expect(session.complaints).toEqual([]);
    const families = new Set(session.windows[0]?.columns.map((column) => column.family));
    expect([...families]).toEqual(expect.arrayContaining(['cpu.busyRatio', 'memory.usedBytes']));
    const base = started.metricsUrl;
    expect((await get(`${base}/readyz`)).status).toBe(200);
    expect((await get(`${base}/healthz`)).status).toBe(200);
    expect((await get(`${base}/metrics`)).text).toContain('flopd_agent_scheduler_connected 1');
    expect(statSync(join(stateDir, 'agent/key.pem')).mode & 0o777).toBe(0o600);
    expect(statSync(join(stateDir, 'agent')).mode & 0o777).toBe(0o700);
    expect(JSON.stringify(log.lines)).not.toContain('PRIVATE');
  });

  test('uses it once: the next start finds the enrolment and counts on', async () => {
    const fake = await scheduler();
    const first = await agent({ scheduler: fake.url, joinToken: 'join-token' });
    await first.close();
    const second = await agent({ scheduler: null, joinToken: null });
    await second.connected(30_000);
    expect(fake.enrolments).toBe(1);
    expect(second.nodeId).toBe(first.nodeId);
    expect(fake.sessions.at(-1)?.hello?.generation).toBe(2);
  });

  test('goes by the name that was given when the host joined', async () => {
    const fake = await scheduler();
    const asked = { url: fake.url, token: 'join-token', stateDir };
    await enrol({ ...asked, name: 'alpha', isNamed: true });
    await enrol({ ...asked, name: 'host', again: true });
    const unnamed = await agent({}, { name: null });
    await unnamed.connected(30_000);
    expect((await fake.session(0)).hello?.name).toBe('alpha');
  });

  test('that is wrong is refused with one sentence and leaves no enrolment', async () => {
    const fake = await scheduler();
    await expect(agent({ scheduler: fake.url, joinToken: 'wrong' })).rejects.toMatchObject({
      code: 'ENROL_REFUSED',
      field: 'token',
      message: expect.stringContaining('the join token is not valid'),
    });
    expect(await readEnrolment(stateDir)).toBeNull();
    expect((await enrol({ url: fake.url, token: 'join-token\n', stateDir, name: 'n' })).nodeId).toBe(
      'node-fake1',
    );
  });
});

describe('an agent that cannot start says why', () => {
  test('when it has not joined anybody', async () => {
    await expect(agent({})).rejects.toMatchObject({
      code: 'AGENT_NOT_ENROLLED',
      remedy: expect.stringContaining('flopd join URL --token-file'),
    });
  });

  test('when nobody answers the enrolment', async () => {
    const gone = await startFakeScheduler();
    await gone.close();
    await expect(agent({ scheduler: gone.url, joinToken: 't' })).rejects.toMatchObject({
      code: 'ENROL_UNREACHABLE',
      field: 'scheduler',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('when another agent holds the state directory', async () => {
    const fake = await scheduler();
    await agent({ scheduler: fake.url, joinToken: 'join-token' });
    await expect(agent({ scheduler: fake.url })).rejects.toMatchObject({
      code: 'AGENT_LOCKED',
      message: `another flopd agent (pid ${process.pid}) uses this state directory`,
    });
  });

  test('when the metrics port is taken, and then it has let go of everything', async () => {
    const fake = await scheduler();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    await expect(
      agent({ scheduler: fake.url, joinToken: 'join-token', metricsListen: { host: '127.0.0.1', port } }),
    ).rejects.toThrow();
    await new Promise((resolve) => taken.close(resolve));
    expect(fake.sessions).toHaveLength(0);
    await (await agent({ scheduler: fake.url })).connected(30_000);
  });
});

describe('a job', () => {
  test('runs, and its output, start and result reach the scheduler', async () => {
    const fake = await scheduler();
    const started = await agent({ scheduler: fake.url, joinToken: 'join-token' });
    await started.connected(30_000);
    const session = await fake.session(0);
    session.send(
      order('job-1', ['sh', '-c', 'echo hi; echo err >&2; echo "[$NOTIFY_SOCKET$FLOPD_TOKEN]"; exit 7']),
    );
    expect(await session.waitFor('orderAck')).toMatchObject({ outcome: 'accepted' });
    await until(() => fake.results.has('job-1.1'), 'the result');
    expect(fake.results.get('job-1.1')).toMatchObject({
      exitCode: 7,
      state: 'FAILED',
      stdoutBytes: 6,
      stderrBytes: 4,
    });
    await until(() => fake.stored.get('job-1.1.stdout') === 6, 'the output');
    expect(Buffer.concat(fake.output.get('job-1.1.stdout') ?? []).toString()).toBe('hi\n[]\n');
    expect(Buffer.concat(fake.output.get('job-1.1.stderr') ?? []).toString()).toBe('err\n');
    expect((await session.waitFor('jobStarted')).pid).toBeGreaterThan(1);
    for (let at = 0; at < 100; at += 1) session.send(order('job-1', ['true'], `order-r${at}`));
    await session.waitFor('orderAck', 101);
    expect(
      session.messages.filter((message) => message.type === 'orderAck' && message.outcome === 'accepted'),
    ).toHaveLength(1);
    expect((await get(`${started.metricsUrl}/metrics`)).text).toContain(
      'flopd_agent_jobs_ended_total{state="FAILED"} 1',
    );
  });

  test('goes on while the agent is away, and the next agent brings what happened meanwhile', async () => {
    const fake = await scheduler();
    const first = await agent({ scheduler: fake.url, joinToken: 'join-token' });
    await first.connected(30_000);
    // The job sees its own workspace alone.
    const gate = join(stateDir, 'agent', 'jobs', 'job-1.1', 'workspace', 'gate');
    (await fake.session(0)).send(
      order('job-1', ['sh', '-c', `echo one; while [ ! -e gate ]; do sleep 0.05; done; echo two; exit 3`]),
    );
    await until(() => fake.stored.get('job-1.1.stdout') === 4, 'the first line');
    await first.close();
    writeFileSync(gate, '');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const sessions = fake.sessions.length;
    const second = await agent({});
    await second.connected(30_000);
    await until(() => fake.results.has('job-1.1') && fake.stored.get('job-1.1.stdout') === 8, 'the rest');
    expect(fake.results.get('job-1.1')).toMatchObject({ exitCode: 3, stdoutBytes: 8 });
    expect(Buffer.concat(fake.output.get('job-1.1.stdout') ?? []).toString()).toBe('one\ntwo\n');
    // A later one, when the inventory is complete, has nothing to tell of it any more.
    expect(fake.sessions[sessions]?.hello?.jobs.map((job) => job.jobId)).toEqual(['job-1']);
  });

  test('is stopped by an order, and keeps running when the scheduler goes', async () => {
    const fake = await scheduler();
    const started = await agent({ scheduler: fake.url, joinToken: 'join-token' });
    await started.connected(30_000);
    const session = await fake.session(0);
    session.send(order('job-1', ['sleep', '1000']));
    await session.waitFor('jobStarted');
    session.socket.terminate();
    const next = await fake.session(1);
    await next.waitFor('hello');
    expect(next.hello?.jobs).toEqual([{ jobId: 'job-1', epoch: 1, phase: 'running', devices: [] }]);
    next.send({ type: 'stop', orderId: 'order-2', jobId: 'job-1', epoch: 1, by: 'user', reason: 'enough' });
    await until(() => fake.results.has('job-1.1'), 'the result');
    expect(fake.results.get('job-1.1')).toMatchObject({ state: 'CANCELLED', stoppedBy: 'user' });
  });
});

describe('an agent without its native parts', () => {
  test('starts, connects, and says what is missing and what that costs', async () => {
    const bare = join(stateDir, 'root');
    mkdirSync(bare);
    symlinkSync(join(root, 'package.json'), join(bare, 'package.json'));
    const fake = await scheduler();
    const started = await agent({ root: bare, scheduler: fake.url, joinToken: 'join-token' });
    await started.connected(30_000);
    const hello = (await fake.session(0)).hello;
    expect(hello?.inventory.executors).toEqual([]);
    expect(hello?.inventory.limitations.toSorted()).toEqual([
      expect.stringMatching(/^executor container: /),
      expect.stringMatching(/^executor process: /),
      expect.stringMatching(/^jobs run without a sandbox: /),
      expect.stringContaining('native addon missing'),
      expect.stringContaining('orders that nobody signed are carried out'),
    ]);
    const base = started.metricsUrl;
    expect((await get(`${base}/readyz`)).status).toBe(200);
    (await fake.session(0)).send(order('job-1', ['true']));
    expect(await (await fake.session(0)).waitFor('orderAck')).toMatchObject({ outcome: 'refused' });
  });
});

test('readyz says that there is no session, healthz stays well', async () => {
  const fake = await scheduler({ silent: true });
  const started = await agent({ scheduler: fake.url, joinToken: 'join-token' });
  const base = started.metricsUrl;
  const ready = await get(`${base}/readyz`);
  expect(ready.status).toBe(503);
  expect(ready.text).toContain(`no session with the scheduler at ${fake.url}`);
  expect((await get(`${base}/healthz`)).status).toBe(200);
  expect(readFileSync(join(stateDir, 'agent/lock'), 'utf8').trim()).toBe(String(process.pid));
});
