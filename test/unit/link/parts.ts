// What the unit tests of the link are made of: a clock that moves when told, a socket that goes nowhere, windows
// and results.
import type { Clock } from '../../../src/base/clock.ts';
import type { Log } from '../../../src/base/log.ts';
import type { ExecHandler } from '../../../src/link/exec.ts';
import type { SocketEvents, SocketFactory } from '../../../src/link/socket.ts';
import type { Column, Window } from '../../../src/protocol/columns.ts';
import type { Hello, Inventory } from '../../../src/protocol/control.ts';
import type { JobResult } from '../../../src/protocol/result.ts';

export interface HandClock extends Clock {
  /** Moves time on, firing what becomes due in order, and lets promises settle between. */
  advance(ms: number): Promise<void>;
  pending(): number;
}

export function createHandClock(): HandClock {
  let nowMs = 1000;
  let order = 0;
  const timers = new Map<number, { atMs: number; fn: () => void }>();
  const flush = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    wallMs: () => nowMs + 1.7e12,
    monotonicMs: () => nowMs,
    after(delayMs, fn) {
      order += 1;
      const id = order;
      timers.set(id, { atMs: nowMs + delayMs, fn });
      return { cancel: () => timers.delete(id) };
    },
    async advance(ms) {
      const endMs = nowMs + ms;
      await flush();
      for (;;) {
        const due = [...timers]
          .filter(([, timer]) => timer.atMs <= endMs)
          .sort((a, b) => a[1].atMs - b[1].atMs)[0];
        if (due === undefined) break;
        timers.delete(due[0]);
        nowMs = Math.max(nowMs, due[1].atMs);
        due[1].fn();
        await flush();
      }
      nowMs = endMs;
      await flush();
    },
    pending: () => timers.size,
  };
}

export interface HandSocket {
  readonly url: string;
  readonly events: SocketEvents;
  readonly texts: string[];
  readonly frames: Uint8Array[];
  /** Set by the test: bytes that the peer has not taken. */
  buffered: number;
  paused: boolean;
  closedWith: { code: number; reason: string } | null;
  terminated: boolean;
  /** The peer says this. */
  say(message: object | string): void;
}

/** A socket factory whose sockets are driven by the test. */
export function createHandSockets(): { connect: SocketFactory; sockets: HandSocket[] } {
  const sockets: HandSocket[] = [];
  return {
    sockets,
    connect(url, events) {
      const socket: HandSocket = {
        url,
        events,
        texts: [],
        frames: [],
        buffered: 0,
        paused: false,
        closedWith: null,
        terminated: false,
        say: (message) =>
          events.text(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message))),
      };
      sockets.push(socket);
      return {
        send(data) {
          if (typeof data === 'string') socket.texts.push(data);
          else socket.frames.push(data);
        },
        bufferedBytes: () => socket.buffered,
        pause() {
          socket.paused = true;
        },
        resume() {
          socket.paused = false;
        },
        close(code, reason) {
          socket.closedWith = { code, reason };
        },
        binding: () => '',
        terminate() {
          if (socket.terminated) return;
          socket.terminated = true;
          setImmediate(() => events.closed(1006, ''));
        },
      };
    },
  };
}

export interface KeptLog extends Log {
  readonly lines: { level: string; fields: object; message: string }[];
}

export function createKeptLog(): KeptLog {
  const lines: KeptLog['lines'] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, fields, message });
  const log: KeptLog = {
    lines,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  };
  return log;
}

export const challenge = {
  type: 'challenge',
  schedulerId: 'scheduler-1',
  versions: { min: 1, max: 1 },
  nonce: 'bm9uY2Ugbm9uY2Ugbm9uY2Ugbm9uY2U=',
} as const;

export const welcome = {
  type: 'welcome',
  version: 1,
  sessionId: 'session-1',
  heartbeatMs: 1000,
  telemetryMs: 1000,
  outputs: [] as object[],
} as const;

const inventory: Inventory = {
  hostname: 'host',
  os: null,
  kernel: null,
  architecture: 'x64',
  virtualisation: null,
  cpuModel: null,
  cpuSockets: null,
  cpuCores: null,
  cpuThreads: 2,
  memoryBytes: 1,
  jobCpus: 2,
  jobMemoryBytes: 1,
  cpuPeakFlops: {
    computed: { fp64: null, fp32: null, source: 'none' },
    measured: { fp64: null, fp32: null, source: 'none' },
  },
  executors: ['process'],
  limitations: [],
};

export function helloOf(jobs: Hello['jobs'] = []): Hello {
  return {
    type: 'hello',
    versions: { min: 1, max: 1 },
    nodeId: 'node-1',
    name: 'host',
    agentVersion: '0.1.0',
    devices: [],
    bootId: 'boot',
    generation: 1,
    instance: null,
    proof: 'proof',
    credential: null,
    audit: null,
    signedCredential: null,
    inventory,
    jobs,
  };
}

const columns: readonly Column[] = [
  { family: 'cpu.busyRatio', owner: 'host', label: null },
  { family: 'memory.usedBytes', owner: 'host', label: null },
];

export function windowOf(sequence: number, generation = 1, list: readonly Column[] = columns): Window {
  const values = new Float64Array(list.length * 4).fill(0.25);
  values[7] = sequence * 1024;
  return {
    generation,
    columns: list,
    sequence,
    endMs: 1.7e12 + sequence * 1000,
    durationMs: 1000,
    ticks: 10,
    values,
    reasons: new Uint8Array(list.length),
  };
}

export function resultOf(jobId: string, epoch = 1, stdoutBytes = 0): JobResult {
  return {
    version: 1,
    jobId,
    epoch,
    nodeId: 'node-1',
    state: 'COMPLETED',
    endKind: 'exited',
    exitCode: 0,
    signal: null,
    stoppedBy: null,
    cause: 'exited with code 0',
    startedAtMs: 1,
    endedAtMs: 2,
    usage: {
      durationMs: 1,
      cpuUserSeconds: null,
      cpuSystemSeconds: null,
      maxResidentBytes: null,
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
    limits: {},
    isolation: {},
    outOfMemory: null,
    gaps: [],
    outputs: [],
    workspace: null,
    stdoutBytes,
    stderrBytes: 0,
  };
}

export function startOrderOf(jobId: string, orderId = 'order-1'): object {
  return {
    type: 'start',
    orderId,
    jobId,
    epoch: 1,
    spec: { version: 1, command: ['true'] },
  };
}

/** Runs no commands beside jobs. */
export const noExec: ExecHandler = (_order, events) => {
  queueMicrotask(() =>
    events.ended({ exitCode: null, signal: null, code: 'EXEC_UNSUPPORTED', message: 'not here' }),
  );
  return { input() {}, resize() {}, signal() {}, outputTaken() {}, close() {} };
};
