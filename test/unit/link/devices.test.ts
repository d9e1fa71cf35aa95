import { describe, expect, test } from 'vitest';
import { MAX_RECORDS_BYTES, MIN_INTERVAL_MS, withinBytes } from '../../../src/link/devices.ts';
import { createLink } from '../../../src/link/link.ts';
import { agentMessageSchema, type Devices, type Hello } from '../../../src/protocol/control.ts';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import { deviceRecord, faultyRecord, partitionRecord } from '../../fakes/device.ts';
import {
  challenge,
  createHandClock,
  createHandSockets,
  createKeptLog,
  helloOf,
  noExec,
  welcome,
} from './parts.ts';

function begin() {
  const clock = createHandClock();
  const { connect, sockets } = createHandSockets();
  const log = createKeptLog();
  const link = createLink({
    url: 'http://scheduler',
    hello: async () => helloOf(),
    handlers: {
      order: async () => ({ outcome: 'accepted', code: null, message: null }),
      contact() {},
      report: () => null,
      acknowledged() {},
      delivered() {},
      readOutput: async () => null,
      exec: noExec,
    },
    clock,
    log,
    random: () => 0.5,
    connect,
  });
  const socket = () => {
    const last = sockets.at(-1);
    if (last === undefined) throw new Error('no socket was opened');
    return last;
  };
  return {
    clock,
    link,
    log,
    socket,
    messages: () => socket().texts.map((text) => JSON.parse(text) as { type: string }),
    told: () =>
      socket()
        .texts.map((text) => JSON.parse(text))
        .filter((one) => one.type === 'devices') as Devices[],
    async greet() {
      socket().events.open();
      socket().say(challenge);
      await clock.advance(0);
    },
    async live() {
      socket().say(welcome);
      await clock.advance(0);
    },
  };
}

describe('the devices of this node', () => {
  test('are in every hello as they are then, and nothing is told twice', async () => {
    const { link, clock, socket, messages, told, greet, live } = begin();
    link.devices([deviceRecord(0)]);
    link.open();
    await greet();
    expect((messages().find(({ type }) => type === 'hello') as Hello).devices).toMatchObject([
      { id: 'GPU-0' },
    ]);
    await live();
    link.devices([deviceRecord(0)]);
    await clock.advance(2000);
    expect(told()).toEqual([]);
    link.devices([deviceRecord(0), deviceRecord(1)]);
    await clock.advance(0);
    expect(told()).toHaveLength(1);
    socket().events.closed(1006, '');
    await clock.advance(1000);
    await greet();
    expect((messages().find(({ type }) => type === 'hello') as Hello).devices).toHaveLength(2);
  });

  test('that change between hello and welcome are told', async () => {
    const { link, clock, told, greet, live } = begin();
    link.open();
    await greet();
    link.devices([deviceRecord(0)]);
    await live();
    await clock.advance(MIN_INTERVAL_MS);
    expect(told().map(({ devices }) => devices.map(({ id }) => id))).toEqual([['GPU-0']]);
  });

  test('that change ten times a second are told at most every 250 ms, the last state always and soon', async () => {
    const { link, clock, socket, told, greet, live } = begin();
    link.open();
    await greet();
    await live();
    await clock.advance(1000);
    const before = told().length;
    for (let n = 0; n < 30; n += 1) {
      link.devices([deviceRecord(0, { memoryTotalBytes: n })]);
      socket().say({ type: 'heartbeat' });
      await clock.advance(100);
    }
    await clock.advance(MIN_INTERVAL_MS);
    expect(told().length - before).toBeLessThanOrEqual(3250 / MIN_INTERVAL_MS + 1);
    expect(told().length - before).toBeGreaterThan(5);
    expect(told().at(-1)?.devices[0]?.memoryTotalBytes).toBe(29);
  });

  test('wait while the socket takes no more, and then go in their last state', async () => {
    const { link, clock, socket, told, greet, live } = begin();
    link.open();
    await greet();
    await live();
    await clock.advance(1000);
    socket().buffered = 4 * 1024 * 1024;
    for (const n of [1, 2, 3]) link.devices([deviceRecord(n)]);
    await clock.advance(1000);
    expect(told()).toEqual([]);
    socket().buffered = 0;
    socket().events.drained();
    await clock.advance(MIN_INTERVAL_MS);
    expect(told().map(({ devices }) => devices[0]?.id)).toEqual(['GPU-3']);
  });

  test('that do not fit the protocol stay out, said once, and cost the others nothing', async () => {
    const { link, clock, log, told, greet, live } = begin();
    link.open();
    await greet();
    await live();
    await clock.advance(1000);
    const bad = { ...deviceRecord(1), id: 'x'.repeat(200) } as DeviceRecord;
    link.devices([deviceRecord(0), bad]);
    link.devices([deviceRecord(0, { index: 3 }), bad]);
    await clock.advance(1000);
    expect(told().at(-1)?.devices).toMatchObject([{ id: 'GPU-0', index: 3 }]);
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  });

  test('of any length fit a frame: processes go first, then links, partitions before devices', () => {
    const long = (record: DeviceRecord): DeviceRecord => ({
      ...record,
      processes: Array.from({ length: 256 }, (_, pid) => ({ pid, memoryBytes: 1, name: 'p'.repeat(200) })),
      links: Array.from({ length: 250 }, (_, n) => ({
        kind: 'nvlink',
        peer: `GPU-${n}`,
        count: 18,
        up: true,
      })),
    });
    const some = withinBytes(
      Array.from({ length: 16 }, (_, slot) => long(faultyRecord(deviceRecord(slot), 'warn'))),
    );
    expect(some.map(({ processes, links }) => [processes.length, links.length])).toEqual(
      some.map(() => [0, 250]),
    );
    expect(some).toHaveLength(16);
    const slices = Array.from({ length: 800 }, (_, n) => long(partitionRecord(1000 + n, 1)));
    const most = withinBytes([...slices, long(deviceRecord(1))]);
    expect(most[0]?.id).toBe('GPU-1');
    expect(most.length).toBeGreaterThan(100);
    const message = JSON.stringify({ type: 'devices', devices: most });
    expect(message.length).toBeLessThan(MAX_RECORDS_BYTES + 100);
    expect(agentMessageSchema.safeParse(JSON.parse(message)).success).toBe(true);
  });
});
