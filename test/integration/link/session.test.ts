import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import type { Order } from '../../../src/link/orders.ts';
import { type FakeOptions, type FakeScheduler, startFakeScheduler, until } from '../../fakes/scheduler.ts';
import { resultOf, startOrderOf, windowOf } from '../../unit/link/parts.ts';
import { fastTiming, openTestLink, type TestLink } from './parts.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of open.splice(0).reverse()) await part.close();
});

async function scheduler(options: FakeOptions = {}): Promise<FakeScheduler> {
  const fake = await startFakeScheduler(options);
  open.push(fake);
  return fake;
}

function connect(...parameters: Parameters<typeof openTestLink>): TestLink {
  const opened = openTestLink(...parameters);
  open.push(opened.link);
  return opened;
}

describe('a session', () => {
  test('begins with hello and welcome, then carries the dictionary and decodable windows', async () => {
    const fake = await scheduler();
    const { link } = connect(fake.url);
    await link.connected(30_000);
    const session = await fake.session(0);
    expect(session.hello).toMatchObject({ nodeId: 'node-1', generation: 1 });
    for (let sequence = 1; sequence <= 5; sequence += 1) {
      link.window({ ...windowOf(sequence), durationMs: 1000 });
      await new Promise((resolve) => setTimeout(resolve, 110));
    }
    await until(() => session.windows.length >= 2, 'two windows');
    expect(session.windows[0]?.values[7]).toBe(1024);
    expect(session.complaints).toEqual([]);
    const types = session.messages.map(({ type }) => type).filter((type) => type !== 'heartbeat');
    expect(types[1]).toBe('dictionary');
    expect(link.state()).toMatchObject({ connected: true, sessions: 1, error: null });
  });

  test('sends heartbeats when there is nothing else to send', async () => {
    const fake = await scheduler({ heartbeatMs: 100 });
    connect(fake.url);
    const session = await fake.session(0);
    const beat = setInterval(() => session.send({ type: 'heartbeat' }), 50);
    await session.waitFor('heartbeat', 4);
    clearInterval(beat);
  });

  test('is given up and made anew when the scheduler goes silent', async () => {
    const fake = await scheduler({ heartbeatMs: 100, echo: false });
    const { link } = connect(fake.url);
    await link.connected(30_000);
    const first = await fake.session(0);
    const { code } = await first.closed;
    expect(code).toBe(4460);
    await fake.session(1);
  });

  test('is dropped even when the peer behind it answers nothing at all any more', async () => {
    const fake = await scheduler({ heartbeatMs: 100 });
    const { link } = connect(fake.url);
    await link.connected(30_000);
    (await fake.session(0)).socket.pause();
    await fake.session(1);
    await until(() => link.state().sessions === 2, 'the second session');
    expect(link.state().connected).toBe(true);
  });

  test('takes up again with what the scheduler has not acknowledged, in order and byte for byte', async () => {
    const fake = await scheduler({ acknowledgeResults: false });
    const { link, acknowledged } = connect(fake.url);
    await link.connected(30_000);
    const first = await fake.session(0);
    link.started('job-1', 1, 42, 1.7e12);
    link.ended(resultOf('job-1'));
    link.ended(resultOf('job-2'));
    link.ended(resultOf('job-1'));
    await first.waitFor('jobResult', 2);
    first.socket.terminate();
    link.ended(resultOf('job-3'));
    const second = await fake.session(1);
    await second.waitFor('jobResult', 3);
    expect(second.facts.slice(0, 3)).toEqual(first.facts);
    expect(second.facts).toHaveLength(4);
    for (const fact of second.facts) second.send({ type: 'ack', sequence: JSON.parse(fact).sequence });
    await until(() => link.figures().factsWaiting === 0, 'all acknowledged');
    expect(acknowledged).toEqual(['job-1.1', 'job-2.1', 'job-3.1']);
  });

  test('repeats a fact that stays without an answer although the session is well', async () => {
    const fake = await scheduler({ acknowledgeResults: false });
    const { link } = connect(fake.url);
    await link.connected(30_000);
    const session = await fake.session(0);
    link.ended(resultOf('job-1'));
    await session.waitFor('jobResult', 3);
    expect(new Set(session.facts).size).toBe(1);
    fake.behaviour = { acknowledgeResults: true };
    await until(() => link.figures().factsWaiting === 0, 'acknowledged');
  });

  test('keeps windows while there is no scheduler and brings them with an encoder of its own', async () => {
    const fake = await scheduler();
    const { link } = connect(fake.url);
    await link.connected(30_000);
    link.window(windowOf(1));
    const first = await fake.session(0);
    await until(() => first.windows.length === 1, 'the first window');
    fake.behaviour = { silent: true };
    first.socket.terminate();
    await until(() => !link.state().connected, 'the end of the session');
    await new Promise((resolve) => setTimeout(resolve, 120));
    for (let sequence = 2; sequence <= 200; sequence += 1)
      link.window({ ...windowOf(sequence), durationMs: 1e6 });
    expect(link.figures()).toMatchObject({ windowsWaiting: 120, windowsDropped: 79 });
    fake.behaviour = {};
    for (const session of fake.sessions) session.socket.terminate();
    await until(() => (fake.sessions.at(-1)?.windows.length ?? 0) === 120, 'the backlog');
    const last = fake.sessions.at(-1);
    expect(last?.complaints).toEqual([]);
    expect(last?.windows.map((window) => window.sequence)).toEqual(
      Array.from({ length: 120 }, (_, at) => 81 + at),
    );
  });
});

describe('orders', () => {
  test('are handed over and answered under their own id, a hundred times if they are repeated', async () => {
    const fake = await scheduler();
    const seen: Order[] = [];
    const started = new Set<string>();
    connect(fake.url, async (order) => {
      seen.push(order);
      const key = `${order.jobId}.${order.epoch}`;
      const outcome = started.has(key) ? 'duplicate' : 'accepted';
      started.add(key);
      return { outcome, code: null, message: null };
    });
    const session = await fake.session(0);
    await session.waitFor('hello');
    for (let at = 0; at < 100; at += 1) session.send(startOrderOf('job-1', `order-${at}`));
    await session.waitFor('orderAck', 100);
    const acks = session.messages.filter((message) => message.type === 'orderAck');
    expect(new Set(acks.map((ack) => ack.orderId)).size).toBe(100);
    expect(acks.filter((ack) => ack.outcome === 'accepted')).toHaveLength(1);
    expect(seen).toHaveLength(100);
  });

  test('that fail on this node are refused with a code and end nothing', async () => {
    const fake = await scheduler();
    const { log } = connect(fake.url, async (order) => {
      if (order.jobId === 'job-1') throw new Error('the disk is on fire');
      return { outcome: 'refused', code: 'JOB_X', message: 'y'.repeat(5000) };
    });
    const session = await fake.session(0);
    await session.waitFor('hello');
    session.send(startOrderOf('job-1', 'order-1'));
    session.send(startOrderOf('job-2', 'order-2'));
    expect(await session.waitFor('orderAck', 2)).toMatchObject({ orderId: 'order-2', code: 'JOB_X' });
    expect(await session.waitFor('orderAck', 1)).toMatchObject({
      orderId: 'order-1',
      outcome: 'refused',
      code: 'AGENT_ERROR',
      message: 'the disk is on fire',
    });
    expect(log.lines.filter((line) => line.level === 'error')).toHaveLength(1);
    expect(session.complaints).toEqual([]);
  });

  test('that nobody finishes stop the reading, not the memory', async () => {
    const fake = await scheduler({ heartbeatMs: 100 });
    let taken = 0;
    const release: (() => void)[] = [];
    const { link } = connect(fake.url, () => {
      taken += 1;
      return new Promise((resolve) =>
        release.push(() => resolve({ outcome: 'accepted', code: null, message: null })),
      );
    });
    const session = await fake.session(0);
    await session.waitFor('hello');
    fake.behaviour = { silent: true };
    for (let at = 0; at < 5000; at += 1) session.send(startOrderOf(`job-${at}`, `order-${at}`));
    await session.closed;
    expect(taken).toBeGreaterThanOrEqual(1024);
    expect(taken).toBeLessThan(3000);
    fake.behaviour = {};
    for (const finish of release) finish();
    for (const other of fake.sessions) other.socket.terminate();
    await until(() => link.state().sessions === 2, 'service again');
  });
});

describe('output', () => {
  test('of 16 MiB arrives byte for byte through five lost connections', async () => {
    const fake = await scheduler();
    const { link, jobs, write, delivered } = connect(fake.url);
    jobs.push({ jobId: 'job-big', epoch: 1, phase: 'running', devices: [] });
    await link.connected(30_000);
    const bytes = randomBytes(16 * 1024 * 1024);
    const stored = () => fake.stored.get('job-big.1.stdout') ?? 0;
    let drops = 0;
    write('job-big', 'stderr', Buffer.from('small'));
    for (let at = 0; at < bytes.length; at += 1024 * 1024) {
      write('job-big', 'stdout', bytes.subarray(at, at + 1024 * 1024));
    }
    while (drops < 5) {
      // Of this session, however fast the one before it was: each is ended once.
      const session = await fake.session(drops);
      const goal = ((drops + 1) * bytes.length) / 6;
      await until(() => stored() >= goal, `${goal} bytes`);
      session.socket.terminate();
      drops += 1;
    }
    await until(() => stored() === bytes.length, 'all bytes');
    expect(Buffer.concat(fake.output.get('job-big.1.stdout') ?? []).equals(bytes)).toBe(true);
    expect(Buffer.concat(fake.output.get('job-big.1.stderr') ?? []).toString()).toBe('small');
    await until(() => delivered.get('job-big.1')?.stdout === bytes.length, 'the last acknowledgement');
    link.ended(resultOf('job-big', 1, bytes.length));
    await until(() => link.figures().outputJobs === 0, 'the job to be forgotten');
    expect(link.figures().outputUnacknowledgedBytes).toBe(0);
    expect(fake.sessions.length).toBe(6);
    expect(fake.sessions.flatMap((session) => session.complaints)).toEqual([]);
  });

  test('that the scheduler has lost is sent again, and what it has already is not', async () => {
    const fake = await scheduler();
    const { link, jobs, write } = connect(fake.url);
    jobs.push({ jobId: 'job-1', epoch: 1, phase: 'running', devices: [] });
    await link.connected(30_000);
    const bytes = randomBytes(300_000);
    write('job-1', 'stdout', bytes);
    await until(() => fake.stored.get('job-1.1.stdout') === bytes.length, 'all bytes');
    fake.stored.set('job-1.1.stdout', 100_000);
    fake.output.set('job-1.1.stdout', [bytes.subarray(0, 100_000)]);
    fake.sessions.at(-1)?.socket.terminate();
    await until(() => fake.stored.get('job-1.1.stdout') === bytes.length, 'all bytes again');
    expect(Buffer.concat(fake.output.get('job-1.1.stdout') ?? []).equals(bytes)).toBe(true);
    expect(fake.sessions[1]?.frames).toBe(4);
  });

  test('of a hundred quiet jobs is not held up by a noisy one', async () => {
    const fake = await scheduler();
    const { link, write } = connect(fake.url);
    await link.connected(30_000);
    const noisy = 'job-noisy.1.stdout';
    /** What had come of the noisy job when the last quiet one was there: looked at then, not some time later. */
    let ahead = Number.POSITIVE_INFINITY;
    const store = fake.stored.set.bind(fake.stored);
    fake.stored.set = (key, bytes) => {
      store(key, bytes);
      if (key !== noisy && fake.stored.size === 101) ahead = fake.stored.get(noisy) ?? 0;
      return fake.stored;
    };
    write('job-noisy', 'stdout', Buffer.alloc(32 * 1024 * 1024, 1));
    for (let at = 0; at < 100; at += 1) write(`job-${at}`, 'stdout', Buffer.from(`hello ${at}`));
    await until(() => fake.stored.size === 101, 'the quiet jobs');
    expect(ahead).toBeLessThan(16 * 1024 * 1024);
    expect(link.figures().outputUnacknowledgedBytes).toBeLessThanOrEqual(8 * 1024 * 1024);
  });
});

describe('a scheduler that does not read', () => {
  test('costs bounded memory, telemetry but no results, and gets everything afterwards', async () => {
    // Heartbeats that are due after the test: this is about what waits, not about who is silent.
    const fake = await scheduler({ heartbeatMs: 60_000, telemetryMs: 100 });
    const { link, write } = connect(fake.url);
    await link.connected(30_000);
    const session = await fake.session(0);
    session.socket.pause();
    const before = process.memoryUsage().arrayBuffers;
    const columns = Array.from({ length: 4000 }, (_, at) => ({
      family: 'cpu.coreBusyRatio' as const,
      owner: 'host' as const,
      label: String(at),
    }));
    for (let at = 0; at < 20; at += 1) write(`job-${at}`, 'stdout', Buffer.alloc(1024 * 1024, at));
    const startMs = performance.now();
    let sequence = 0;
    while (performance.now() - startMs < 3000) {
      sequence += 1;
      const window = { ...windowOf(sequence, 1, columns), durationMs: 1e6 };
      for (let at = 0; at < window.values.length; at += 1) window.values[at] = Math.random();
      link.window(window);
      if (sequence % 20 === 0) link.ended(resultOf(`job-r${sequence}`));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const { windowsDropped, windowsWaiting, factsWaiting } = link.figures();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
    expect(windowsWaiting).toBeLessThanOrEqual(120);
    expect(windowsDropped + windowsWaiting).toBeGreaterThan(0);
    expect(factsWaiting).toBe(Math.floor(sequence / 20));
    session.socket.resume();
    await until(() => fake.results.size === factsWaiting, 'all results');
    expect(session.complaints).toEqual([]);
  });
});

describe('the link', () => {
  test('waits longer after a refusal and says once why', async () => {
    const fake = await scheduler({ silent: true });
    const { link, log } = connect(fake.url, undefined, { ...fastTiming, refusedWaitMs: 400 });
    const session = await fake.session(0);
    session.socket.close(4401, 'the proof\ndoes not fit');
    await session.closed;
    await until(() => link.state().error !== null, 'the reason');
    const refusedMs = performance.now();
    expect(link.state().error).toBe('the scheduler closed the session (4401): the proof does not fit');
    const second = await fake.session(1);
    expect(performance.now() - refusedMs).toBeGreaterThan(150);
    second.socket.close(4401, 'the proof\ndoes not fit');
    await fake.session(2);
    expect(log.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
  });

  test('stays away for as long as a scheduler that shuts down asks for', async () => {
    const fake = await scheduler();
    const { link } = connect(fake.url);
    await link.connected(30_000);
    (await fake.session(0)).socket.close(4503, 'retry-after 1');
    const startMs = performance.now();
    await fake.session(1);
    expect(performance.now() - startMs).toBeGreaterThan(900);
  });

  test('says in one sentence that there is nobody, and comes when somebody is there', async () => {
    const gone = await startFakeScheduler();
    await gone.close();
    const { link } = connect(gone.url);
    await until(() => link.state().error !== null, 'the first refusal');
    await expect(link.connected(200)).rejects.toMatchObject({
      code: 'LINK_NOT_CONNECTED',
      message: expect.stringContaining('ECONNREFUSED'),
    });
    const back = await startFakeScheduler({ port: gone.port });
    open.push(back);
    await link.connected(30_000);
    expect(link.figures().connectAttempts).toBeGreaterThan(2);
  });

  test('makes a new session at once when its hello has changed', async () => {
    const fake = await scheduler();
    const { link, log } = connect(fake.url);
    await link.connected(30_000);
    link.renew('the inventory is complete now');
    await until(() => link.state().sessions === 2, 'the new session');
    expect((await (await fake.session(0)).closed).code).toBe(1000);
    expect(log.lines.filter((line) => line.level === 'warn')).toEqual([]);
  });

  test('makes it also where the hello was under way when it changed', async () => {
    const fake = await scheduler({ mute: true });
    const { link } = connect(fake.url);
    const first = await fake.session(0);
    await first.waitFor('hello');
    link.renew('the inventory is complete now');
    fake.behaviour = {};
    first.welcome();
    expect(await first.closed).toMatchObject({ code: 1000, reason: 'the inventory is complete now' });
    await until(() => link.state().sessions === 2, 'the new session');
    expect(link.state().connected).toBe(true);
    expect(fake.sessions).toHaveLength(2);
  });

  test('leaves no socket behind when it is closed, wherever it stands', async () => {
    const fake = await scheduler({ mute: true });
    const waiting = openTestLink(fake.url);
    const session = await fake.session(0);
    await session.waitFor('hello');
    await waiting.link.close();
    expect((await session.closed).code).toBe(1001);
    const early = openTestLink(fake.url);
    await early.link.close();
    await expect(early.link.connected(50)).rejects.toMatchObject({ code: 'LINK_NOT_CONNECTED' });
  });
});
