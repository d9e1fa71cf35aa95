// A crash: what is on disk while the scheduler runs is copied away, and another scheduler starts on the copy.
import { readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { startScheduler } from '../../../src/scheduler/scheduler.ts';
import { defaultTls } from '../../../src/scheduler/tls/tls.ts';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { type Bed, followJob, freshFolder, readFollowed, startBed } from './bed.ts';

const Libsql = createRequire(import.meta.url)('libsql') as new (
  path: string,
) => { exec(sql: string): void; close(): void };

describe('a scheduler that comes back', () => {
  const beds: Bed[] = [];
  const agents: FakeAgent[] = [];
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.socket.terminate();
    for (const bed of beds.splice(0)) await bed.close();
  });
  async function start(stateDir?: string): Promise<Bed> {
    const bed = await startBed(stateDir);
    beds.push(bed);
    return bed;
  }

  it('knows every job in its state, and brings each to one end', async () => {
    const bed = await start();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await connectFake({ url: bed.url, identity, cpus: 4 });
    agents.push(agent);
    const names = ['ended', 'running', 'starting', 'unsent', 'waiting', 'cancelled'] as const;
    const ids = {} as Record<(typeof names)[number], string>;
    for (const name of names) ids[name] = (await bed.submit({ name })).id;
    await agent.next('start', (one) => one.jobId === ids.unsent);
    agent.started(ids.running);
    agent.output(ids.running, 1, 'stdout', 0, 'before ');
    await agent.next('outputAck');
    const result = agent.ended(ids.ended, { exitCode: 3 });
    await bed.until(ids.ended, (job) => job.state === 'FAILED');
    await bed.until(ids.running, (job) => job.state === 'RUNNING');
    // The end of the first gave its CPU to the next.
    await agent.next('start', (one) => one.jobId === ids.waiting);
    await bed.call('POST', `/v1/jobs/${ids.cancelled}/cancel`, {});

    const survivor = await start(bed.crashImage());
    expect(survivor.scheduler.schedulerId).toBe(bed.scheduler.schedulerId);
    expect(survivor.token).toBe(bed.token);
    const stateOf = async (name: (typeof names)[number]) => (await survivor.job(ids[name])).state;
    expect(await Promise.all(names.map(stateOf))).toEqual([
      'FAILED',
      'RUNNING',
      'STARTING',
      'STARTING',
      'STARTING',
      'CANCELLED',
    ]);
    expect((await survivor.job(ids.running)).reason).toContain('unreachable since this scheduler started');

    const back = await connectFake({
      url: survivor.url,
      identity,
      cpus: 4,
      held: [
        { jobId: ids.ended, epoch: 1, phase: 'ended' },
        { jobId: ids.running, epoch: 1, phase: 'running' },
        { jobId: ids.starting, epoch: 1, phase: 'accepted' },
        { jobId: ids.waiting, epoch: 1, phase: 'running' },
      ],
    });
    agents.push(back);
    const welcome = await back.next('welcome');
    expect(welcome.outputs).toContainEqual({ jobId: ids.running, epoch: 1, stdoutBytes: 7, stderrBytes: 0 });
    await back.next('start', (one) => one.jobId === ids.unsent && one.epoch === 1);
    // The acknowledgement of this result was lost with the crash.
    const repeat = back.resend(result);
    await back.next('ack', (ack) => ack.sequence === repeat);
    back.output(ids.running, 1, 'stdout', 7, 'after');
    for (const name of ['running', 'starting', 'unsent', 'waiting'] as const) {
      back.ended(ids[name], { stdoutBytes: name === 'running' ? 12 : 0 });
    }
    expect((await followJob(survivor, ids.running)).stdout).toBe('before after');
    for (const name of ['starting', 'unsent', 'waiting'] as const) {
      await survivor.until(ids[name], (job) => job.state === 'COMPLETED');
    }
    const starts = back.messages.filter((message) => message.type === 'start').map((one) => one.jobId);
    expect(starts).toEqual([ids.unsent]);
    expect((await survivor.node('node-a')).resources?.cpus.held).toBe(0);
  });

  it('adopts what runs when its store is older than the agents, and starts nothing twice', async () => {
    const bed = await start();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const { id } = await bed.submit();
    const old = bed.crashImage();
    const agent = await connectFake({ url: bed.url, identity });
    agents.push(agent);
    await agent.next('start', (one) => one.jobId === id);

    const survivor = await start(old);
    expect((await survivor.job(id)).state).toBe('PENDING');
    const held = [
      { jobId: id, epoch: 1, phase: 'running' as const },
      { jobId: 'job-unheardof', epoch: 1, phase: 'running' as const },
    ];
    const back = await connectFake({ url: survivor.url, identity, held });
    agents.push(back);
    expect(await survivor.until(id, (job) => job.state === 'RUNNING')).toMatchObject({
      epoch: 1,
      node: { name: 'node-a' },
    });
    back.ended(id, { exitCode: 4 });
    await survivor.until(id, (job) => job.state === 'FAILED');
    const orders = back.messages.filter((message) => message.type === 'start' || message.type === 'stop');
    expect(orders).toEqual([]);
    expect(survivor.logged.some((line) => JSON.stringify(line.fields).includes('job-unheardof'))).toBe(true);
  });

  it('ends what its node has settled since the store was copied, and orders it no more', async () => {
    const bed = await start();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await connectFake({ url: bed.url, identity });
    agents.push(agent);
    const { id } = await bed.submit();
    await agent.next('start', ({ jobId }) => jobId === id);
    const old = bed.crashImage();
    agent.ended(id);
    await agent.next('ack');

    const survivor = await start(old);
    expect((await survivor.job(id)).state).toBe('STARTING');
    const back = await connectFake({ url: survivor.url, identity });
    agents.push(back);
    const orders = () =>
      back.messages.flatMap((one) => (one.type === 'start' || one.type === 'stop' ? [one.orderId] : []));
    await expect.poll(orders, { timeout: 20_000 }).toHaveLength(1);
    const [orderId] = orders();
    const message = 'it has ended and its result was acknowledged';
    back.send({
      type: 'orderAck',
      orderId,
      outcome: 'duplicate',
      code: 'JOB_SETTLED',
      message,
    });
    const { reason } = await survivor.until(id, (job) => job.state === 'LOST');
    expect(reason).toContain('it has ended on node-a, whose result this scheduler has lost');
    expect(orders()).toHaveLength(1);
  });

  it('says good-bye with 4503 and when to come back, and ends its followers', async () => {
    const bed = await start();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await connectFake({ url: bed.url, identity });
    const { id } = await bed.submit();
    await agent.next('start');
    const response = await fetch(`${bed.url}/v1/jobs/${id}/follow`, {
      headers: { authorization: `Bearer ${bed.token}` },
    });
    const followed = readFollowed(response);
    await bed.scheduler.close();
    expect(await agent.closed).toMatchObject({
      code: 4503,
      reason: expect.stringContaining('retry-after 1'),
    });
    expect((await followed).jobs.at(-1)?.state).toBe('STARTING');
    await expect(fetch(bed.url)).rejects.toThrow();
  });
});

describe('a scheduler whose disk fails', () => {
  it('says so with 503, orders and acknowledges nothing more, and still shows what it knows', async () => {
    const bed = await startBed();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await connectFake({ url: bed.url, identity });
    const { id } = await bed.submit();
    await agent.next('start');
    // Another connection takes the write lock for longer than a commit waits.
    const thief = new Libsql(join(bed.stateDir, 'scheduler', 'store.db'));
    thief.exec('BEGIN IMMEDIATE');
    const sequence = agent.resend(agent.ended(id));
    const refused = await bed.call('POST', '/v1/jobs', { version: 1, command: ['true'] });
    thief.exec('ROLLBACK');
    thief.close();
    expect(refused).toMatchObject({
      status: 503,
      body: { error: { code: 'QUEUE_STORE_FAILED', field: 'stateDir' } },
    });
    expect((await bed.call('GET', '/readyz', undefined, null)).status).toBe(503);
    expect((await bed.call('GET', '/v1/jobs')).body).toMatchObject({ jobs: [{ id, state: 'STARTING' }] });
    expect((await bed.call('POST', `/v1/jobs/${id}/cancel`, {})).status).toBe(503);
    expect(agent.messages.some((message) => message.type === 'ack' && message.sequence <= sequence)).toBe(
      false,
    );
    agent.socket.terminate();
    await bed.close();
  });
});

describe('the dashboard', () => {
  it('is served under a policy that allows no foreign script, and only by its own three paths', async () => {
    const bed = await startBed(
      freshFolder(),
      fileURLToPath(new URL('../../../src/dashboard', import.meta.url)),
    );
    for (const [path, type] of [
      ['/', 'text/html'],
      ['/page.js', 'text/javascript'],
      ['/style.css', 'text/css'],
    ]) {
      const response = await fetch(`${bed.url}${path}`);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toContain(type);
      expect(response.headers.get('content-security-policy')).toMatch(
        /^default-src 'none'; script-src 'self';/,
      );
      const text = await response.text();
      expect(text).not.toMatch(/https?:\/\/(?!www\.w3\.org)/);
      if (path === '/') expect(text).not.toMatch(/<script>| on\w+=| style=/);
    }
    expect((await bed.call('GET', '/index.html', undefined, null)).status).toBe(401);
    await bed.close();
  });
});

describe('the start of a scheduler', () => {
  const options = (stateDir: string, listen: { host: string; port: number }) => ({
    stateDir,
    listen,
    clock: createClock(),
    log: createSilentLog(),
    version: '0.1.0',
    dashboardFolder: null,
  });
  const loopback = { host: '127.0.0.1', port: 0 };

  it('makes its secrets for its user alone', async () => {
    const bed = await startBed();
    for (const name of ['token', 'join-token', 'id']) {
      expect(statSync(join(bed.stateDir, 'scheduler', name)).mode & 0o777).toBe(0o600);
    }
    for (const name of ['scheduler', 'scheduler/output']) {
      expect(statSync(join(bed.stateDir, name)).mode & 0o777).toBe(0o700);
    }
    expect(bed.token).toMatch(/^[\w-]{43}$/);
    await expect(startScheduler(options(bed.stateDir, loopback))).rejects.toMatchObject({
      code: 'QUEUE_IN_USE',
      field: 'stateDir',
    });
    await bed.close();
  });

  it('names the key and the remedy for an occupied port, and leaves the store free', async () => {
    const stranger = createServer();
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    const { port } = stranger.address() as { port: number };
    const stateDir = freshFolder();
    await expect(startScheduler(options(stateDir, { host: '127.0.0.1', port }))).rejects.toMatchObject({
      code: 'SCHEDULER_ADDRESS_IN_USE',
      field: 'listen',
      remedy: expect.stringContaining('--listen'),
    });
    stranger.close();
    const scheduler = await startScheduler(options(stateDir, loopback));
    await scheduler.close();
    rmSync(stateDir, { recursive: true });
  });

  it.each(['0.0.0.0', '::', '10.1.2.3', 'example.org', ''])(
    'refuses to listen on "%s" without TLS',
    async (host) => {
      const tls = { ...defaultTls, mode: 'off' as const };
      const stateDir = freshFolder();
      const asked = { ...options(join(stateDir, 'state'), { host, port: 0 }), tls };
      await expect(startScheduler(asked)).rejects.toMatchObject({
        code: 'SCHEDULER_LISTEN_OPEN',
        field: 'tls.mode',
        remedy: expect.stringContaining('SSH tunnel'),
      });
      expect(readdirSync(stateDir)).toEqual([]);
      rmSync(stateDir, { recursive: true });
    },
  );

  it('names the state directory when it cannot be used', async () => {
    await expect(startScheduler(options('/proc/flopd', loopback))).rejects.toMatchObject({
      code: 'SCHEDULER_STATE_UNUSABLE',
      field: 'stateDir',
    });
  });
});
