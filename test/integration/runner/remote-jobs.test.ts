// The agent's end against a runner that comes, goes and breaks off in the middle of an order.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { type Channel, createChannel } from '../../../src/runner/channel.ts';
import { parseAgentMessage } from '../../../src/runner/message.ts';
import type { AgentToRunner, RunnerToAgent } from '../../../src/runner/protocol.ts';
import { openRemoteJobs, type RemoteJobRoom } from '../../../src/runner/remote-jobs.ts';
import { createFastClock } from '../../fakes/fast-clock.ts';
import { startOrder, stopOrder } from '../../unit/job/samples.ts';

let folder: string;
let path: string;
let server: Server | null = null;
let room: RemoteJobRoom;
let said: AgentToRunner[];
let told: string[];
let channels: Channel[];
/** What the runner does with a message. */
let answer: (message: AgentToRunner, channel: Channel) => void;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-remote-'));
  path = join(folder, 'runner.sock');
  said = [];
  told = [];
  channels = [];
  answer = () => {};
});
afterEach(async () => {
  await room.close();
  await away();
  rmSync(folder, { recursive: true, force: true });
});

const say = (channel: Channel, message: RunnerToAgent): void => channel.send(message);

function serve(socket: Socket): void {
  const channel = createChannel(socket, {
    incoming(incoming) {
      if (incoming.kind !== 'message') return;
      const message = parseAgentMessage(incoming.text);
      said.push(message);
      if (message.type === 'hello') {
        const offered = {
          executors: ['process'],
          problems: [],
          limitations: [],
          dataClasses: [],
          safeMode: null,
        };
        const who = { version: 1, nodeId: 'node-1', schedulerId: 'scheduler-1', bootId: 'boot' };
        say(channel, { type: 'welcome', ...who, ...offered });
        say(channel, {
          type: 'jobs',
          held: [{ jobId: 'job-old', epoch: 1, phase: 'running', devices: ['GPU-1'] }],
        });
        say(channel, { type: 'told' });
      }
      answer(message, channel);
    },
    ended() {},
  });
  channels.push(channel);
}

async function here(): Promise<void> {
  const own = createServer(serve);
  server = own;
  await new Promise<void>((resolve) => own.listen(path, resolve));
}

async function away(): Promise<void> {
  for (const channel of channels.splice(0)) channel.close('the runner ends');
  const own = server;
  server = null;
  if (own !== null) await new Promise<void>((resolve) => own.close(() => resolve()));
}

function open(factor = 1): RemoteJobRoom {
  const clock = factor === 1 ? createClock() : createFastClock(factor);
  room = openRemoteJobs(
    { connect: () => connect(path), path, clock, log: createSilentLog(), random: () => 0.5 },
    {
      nodeId: 'node-1',
      bootId: 'boot',
      credential: () => null,
      energy: () => ({ joules: 5 }),
      devices: () => ({ vendors: [], devices: [] }),
      files() {},
      events: {
        granted: (jobId) => told.push(`granted ${jobId}`),
        changed: (why) => told.push(why),
        unfit() {},
        started: (jobId) => told.push(`started ${jobId}`),
        progress() {},
        outputGrew() {},
        ended() {},
      },
    },
  );
  return room;
}

async function until(what: string, is: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!is()) {
    if (performance.now() > end) throw new Error(`waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const orders = (): AgentToRunner[] => said.filter(({ type }) => type === 'order');

test('an order whose connection broke is neither answered nor lost: it is sent again, and answered once', async () => {
  await here();
  const jobs = open();
  await jobs.settled();
  answer = (message) => {
    if (message.type === 'order') void away();
  };
  const answers: unknown[] = [];
  const ordered = jobs.order(startOrder('job-new')).then((given) => answers.push(given));
  await until('the break', () => server === null);
  // Whoever asks now what this node holds must hear of it.
  expect(jobs.held().map(({ jobId }) => jobId)).toEqual(['job-old', 'job-new']);
  expect(answers).toEqual([]);
  answer = (message, channel) => {
    if (message.type === 'order')
      say(channel, {
        type: 'answer',
        request: message.request,
        outcome: 'duplicate',
        code: null,
        message: null,
      });
  };
  await here();
  await ordered;
  expect(answers).toEqual([{ outcome: 'duplicate', code: null, message: null }]);
  expect(orders()).toHaveLength(2);
  expect(orders()[0]).toEqual(orders()[1]);
  expect(told).toContain('the job runner is back');
});

test('while the runner is away for long, orders that never reached it are refused with the reason, and nothing is offered', async () => {
  await here();
  const jobs = open(50);
  await jobs.settled();
  expect(jobs.offered().executors).toEqual(['process']);
  await away();
  await expect(jobs.readOutput('job-old', 1, 'stdout', 0, 1)).rejects.toMatchObject({ code: 'RUNNER_AWAY' });
  const given = await jobs.order(startOrder('job-new'));
  expect(given).toMatchObject({ outcome: 'refused', code: 'RUNNER_AWAY' });
  expect(given.message).toContain(path);
  expect(await jobs.order(stopOrder('job-old'))).toMatchObject({ code: 'RUNNER_AWAY' });
  expect(jobs.offered()).toMatchObject({ executors: [], problems: [expect.stringContaining('job runner')] });
  // What runs is known all the same.
  expect(jobs.held()).toEqual([{ jobId: 'job-old', epoch: 1, phase: 'running', devices: ['GPU-1'] }]);
  expect([...jobs.heldDevices()]).toEqual(['GPU-1']);
});

test('before the runner has said what it holds, nobody is told', async () => {
  const jobs = open(50);
  await expect(jobs.settled()).rejects.toMatchObject({ code: 'RUNNER_AWAY' });
  await here();
  await jobs.settled();
  expect(jobs.runningCount()).toBe(1);
});

test('a round trip with the scheduler that does not reach the runner is not made up for', async () => {
  const jobs = open();
  jobs.contact(0, 1000);
  await here();
  await jobs.settled();
  expect(said.filter(({ type }) => type === 'contact')).toEqual([]);
  jobs.contact(0, 1000);
  await until('a contact', () => said.some(({ type }) => type === 'contact'));
});

test('a runner of another node is none of ours', async () => {
  await here();
  answer = (message, channel) => {
    if (message.type === 'hello')
      say(channel, {
        ...{ type: 'welcome', version: 1, nodeId: 'node-2', schedulerId: 'scheduler-1', bootId: 'boot' },
        ...{ executors: ['process'], problems: [], limitations: [], dataClasses: [], safeMode: null },
      });
  };
  open();
  await until('the end of the connection', () => channels[0]?.isOpen() === false);
});

test('that the runner takes no orders is known from its answers to pings, and from after one that it refused', async () => {
  let refusing: string | null = 'no durable space: the disk is full';
  const pong = (channel: Channel): void => say(channel, { type: 'pong', audit: null, refusing });
  answer = (message, channel) => {
    if (message.type === 'ping') pong(channel);
    if (message.type !== 'order') return;
    const refused = {
      outcome: 'refused',
      code: 'JOB_NO_DURABLE_SPACE',
      message: 'no durable space',
    } as const;
    say(channel, { type: 'answer', request: message.request, ...refused });
    pong(channel);
  };
  await here();
  const jobs = open();
  await until('what it says', () => jobs.problem() === refusing);
  // What it offers is what it will take again.
  expect(jobs.offered().executors).toEqual(['process']);
  refusing = null;
  await jobs.order(startOrder('job-new'));
  await until('that it takes orders', () => jobs.problem() === null);
});
