import { describe, expect, test } from 'vitest';
import { cheapInventory, gatherFacts, INVENTORY_DEADLINE_MS } from '../../../src/agent/facts.ts';
import { buildHello, MAX_HELLO_JOBS } from '../../../src/agent/hello.ts';
import { createVitals } from '../../../src/agent/vitals.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createLifecycle, STOP_DEADLINE_MS } from '../../../src/daemon/lifecycle.ts';
import { createNotifier, watchdogTimeMs } from '../../../src/daemon/notify.ts';
import { decideCapacity } from '../../../src/device/capacity.ts';
import type { LinkState } from '../../../src/link/link-state.ts';
import type { Native } from '../../../src/native.ts';
import { helloSchema, inventorySchema, MAX_FRAME_BYTES } from '../../../src/protocol/control.ts';
import { jobEnvironment } from '../../../src/runner/job-environment.ts';
import { challenge, createHandClock, createKeptLog, helloOf } from '../link/parts.ts';

describe('lifecycle', () => {
  test('stops in reverse order, once, and waits for each', async () => {
    const order: string[] = [];
    const lifecycle = createLifecycle(createHandClock(), createSilentLog());
    lifecycle.onStop('a', () => void order.push('a'));
    lifecycle.onStop('b', async () => {
      await Promise.resolve();
      order.push('b');
    });
    await Promise.all([lifecycle.stop(), lifecycle.stop()]);
    expect(order).toEqual(['b', 'a']);
  });

  test('goes on past a part that throws, rejects or hangs', async () => {
    const clock = createHandClock();
    const log = createKeptLog();
    const order: string[] = [];
    const lifecycle = createLifecycle(clock, log);
    lifecycle.onStop('a', () => void order.push('a'));
    lifecycle.onStop('thrower', () => {
      throw new Error('no');
    });
    lifecycle.onStop('rejecter', () => Promise.reject(new Error('no')));
    lifecycle.onStop('hanger', () => new Promise(() => {}));
    const stopped = lifecycle.stop();
    await clock.advance(STOP_DEADLINE_MS);
    await stopped;
    expect(order).toEqual(['a']);
    expect(log.lines.map((line) => line.fields)).toEqual([
      { part: 'hanger' },
      { part: 'rejecter' },
      { part: 'thrower' },
    ]);
    expect(clock.pending()).toBe(0);
  });
});

describe('systemd', () => {
  function bench(environment: Record<string, string>, stuck: () => string | null = () => null) {
    const clock = createHandClock();
    const log = createKeptLog();
    const sent: string[] = [];
    const native = { notify: (state: string) => sent.push(state) > 0 } as unknown as Native;
    let status = 'connected';
    const parts = { native, environment, pid: 77, stuck, status: () => status, clock, log };
    return {
      clock,
      log,
      sent,
      parts,
      notifier: createNotifier(parts),
      setStatus: (text: string) => (status = text),
    };
  }
  const socket = { NOTIFY_SOCKET: '/run/systemd/notify' };

  test('is told ready with a status, then feeds, then stopping', async () => {
    const { clock, sent, notifier } = bench({ ...socket, WATCHDOG_USEC: '3000000', WATCHDOG_PID: '77' });
    notifier.ready();
    expect(sent).toEqual(['READY=1\nSTATUS=connected', 'WATCHDOG=1']);
    await clock.advance(3000);
    expect(sent.filter((state) => state === 'WATCHDOG=1')).toHaveLength(4);
    notifier.stopping();
    expect(sent.at(-1)).toMatch(/^STOPPING=1/);
    const count = sent.length;
    await clock.advance(60_000);
    expect(sent).toHaveLength(count);
  });

  test('is not fed while something stands still, and the log says so once', async () => {
    let what: string | null = null;
    const { clock, sent, log, notifier } = bench({ ...socket, WATCHDOG_USEC: '3000000' }, () => what);
    notifier.ready();
    what = 'no numbers from the sampler for 12 s';
    sent.length = 0;
    await clock.advance(5000);
    expect(sent).toEqual([]);
    expect(log.lines.map((line) => line.message)).toEqual([
      'the watchdog is not fed: no numbers from the sampler for 12 s',
    ]);
    what = null;
    await clock.advance(1000);
    expect(sent).toEqual(['WATCHDOG=1']);
  });

  test('sees a status only when it has changed, on one line', async () => {
    const { clock, sent, notifier, setStatus } = bench(socket);
    notifier.ready();
    await clock.advance(10_000);
    expect(sent).toHaveLength(1);
    setStatus(`lost\nMAINPID=1${'x'.repeat(500)}`);
    await clock.advance(2000);
    expect(sent[1]?.startsWith('STATUS=lost MAINPID=1xxx')).toBe(true);
    expect(sent[1]?.length).toBeLessThan(220);
  });

  test('is not spoken to where there is none, and one line says what is missing without the addon', () => {
    const none = bench({});
    none.notifier.ready();
    none.notifier.stopping();
    expect(none.sent).toEqual([]);
    const { parts, log } = bench({ ...socket, WATCHDOG_USEC: '3000000' });
    const notifier = createNotifier({ ...parts, native: null });
    notifier.ready();
    notifier.stopping();
    expect(log.lines.map((line) => line.message)).toEqual([expect.stringContaining('native addon')]);
  });

  test('sets a watchdog only for this process and only in numbers', () => {
    expect(watchdogTimeMs({ WATCHDOG_USEC: '30000000' }, 1)).toBe(30_000);
    expect(watchdogTimeMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '2' }, 1)).toBeNull();
    for (const usec of [undefined, '', '0', '-1', '1e9', 'x', '9'.repeat(40)]) {
      expect(watchdogTimeMs(usec === undefined ? {} : { WATCHDOG_USEC: usec }, 1)).toBeNull();
    }
  });
});

describe('vitals', () => {
  function bench(isSampling = true) {
    const clock = createHandClock();
    let state: LinkState = {
      connected: false,
      sinceMs: clock.monotonicMs(),
      sessions: 0,
      error: null,
      heartbeatMs: null,
    };
    let windowMs: number | null = null;
    let broken = false;
    const vitals = createVitals({
      lastWindowMs: isSampling ? () => windowMs : null,
      windowMs: 1000,
      runningCount: () => {
        if (broken) throw new Error('journal closed');
        return 1;
      },
      linkState: () => state,
      schedulerUrl: 'http://s',
      clock,
    });
    return {
      clock,
      vitals,
      link: (change: Partial<LinkState>) => (state = { ...state, sinceMs: clock.monotonicMs(), ...change }),
      sample: () => (windowMs = clock.monotonicMs()),
      break: () => (broken = true),
    };
  }

  test('are live while windows come, and say since when they do not', async () => {
    const { clock, vitals, sample, link } = bench();
    link({ connected: true, sessions: 1 });
    expect(vitals.health()).toMatchObject({ live: true, ready: true });
    await clock.advance(10_000);
    sample();
    await clock.advance(10_000);
    expect(vitals.stuck()).toBeNull();
    await clock.advance(1000);
    expect(vitals.health()).toEqual({
      note: null,
      live: false,
      ready: false,
      reason: 'no numbers from the sampler for 11 s',
    });
    sample();
    expect(vitals.health().live).toBe(true);
  });

  test('do not ask for windows where nothing can sample', async () => {
    const { clock, vitals } = bench(false);
    await clock.advance(100_000);
    expect(vitals.stuck()).toBeNull();
  });

  test('are not live when the job room does not answer', () => {
    const made = bench();
    made.break();
    expect(made.vitals.stuck()).toBe('the job room does not answer: journal closed');
  });

  test('are not ready before the first session, nor three heartbeats after the last', async () => {
    const { clock, vitals, link, sample } = bench();
    expect(vitals.health()).toMatchObject({ live: true, ready: false });
    link({ connected: true, sessions: 1, heartbeatMs: 1000 });
    expect(vitals.health().ready).toBe(true);
    link({ connected: false, error: 'the connection was lost' });
    await clock.advance(3000);
    expect(vitals.health().ready).toBe(true);
    await clock.advance(1000);
    sample();
    expect(vitals.health()).toEqual({
      note: null,
      live: true,
      ready: false,
      reason: 'no session with the scheduler at http://s for 4 s: the connection was lost',
    });
    expect(vitals.status()).toBe('no session with http://s: the connection was lost; 1 job runs');
  });
});

describe('facts', () => {
  const cheap = cheapInventory({ cpus: 2, memoryBytes: 1024 }, ['process'], ['no addon']);
  const full = { ...cheap, limitations: [] };

  test('that cost nothing already make a legal inventory', () => {
    expect(inventorySchema.parse(cheap).limitations).toContain('no addon');
  });

  test('are the complete ones when those come in time', async () => {
    const clock = createHandClock();
    let late = 0;
    const facts = gatherFacts({
      cheap,
      read: async () => full,
      onLate: () => late++,
      clock,
      log: createSilentLog(),
    });
    expect(await facts.settled()).toBe(full);
    expect(facts.inventory()).toBe(full);
    expect(late).toBe(0);
    await clock.advance(0);
    expect(clock.pending()).toBe(0);
  });

  test('are the cheap ones after the deadline, and the link is told when the others come', async () => {
    const clock = createHandClock();
    let late = 0;
    let finish: (inventory: typeof full) => void = () => {};
    const read = () => new Promise<typeof full>((resolve) => (finish = resolve));
    const facts = gatherFacts({ cheap, read, onLate: () => late++, clock, log: createSilentLog() });
    const settled = facts.settled();
    await clock.advance(INVENTORY_DEADLINE_MS);
    expect(await settled).toBe(cheap);
    finish(full);
    await clock.advance(0);
    expect(late).toBe(1);
    expect(await facts.settled()).toBe(full);
  });

  test('that cannot be read leave the cheap ones and a line in the log', async () => {
    const log = createKeptLog();
    const read = () => Promise.reject(new Error('no lscpu'));
    const facts = gatherFacts({ cheap, read, onLate: () => {}, clock: createHandClock(), log });
    expect(await facts.settled()).toBe(cheap);
    expect(log.lines).toHaveLength(1);
  });

  test('about capacity are those of the machine, or less by configuration; CPUs may be more', () => {
    const free = decideCapacity({ cpus: null, memoryBytes: null }, '/proc', '/sys');
    expect(free.cpus).toBeGreaterThan(0);
    const held = decideCapacity({ cpus: 0.5, memoryBytes: 4096 }, '/proc', '/sys');
    expect(held).toEqual({ cpus: 0.5, memoryBytes: 4096 });
    const more = decideCapacity({ cpus: 4096, memoryBytes: 1e18 }, '/nowhere', '/nowhere');
    expect(more.cpus).toBe(4096);
    expect(more.memoryBytes).toBeLessThan(1e18);
  });
});

describe('hello', () => {
  test('of a node with very many jobs still fits a frame, and names what runs', () => {
    const jobs = Array.from({ length: 20_000 }, (_, at) => ({
      jobId: `job-${String(at).padStart(10, '0')}`,
      epoch: 1,
      phase: at % 4 === 0 ? ('running' as const) : ('ended' as const),
      devices: [],
    }));
    const identity = {
      nodeId: 'node-1',
      bootId: 'b',
      generation: 1,
      instance: 'instance-1',
      credential: () => null,
      signedCredential: () => null,
      prove: () => 'proof',
    };
    const { inventory } = helloOf();
    const parts = { identity, name: 'n', version: '1', audit: null, inventory, devices: [], jobs };
    const hello = buildHello(parts, challenge, '');
    expect(hello.jobs).toHaveLength(MAX_HELLO_JOBS);
    expect(hello.jobs.filter((job) => job.phase === 'running')).toHaveLength(5000);
    expect(helloSchema.safeParse(hello).success).toBe(true);
    expect(Buffer.byteLength(JSON.stringify(hello))).toBeLessThan(MAX_FRAME_BYTES);
    const answer = hello.jobs.map(({ jobId, epoch }) => ({
      jobId,
      epoch,
      stdoutBytes: 1e12,
      stderrBytes: 1e12,
    }));
    expect(JSON.stringify(answer).length).toBeLessThan(MAX_FRAME_BYTES);
  });
});

test('a job sees language, time zone and absolute program folders of the agent, nothing else', () => {
  const own = {
    PATH: '/usr/bin:.:bin::/opt/x',
    LANG: 'de_AT.UTF-8',
    TZ: '',
    NOTIFY_SOCKET: '/run/n',
    LD_PRELOAD: 'x',
    NODE_OPTIONS: 'y',
    FLOPD_TOKEN_FILE: 't',
    HOME: '/root',
  };
  expect(jobEnvironment(own)).toEqual({ PATH: '/usr/bin:/opt/x', LANG: 'de_AT.UTF-8' });
  expect(jobEnvironment({ PATH: '.' })).toEqual({});
});
