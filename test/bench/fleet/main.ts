// Many agents in one process, as far as a scheduler can tell: the real link and the real dialler of each, with a key and
// an enrolment of its own, no jobs, and a window a second. Told what to do, and asked how it stands, over IPC; started
// by fleet.mjs.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { request as requestTls, Agent as TlsAgent } from 'node:https';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createDialer } from '../../../src/dial/dialer.ts';
import { createLink, type Link } from '../../../src/link/link.ts';
import { createSocketFactory, type SocketFactory } from '../../../src/link/socket.ts';
import type { EnrolAnswer } from '../../../src/protocol/api.ts';
import { type Column, windowStatistics } from '../../../src/protocol/columns.ts';
import { type Challenge, type Hello, helloProofText, type Inventory } from '../../../src/protocol/control.ts';
import { chooseVersion, ownVersions } from '../../../src/protocol/version.ts';

interface Start {
  readonly type: 'start';
  readonly url: string;
  readonly token: string;
  readonly caFile: string | null;
  readonly count: number;
  /** Of the names of nodes. */
  readonly prefix: string;
  /** Spreads the first connections. */
  readonly rampMs: number;
  /** 0: no telemetry. */
  readonly windowMs: number;
}
type Ask = Start | { readonly type: 'mark' | 'ask' | 'stop' };

/** How the fleet of this process stands. */
export interface FleetState {
  readonly connected: number;
  /** Since the mark. */
  readonly sessions: number;
  readonly attempts: number;
  /** Ms after the mark at which each link that has come back did so last, ascending. */
  readonly backMs: readonly number[];
  /** When attempts were made, ms after the mark. */
  readonly attemptMs: readonly number[];
  /** Why sessions ended or did not come about, since the mark. */
  readonly errors: Readonly<Record<string, number>>;
  readonly enrolMs: number;
}

const ENROL_AT_ONCE = 16;
const clock = createClock();
const log = createSilentLog();
const links: Link[] = [];
const back = new Map<number, number>();
let attemptMs: number[] = [];
let errors: Record<string, number> = {};
let sessions = 0;
let markMs = Date.now();
let enrolMs = 0;

process.on('message', (ask: Ask) => {
  if (ask.type === 'start') void start(ask);
  if (ask.type === 'mark') mark();
  if (ask.type === 'ask') tell();
  if (ask.type === 'stop') process.exit(0);
});
process.on('disconnect', () => process.exit(0));

function mark(): void {
  markMs = Date.now();
  back.clear();
  attemptMs = [];
  errors = {};
  sessions = 0;
}

function tell(): void {
  const state: FleetState = {
    connected: links.filter((link) => link.state().connected).length,
    sessions,
    attempts: attemptMs.length,
    backMs: [...back.values()].sort((a, b) => a - b),
    attemptMs,
    errors,
    enrolMs,
  };
  process.send?.({ type: 'state', state });
}

async function start(options: Start): Promise<void> {
  const { url, token, caFile, count, prefix, rampMs } = options;
  const authorities = caFile === null ? null : [readFileSync(caFile, 'utf8')];
  const dialer = createDialer({ authorities: () => authorities, clock, log });
  const isTls = url.startsWith('https:');
  const pool = new (isTls ? TlsAgent : Agent)({ keepAlive: true, maxSockets: ENROL_AT_ONCE });
  const enrol = (publicKey: string, name: string): Promise<EnrolAnswer> =>
    new Promise((resolve, reject) => {
      const asked = (isTls ? requestTls : request)(`${url}/v1/enrol`, {
        method: 'POST',
        ...dialer.options(url),
        agent: pool,
      });
      asked.on('error', reject);
      asked.on('response', (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on('end', () =>
          response.statusCode === 200 ? resolve(JSON.parse(text) as EnrolAnswer) : reject(new Error(text)),
        );
      });
      asked.end(JSON.stringify({ version: 1, token, publicKey, name }));
    });

  const connect = createSocketFactory(dialer);
  const beganMs = Date.now();
  let next = 0;
  const workers = Array.from({ length: ENROL_AT_ONCE }, async () => {
    while (next < count) {
      const index = next;
      next += 1;
      const { privateKey, publicKey } = generateKeyPairSync('ed25519');
      const name = `${prefix}-${index}`;
      const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
      const answer = await enrol(key, name);
      links[index] = openAgent(index, name, answer, privateKey, url, counted(connect));
    }
  });
  await Promise.all(workers);
  pool.destroy();
  enrolMs = Date.now() - beganMs;
  for (const link of links) setTimeout(() => link.open(), Math.random() * rampMs);
  if (options.windowMs > 0) sendWindows(options.windowMs);
  process.send?.({ type: 'enrolled' });
}

/** Counts attempts, and why they end. */
function counted(connect: SocketFactory): SocketFactory {
  return (url, events) => {
    attemptMs.push(Date.now() - markMs);
    let told = false;
    const count = (reason: string): void => {
      if (told) return;
      told = true;
      const short = reason.replace(/\d+\.\d+\.\d+\.\d+:\d+/g, 'HOST').slice(0, 80);
      errors[short] = (errors[short] ?? 0) + 1;
    };
    return connect(url, {
      ...events,
      failed(error, retryAfter) {
        count(`${error.message}${retryAfter === null ? '' : `, retry after ${retryAfter} s`}`);
        events.failed(error, retryAfter);
      },
      closed(code, reason) {
        count(`closed ${code} ${reason}`);
        events.closed(code, reason);
      },
    });
  };
}

function openAgent(
  index: number,
  name: string,
  { nodeId, schedulerId, ...rest }: EnrolAnswer,
  key: KeyObject,
  url: string,
  connect: SocketFactory,
): Link {
  const facts = {
    nodeId,
    bootId: `boot-${process.pid}`,
    generation: 1,
    instance: `instance-${process.pid}${index}`,
  };
  const hello = async (challenge: Challenge, binding: string): Promise<Hello> => {
    const version = chooseVersion(ownVersions, challenge.versions) ?? 1;
    const text = helloProofText(facts, { ...challenge, schedulerId }, version, binding);
    return {
      type: 'hello',
      versions: ownVersions,
      ...facts,
      name,
      agentVersion: '0.1.0',
      proof: sign(null, Buffer.from(text), key).toString('base64'),
      ...rest,
      inventory: { ...inventory, hostname: name },
      devices: [],
      audit: null,
      jobs: [],
    };
  };
  return createLink({
    url,
    hello,
    handlers: {
      order: async () => ({ outcome: 'refused', code: 'JOB_NONE', message: 'no jobs here' }),
      contact: () => note(index),
      report: () => null,
      acknowledged() {},
      delivered() {},
      readOutput: async () => null,
      exec: () => {
        throw new Error('no jobs here');
      },
    },
    clock,
    log,
    random: Math.random,
    connect,
  });
}

/** The first round trip of a session says that the link is back. */
function note(index: number): void {
  const count = links[index]?.state().sessions ?? 0;
  if (seen.get(index) === count) return;
  seen.set(index, count);
  sessions += 1;
  back.set(index, Date.now() - markMs);
}
const seen = new Map<number, number>();

/** All send the same columns with numbers of their own; spread over the period, as real ones are. */
function sendWindows(windowMs: number): void {
  const columns: readonly Column[] = [
    { family: 'cpu.busyRatio', owner: 'host', label: null },
    { family: 'memory.usedBytes', owner: 'host', label: null },
  ] as readonly Column[];
  let sequence = 0;
  const slots = 50;
  let slot = 0;
  setInterval(() => {
    if (slot === 0) sequence += 1;
    for (let index = slot; index < links.length; index += slots) {
      const values = new Float64Array(columns.length * windowStatistics).fill(Math.random());
      links[index]?.window({
        generation: 1,
        columns,
        sequence,
        endMs: Date.now(),
        durationMs: windowMs,
        ticks: 10,
        values,
        reasons: new Uint8Array(columns.length),
      });
    }
    slot = (slot + 1) % slots;
  }, windowMs / slots);
}

const inventory: Inventory = {
  hostname: 'fleet',
  os: 'Fleet OS 1',
  kernel: '6.0',
  architecture: 'x64',
  virtualisation: null,
  cpuModel: 'Fleet CPU',
  cpuSockets: 1,
  cpuCores: 8,
  cpuThreads: 16,
  memoryBytes: 2 ** 35,
  jobCpus: 8,
  jobMemoryBytes: 2 ** 34,
  cpuPeakFlops: {
    computed: { fp64: 64e9, fp32: 128e9, source: 'fleet' },
    measured: { fp64: null, fp32: null, source: 'not measured' },
  },
  executors: ['process'],
  limitations: [],
};
