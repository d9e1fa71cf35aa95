// A link between builds of different age: what it passes on unread, what it refuses by name, what it is asked for.
import { expect, test } from 'vitest';
import { createLink } from '../../../src/link/link.ts';
import { type JobReport, MAX_FRAME_BYTES, startOrderSchema } from '../../../src/protocol/control.ts';
import {
  challenge,
  createHandClock,
  createHandSockets,
  createKeptLog,
  helloOf,
  noExec,
  resultOf,
  startOrderOf,
  welcome,
} from './parts.ts';

async function begin(report: (jobId: string) => JobReport | null = () => null) {
  const clock = createHandClock();
  const { connect, sockets } = createHandSockets();
  const log = createKeptLog();
  const orders: string[] = [];
  const link = createLink({
    url: 'http://scheduler',
    hello: async () => helloOf(),
    handlers: {
      async order({ jobId }) {
        orders.push(jobId);
        return { outcome: 'accepted', code: null, message: null };
      },
      contact() {},
      report,
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
  link.open();
  const socket = sockets[0];
  if (socket === undefined) throw new Error('no socket was opened');
  socket.events.open();
  socket.say(challenge);
  await clock.advance(0);
  socket.say(welcome);
  const sent = (type: string): string[] => socket.texts.filter((text) => JSON.parse(text).type === type);
  return { link, socket, clock, log, orders, sent };
}

test('a result that a newer build wrote is told as it was written', async () => {
  const { link, sent } = await begin();
  const result = { carbonGrams: 12.5, ...resultOf('job-1'), more: { deep: [1] } };
  link.ended(result);
  expect(sent('jobResult')).toEqual([JSON.stringify({ type: 'jobResult', sequence: 1, result })]);
});

test('an order that is not understood is refused by its ids, and those beside it are carried out', async () => {
  const { socket, clock, sent, orders } = await begin();
  socket.say({ ...startOrderOf('job-1', 'order-1'), spec: { version: 1, command: ['true'], qubits: 3 } });
  socket.say(startOrderOf('job-2', 'order-2'));
  await clock.advance(0);
  expect(orders).toEqual(['job-2']);
  expect(sent('orderAck').map((text) => JSON.parse(text))).toMatchObject([
    {
      orderId: 'order-1',
      outcome: 'refused',
      code: 'JOB_ORDER_UNFIT',
      message: expect.stringContaining('spec.qubits'),
    },
    { orderId: 'order-2', outcome: 'accepted' },
  ]);
});

test('what is unknown and may be ignored is counted, and logged once', async () => {
  const { link, socket, log } = await begin();
  for (let at = 0; at < 3; at += 1) {
    socket.say({ type: 'praise', optional: true });
    socket.say({ type: 'heartbeat', mood: 'good' });
  }
  expect(link.state().connected).toBe(true);
  expect(link.figures().ignored).toBe(6);
  expect(log.lines.filter(({ message }) => message.includes('newer'))).toHaveLength(1);
});

test('a report is sent when it is asked for, without the result where both would not fit into a frame', async () => {
  const order = startOrderSchema.parse(startOrderOf('job-1'));
  const told: JobReport = {
    type: 'jobReport',
    jobId: 'job-1',
    epoch: 1,
    order,
    proof: null,
    phase: 'ended',
    startedAtMs: 1,
    result: resultOf('job-1'),
  };
  const long = { ...order, spec: { ...order.spec, command: ['\u0001'.repeat(MAX_FRAME_BYTES / 6 - 200)] } };
  const reports = new Map<string, JobReport>([
    ['job-1', told],
    ['job-2', { ...told, order: long }],
  ]);
  const { socket, sent } = await begin((jobId) => reports.get(jobId) ?? null);
  for (const jobId of ['job-1', 'job-2', 'job-3']) socket.say({ type: 'report', jobId, epoch: 1 });
  const [first = '', second = '', ...rest] = sent('jobReport');
  const { proof: _, ...sent1 } = told;
  expect(JSON.parse(first)).toEqual(sent1);
  expect(JSON.parse(second)).toMatchObject({ phase: 'ended', result: null });
  expect(Buffer.byteLength(second)).toBeLessThanOrEqual(MAX_FRAME_BYTES);
  expect(rest).toEqual([]);
});
