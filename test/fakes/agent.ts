// A fake agent on a real WebSocket: enrols over HTTP, says hello with a real proof, and either carries orders out
// by a script (`run`) or leaves them to the test, which sends what it likes.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import type { EnrolAnswer } from '../../src/protocol/api.ts';
import type { Window } from '../../src/protocol/columns.ts';
import {
  type AgentMessage,
  type Challenge,
  type Credential,
  type HeldJob,
  type Hello,
  helloProofText,
  type Inventory,
  type JobReport,
  LINK_PATH,
  type SchedulerMessage,
  type StartOrder,
  SUBPROTOCOL,
} from '../../src/protocol/control.ts';
import type { DeviceRecord } from '../../src/protocol/device.ts';
import {
  createFrameEncoder,
  dictionaryOf,
  encodeOutputChunk,
  type FrameEncoder,
} from '../../src/protocol/frame.ts';
import type { JobResult } from '../../src/protocol/result.ts';
import type { Signed } from '../../src/protocol/signed.ts';

export interface FakeIdentity {
  readonly nodeId: string;
  readonly schedulerId: string;
  readonly privateKey: KeyObject;
  readonly publicKey: string;
  readonly credential: Credential;
  readonly signedCredential?: Signed;
}

/** Enrols a new node with the scheduler's join token. */
export async function enrolFake(url: string, joinTokenFile: string, name = 'node-a'): Promise<FakeIdentity> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
  const token = readFileSync(joinTokenFile, 'utf8').trim();
  const response = await fetch(`${url}/v1/enrol`, {
    method: 'POST',
    body: JSON.stringify({ version: 1, token, publicKey: key, name }),
  });
  if (response.status !== 200)
    throw new Error(`enrolment answered ${response.status}: ${await response.text()}`);
  return { ...((await response.json()) as EnrolAnswer), privateKey, publicKey: key };
}

/** What a scripted job does. */
export interface Script {
  readonly exitCode?: number;
  readonly stdout?: string;
  readonly stderr?: string;
  /** Time between started and result. */
  readonly forMs?: number;
}

export interface FakeAgentOptions {
  readonly url: string;
  readonly identity: FakeIdentity;
  readonly name?: string;
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly bootId?: string;
  readonly generation?: number;
  readonly instance?: string;
  /** Highest version of the protocol that it speaks: 1, unless said. */
  readonly version?: 1 | 2;
  /** Of its TLS connection. */
  readonly binding?: () => string;
  readonly held?: readonly (Omit<HeldJob, 'devices'> & Partial<HeldJob>)[];
  readonly devices?: readonly DeviceRecord[];
  /** Carries start orders out; without it orders are only recorded. */
  readonly run?: (order: StartOrder) => Script | null;
  /** Answers a question about a held job; without it questions are only recorded. */
  readonly report?: (jobId: string, epoch: number) => JobReport | null;
  /** Changes the hello before it is sent, to lie in it. */
  readonly alter?: (hello: Hello) => object;
}

export interface FakeAgent {
  readonly socket: WebSocket;
  readonly nodeId: string;
  /** Everything that the scheduler sent, in order. */
  readonly messages: SchedulerMessage[];
  /** Monotonic ms at which each start order came, by job. */
  readonly startedAt: Map<string, number>;
  /** Resolves with the first message (past or coming) that fits; rejects after 20 s. */
  next<T extends SchedulerMessage['type']>(
    type: T,
    fits?: (message: Extract<SchedulerMessage, { type: T }>) => boolean,
  ): Promise<Extract<SchedulerMessage, { type: T }>>;
  send(message: AgentMessage | object): void;
  output(jobId: string, epoch: number, stream: 'stdout' | 'stderr', offset: number, text: string): void;
  started(jobId: string, epoch?: number): number;
  /** Sends a result and returns it. */
  ended(jobId: string, change?: Partial<JobResult>): JobResult;
  resend(result: JobResult, sequence?: number): number;
  window(window: Window): void;
  /** Resolves with the close code. */
  readonly closed: Promise<{ code: number; reason: string }>;
  disconnect(): Promise<void>;
}

export const fakeInventory = (cpus: number, memoryBytes: number): Inventory => ({
  hostname: 'fake',
  os: 'Fake OS 1',
  kernel: '6.0',
  architecture: 'x64',
  virtualisation: null,
  cpuModel: 'Fake CPU',
  cpuSockets: 1,
  cpuCores: cpus,
  cpuThreads: cpus,
  memoryBytes,
  jobCpus: cpus,
  jobMemoryBytes: memoryBytes,
  cpuPeakFlops: {
    computed: { fp64: 64e9, fp32: 128e9, source: 'fake' },
    measured: { fp64: null, fp32: null, source: 'not measured' },
  },
  executors: ['process'],
  limitations: [],
});

export function fakeResult(nodeId: string, jobId: string, change: Partial<JobResult> = {}): JobResult {
  const state = change.state ?? ((change.exitCode ?? 0) === 0 ? 'COMPLETED' : 'FAILED');
  return {
    version: 1,
    jobId,
    epoch: 1,
    nodeId,
    state,
    endKind: 'exited',
    exitCode: 0,
    signal: null,
    stoppedBy: null,
    cause: `exited with code ${change.exitCode ?? 0}`,
    startedAtMs: 1_700_000_000_000,
    endedAtMs: 1_700_000_001_000,
    usage: {
      durationMs: 1000,
      cpuUserSeconds: 0.5,
      cpuSystemSeconds: 0.1,
      maxResidentBytes: 1_000_000,
      memoryPeakBytes: null,
      processesPeak: null,
      deviceSeconds: null,
      energyJoules: null,
      energyMethod: null,
      flop: null,
      achievedFlops: null,
      flopMethod: null,
      absent: { energyJoules: 'no power source' },
    },
    limits: { timeLimit: 'shim' },
    isolation: {},
    outOfMemory: null,
    gaps: [],
    outputs: [],
    workspace: null,
    stdoutBytes: 0,
    stderrBytes: 0,
    ...change,
  };
}

/** Connects and waits for the welcome, unless `alter` is given: then the test looks at what happens. */
export async function connectFake(options: FakeAgentOptions): Promise<FakeAgent> {
  const { identity } = options;
  const socket = new WebSocket(`${options.url.replace('http', 'ws')}${LINK_PATH}`, SUBPROTOCOL, {
    perMessageDeflate: false,
  });
  const messages: SchedulerMessage[] = [];
  const startedAt = new Map<string, number>();
  const waiting = new Set<(message: SchedulerMessage) => void>();
  let sequence = 0;
  let encoder: FrameEncoder | null = null;
  let generation = -1;
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  socket.on('error', () => {});

  socket.on('message', (data, isBinary) => {
    // Input of commands beside jobs; a test that wants it listens itself.
    if (isBinary) return;
    const message = JSON.parse((data as Buffer).toString()) as SchedulerMessage;
    messages.push(message);
    if (message.type === 'challenge') agent.send(createHello(message, options));
    if (message.type === 'report') {
      const report = options.report?.(message.jobId, message.epoch) ?? null;
      if (report !== null) agent.send(report);
    }
    if (message.type === 'start') {
      startedAt.set(`${message.jobId}`, performance.now());
      carryOut(message);
    }
    for (const one of [...waiting]) one(message);
  });

  function carryOut(order: StartOrder): void {
    const script = options.run?.(order);
    if (script === undefined || script === null) return;
    const { jobId, epoch, orderId } = order;
    agent.send({ type: 'orderAck', orderId, outcome: 'accepted', code: null, message: null });
    agent.started(jobId, epoch);
    const finish = () => {
      const stdout = Buffer.from(script.stdout ?? '');
      const stderr = Buffer.from(script.stderr ?? '');
      if (stdout.length > 0) agent.output(jobId, epoch, 'stdout', 0, script.stdout ?? '');
      if (stderr.length > 0) agent.output(jobId, epoch, 'stderr', 0, script.stderr ?? '');
      agent.ended(jobId, {
        epoch,
        exitCode: script.exitCode ?? 0,
        stdoutBytes: stdout.length,
        stderrBytes: stderr.length,
      });
    };
    if (script.forMs === undefined) finish();
    else setTimeout(finish, script.forMs);
  }

  const agent: FakeAgent = {
    socket,
    nodeId: identity.nodeId,
    messages,
    startedAt,
    closed,
    next(type, fits = () => true) {
      type Wanted = Extract<SchedulerMessage, { type: typeof type }>;
      const isWanted = (message: SchedulerMessage): message is Wanted =>
        message.type === type && fits(message as Wanted);
      const past = messages.find(isWanted);
      if (past !== undefined) return Promise.resolve(past);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no ${type} came; last: ${JSON.stringify(messages.slice(-3)).slice(0, 500)}`));
        }, 20_000);
        function look(message: SchedulerMessage): void {
          if (!isWanted(message)) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(message);
        }
        waiting.add(look);
      });
    },
    send(message) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    },
    output(jobId, epoch, stream, offset, text) {
      socket.send(encodeOutputChunk({ jobId, epoch, stream, offset, bytes: Buffer.from(text) }));
    },
    started(jobId, epoch = 1) {
      sequence += 1;
      agent.send({ type: 'jobStarted', sequence, jobId, epoch, pid: 4242, startedAtMs: 1_700_000_000_000 });
      return sequence;
    },
    ended(jobId, change = {}) {
      const result = fakeResult(identity.nodeId, jobId, change);
      agent.resend(result);
      return result;
    },
    resend(result, as) {
      sequence += 1;
      agent.send({ type: 'jobResult', sequence: as ?? sequence, result });
      return as ?? sequence;
    },
    window(window) {
      if (encoder === null || generation !== window.generation) {
        encoder ??= createFrameEncoder();
        generation = window.generation;
        agent.send(dictionaryOf(window));
      }
      socket.send(encoder.encode(window));
    },
    async disconnect() {
      socket.terminate();
      await closed;
    },
  };
  if (options.alter === undefined) await agent.next('welcome');
  return agent;
}

function createHello(challenge: Challenge, options: FakeAgentOptions): object {
  const { identity } = options;
  const facts = {
    nodeId: identity.nodeId,
    bootId: options.bootId ?? 'boot-1',
    generation: options.generation ?? 1,
    instance: options.instance ?? null,
  };
  const version = options.version ?? 1;
  const text = helloProofText(facts, challenge, version, options.binding?.() ?? '');
  const proof = sign(null, Buffer.from(text), identity.privateKey).toString('base64');
  const hello: Hello = {
    type: 'hello',
    versions: { min: 1, max: version },
    ...facts,
    name: options.name ?? 'node-a',
    agentVersion: '0.1.0',
    devices: [...(options.devices ?? [])],
    proof,
    audit: null,
    credential: identity.credential,
    signedCredential: version > 1 ? (identity.signedCredential ?? null) : null,
    inventory: fakeInventory(options.cpus ?? 2, options.memoryBytes ?? 4 * 1024 ** 3),
    jobs: (options.held ?? []).map((held) => ({ devices: [], ...held })),
  };
  return options.alter?.(hello) ?? hello;
}
