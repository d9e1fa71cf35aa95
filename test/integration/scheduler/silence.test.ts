// Deadlines of the gateway, on a clock that the test moves; sockets are real.
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { readSignedHead } from '../../../src/audit/head.ts';
import type { Clock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { HEARTBEAT_MS, MAX_STRANGERS_PER_ADDRESS } from '../../../src/scheduler/gateway.ts';
import { HEAD_TELL_MS } from '../../../src/scheduler/head-teller.ts';
import { type Scheduler, startScheduler } from '../../../src/scheduler/scheduler.ts';
import { connectFake, enrolFake, type FakeIdentity } from '../../fakes/agent.ts';
import { freshFolder } from './bed.ts';

interface HandClock extends Clock {
  advance(ms: number): Promise<void>;
}

/** Timers fire only when the test moves the time; after each, the sockets have a turn. */
function createHandClock(): HandClock {
  let nowMs = 1000;
  let timers: { dueMs: number; fn: () => void }[] = [];
  return {
    wallMs: () => 1_700_000_000_000 + nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, fn) {
      const timer = { dueMs: nowMs + delayMs, fn };
      timers.push(timer);
      return {
        cancel() {
          timers = timers.filter((other) => other !== timer);
        },
      };
    },
    async advance(ms) {
      const endMs = nowMs + ms;
      for (;;) {
        const [next] = timers.filter((timer) => timer.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs);
        if (next === undefined) break;
        nowMs = Math.max(nowMs, next.dueMs);
        timers = timers.filter((timer) => timer !== next);
        next.fn();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      nowMs = endMs;
    },
  };
}

describe('deadlines of the link', () => {
  let scheduler: Scheduler;
  let stateDir: string;
  let clock: HandClock;
  let identity: FakeIdentity;
  beforeEach(async () => {
    stateDir = freshFolder();
    clock = createHandClock();
    scheduler = await startScheduler({
      stateDir,
      listen: { host: '127.0.0.1', port: 0 },
      clock,
      log: createSilentLog(),
      version: '0.1.0',
      dashboardFolder: null,
    });
    identity = await enrolFake(scheduler.url, scheduler.joinTokenFile);
  });
  afterEach(async () => {
    await scheduler.close();
    rmSync(stateDir, { recursive: true, force: true });
  });
  const stranger = () => {
    const socket = new WebSocket(`${scheduler.url.replace('http', 'ws')}/v1/link`, 'flopd.v1');
    socket.on('error', () => {});
    const opened = new Promise<boolean>((resolve) => {
      socket.on('open', () => resolve(true));
      socket.on('error', () => resolve(false));
    });
    const closed = new Promise<number>((resolve) => socket.on('close', resolve));
    return { socket, opened, closed };
  };

  it('cuts off who says no hello within five seconds', async () => {
    const { opened, closed } = stranger();
    await opened;
    await clock.advance(5001);
    expect(await closed).toBe(4408);
  });

  it('sends heartbeats to a quiet agent and cuts it off when it stays silent, but not one that speaks', async () => {
    const agent = await connectFake({ url: scheduler.url, identity });
    for (let beat = 0; beat < 6; beat += 1) {
      agent.send({ type: 'heartbeat' });
      await new Promise((resolve) => setTimeout(resolve, 20));
      await clock.advance(HEARTBEAT_MS);
    }
    expect(agent.socket.readyState).toBe(WebSocket.OPEN);
    expect(agent.messages.filter((message) => message.type === 'heartbeat').length).toBeGreaterThanOrEqual(4);
    await clock.advance(4 * HEARTBEAT_MS);
    expect((await agent.closed).code).toBe(4460);
  });

  it('tells how far its own audit log has come: at once, and minutes later again when it has grown', async () => {
    const agent = await connectFake({ url: scheduler.url, identity });
    const told = () =>
      agent.messages.flatMap((message) =>
        (message.type === 'welcome' || message.type === 'heartbeat') && message.auditHead !== undefined
          ? [readSignedHead(message.auditHead)]
          : [],
      );
    const beatUntil = async (count: number, ms: number): Promise<void> => {
      for (let passedMs = 0; passedMs < ms && told().length < count; passedMs += HEARTBEAT_MS) {
        agent.send({ type: 'heartbeat', sequence: 1 + passedMs / HEARTBEAT_MS });
        await agent.next('heartbeat', ({ echo }) => echo === 1 + passedMs / HEARTBEAT_MS);
        await clock.advance(HEARTBEAT_MS);
      }
    };
    await beatUntil(1, HEAD_TELL_MS);
    expect(told()).toMatchObject([{ owner: identity.schedulerId }]);
    // Somebody is refused: a record.
    await fetch(`${scheduler.url}/v1/jobs`, { headers: { authorization: 'Bearer wrong' } });
    await beatUntil(2, HEAD_TELL_MS + 10 * HEARTBEAT_MS);
    const [first, second] = told();
    expect(second?.sequence).toBeGreaterThan(first?.sequence ?? 0);
    agent.socket.terminate();
  });

  it('lets a bounded number of strangers in from one address, and an agent again when they are gone', async () => {
    const strangers = Array.from({ length: MAX_STRANGERS_PER_ADDRESS + 20 }, stranger);
    const opened = await Promise.all(strangers.map((one) => one.opened));
    expect(opened.filter(Boolean)).toHaveLength(MAX_STRANGERS_PER_ADDRESS);
    for (const { socket } of strangers) socket.terminate();
    await Promise.all(strangers.map((one) => one.closed));
    // It is seen at the other end as well, in a while.
    await expect
      .poll(async () => {
        const agent = await connectFake({ url: scheduler.url, identity }).catch(() => null);
        agent?.socket.terminate();
        return agent !== null;
      })
      .toBe(true);
  });
});
