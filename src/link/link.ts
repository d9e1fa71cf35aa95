// The door: keeps one session with the scheduler alive and puts the two rivers through it. Numbers and facts come
// in by plain calls and are sent when there is a session; orders go out to the handlers. The link knows ids and
// bytes, not what a job or a sample is.
//
// What is lost when: a telemetry window after two minutes without a session (oldest first, counted); an answer to
// an order whose session ended (the scheduler asks again); nothing else.
import { createBackoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Window } from '../protocol/columns.ts';
import {
  type AgentMessage,
  agentMessageSchema,
  type Challenge,
  closeCode,
  type Hello,
  type Welcome,
} from '../protocol/control.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import type { JobResult } from '../protocol/result.ts';
import { createDeviceFlow } from './devices.ts';
import { createExecFlow, type ExecHandler } from './exec.ts';
import { createOrders, type Order, type OrderHandler } from './orders.ts';
import { createOutbox } from './outbox.ts';
import { createOutputFlow, type OutputStream } from './output.ts';
import { type LiveMessage, type Session, type SessionEnd, startSession } from './session.ts';
import { connectSocket, type SocketFactory } from './socket.ts';
import { createTelemetryFlow } from './telemetry.ts';

/** Waiting times of the link; tests shorten them. */
export interface LinkTiming {
  readonly minBackoffMs: number;
  readonly maxBackoffMs: number;
  /** A session must be well for this long before the back-off starts over. */
  readonly wellAfterMs: number;
  /** Mean wait after the scheduler has refused this node: retrying soon changes nothing. */
  readonly refusedWaitMs: number;
  /** Facts that are not acknowledged within this time are sent again. */
  readonly resendMs: number;
}
export const linkTiming: LinkTiming = {
  minBackoffMs: 250,
  maxBackoffMs: 30_000,
  wellAfterMs: 60_000,
  refusedWaitMs: 30_000,
  resendMs: 30_000,
};
/** However long a scheduler asks us to stay away. */
const MAX_RETRY_AFTER_MS = 600_000;
/** No facts, telemetry and output are written while more than this waits in the socket. */
const FACTS_ROOM_BYTES = 1024 * 1024;
const OUTPUT_ROOM_BYTES = 256 * 1024;
const LOG_AT_MOST_EVERY_MS = 60_000;

export interface LinkHandlers {
  /** Idempotent. A rejection is answered as a refusal with its code, or AGENT_ERROR. */
  readonly order: OrderHandler;
  /** The scheduler has this result on disk. */
  acknowledged(jobId: string, epoch: number): void;
  /** The scheduler has this much output on disk. */
  delivered(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  readOutput(
    jobId: string,
    epoch: number,
    stream: OutputStream,
    offset: number,
    limit: number,
  ): Promise<Uint8Array | null>;
  /** Runs a command beside a running job. */
  readonly exec: ExecHandler;
}

export interface LinkOptions {
  /** The scheduler's base URL, http(s): or ws(s):. */
  readonly url: string;
  /** Builds the signed hello for a challenge, but for the devices, which the link knows; rejects with a fault to refuse the scheduler. */
  readonly hello: (challenge: Challenge) => Promise<Hello>;
  readonly handlers: LinkHandlers;
  readonly clock: Clock;
  readonly log: Log;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly connect?: SocketFactory;
  readonly timing?: LinkTiming;
}

export interface LinkState {
  readonly connected: boolean;
  /** Monotonic ms since when it is (not) connected. */
  readonly sinceMs: number;
  /** Sessions that reached welcome. */
  readonly sessions: number;
  /** Why the last attempt or session ended; null while connected. */
  readonly error: string | null;
  /** The interval that the scheduler set last, or null before the first welcome. */
  readonly heartbeatMs: number | null;
}

export interface LinkFigures {
  readonly windowsSent: number;
  readonly windowsDropped: number;
  readonly windowsWaiting: number;
  readonly factsWaiting: number;
  readonly outputUnacknowledgedBytes: number;
  readonly outputJobs: number;
  readonly bytesSent: number;
  readonly connectAttempts: number;
}

export interface Link {
  /** Begins to connect, and keeps at it until `close`. */
  open(): void;
  state(): LinkState;
  figures(): LinkFigures;
  /** Resolves after the first welcome; rejects with LINK_NOT_CONNECTED after `timeoutMs` or on close. */
  connected(timeoutMs: number): Promise<void>;
  window(window: Window): void;
  /** The devices of this node as they are now; sent when they have changed, and with each hello. */
  devices(records: readonly DeviceRecord[]): void;
  started(jobId: string, epoch: number, pid: number, startedAtMs: number): void;
  ended(result: JobResult): void;
  /** A clause on what an attempt does before its program runs; lost where there is no session. */
  progress(jobId: string, epoch: number, text: string): void;
  /** The key to the scheduler's store of files, while there is a session. */
  fileTicket(): string | null;
  outputGrew(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  /** Ends the session and makes a new one at once, e.g. because the hello would be different now. */
  renew(reason: string): void;
  /** Ends the session for good. Facts that are not acknowledged stay with the job room. */
  close(): Promise<void>;
}

/** Builds the link; nothing touches the network before `open`. */
export function createLink(options: LinkOptions): Link {
  const { url, handlers, clock, log, random } = options;
  const timing = options.timing ?? linkTiming;
  const backoff = createBackoff({ minMs: timing.minBackoffMs, maxMs: timing.maxBackoffMs, random });
  const outbox = createOutbox();
  const waiters = new Set<() => void>();
  let session: Session | null = null;
  let state: LinkState = {
    connected: false,
    sinceMs: clock.monotonicMs(),
    sessions: 0,
    error: null,
    heartbeatMs: null,
  };
  let closed = false;
  let renewing = false;
  let attempts = 0;
  let bytesSent = 0;
  let fileTicket: string | null = null;
  let retry: Timer | null = null;
  let well: Timer | null = null;
  let resend: Timer | null = null;
  let complainedAtMs = Number.NEGATIVE_INFINITY;

  const output = createOutputFlow({
    read: handlers.readOutput,
    send: (frame) => send(frame),
    hasRoom: () => hasRoom(OUTPUT_ROOM_BYTES),
    clock,
    log,
  });
  const orders = createOrders(
    handlers.order,
    (reading) => {
      if (reading) session?.resume();
      else session?.pause();
    },
    log,
  );
  const execs = createExecFlow(handlers.exec, (data) => send(data));
  const telemetry = createTelemetryFlow({
    send: (data) => send(data),
    hasRoom: () => hasRoom(FACTS_ROOM_BYTES),
    clock,
    log,
  });

  const devices = createDeviceFlow({ send, hasRoom: () => hasRoom(FACTS_ROOM_BYTES), clock, log });

  function hasRoom(bytes: number): boolean {
    return session?.isLive() === true && session.bufferedBytes() < bytes;
  }

  function send(data: string | Uint8Array): void {
    if (session?.send(data))
      bytesSent += typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength;
  }

  function connect(): void {
    retry = null;
    attempts += 1;
    session = startSession({
      url,
      connect: options.connect ?? connectSocket,
      clock,
      hello: async (challenge) => {
        const hello = await options.hello(challenge);
        return { ...hello, devices: [...devices.tell()] };
      },
      live: onLive,
      message: onMessage,
      frame: execs.frame,
      drained: pump,
      ended: onEnded,
    });
  }

  function onLive(welcome: Welcome): void {
    const again = state.sessions > 0;
    fileTicket = welcome.fileTicket;
    state = {
      connected: true,
      sinceMs: clock.monotonicMs(),
      sessions: state.sessions + 1,
      error: null,
      heartbeatMs: welcome.heartbeatMs,
    };
    log.info(
      { session: welcome.sessionId },
      again ? 'connected to the scheduler again' : `connected to the scheduler at ${url}`,
    );
    well = clock.after(timing.wellAfterMs, () => backoff.reset());
    outbox.rewind();
    devices.begin();
    telemetry.begin(welcome.telemetryMs);
    output.begin(welcome.outputs);
    pump();
    for (const waiter of [...waiters]) waiter();
  }

  function onEnded(end: SessionEnd): void {
    well?.cancel();
    resend?.cancel();
    resend = null;
    output.end();
    execs.end();
    devices.end();
    telemetry.end();
    note(end);
    if (closed) return;
    retry = clock.after(waitAfter(end), connect);
    renewing = false;
  }

  /** Remembers why there is no session, and logs it when that is news. */
  function note(end: SessionEnd): void {
    const isNews = end.wasLive || end.reason !== state.error;
    state = {
      ...state,
      connected: false,
      sinceMs: end.wasLive ? clock.monotonicMs() : state.sinceMs,
      error: end.reason,
    };
    if (closed || renewing) return;
    if (end.code === closeCode.badMessage) {
      const nowMs = clock.monotonicMs();
      if (nowMs - complainedAtMs < LOG_AT_MOST_EVERY_MS) return;
      complainedAtMs = nowMs;
    } else if (!isNews) return;
    log.warn({ code: end.fault ?? end.code }, `no session with the scheduler at ${url}: ${end.reason}`);
  }

  function waitAfter(end: SessionEnd): number {
    if (renewing) return 0;
    const waitMs = backoff.next();
    const refused =
      end.code === closeCode.unauthenticated ||
      end.code === closeCode.unknownNode ||
      end.code === closeCode.version;
    if (refused) return Math.max(waitMs, timing.refusedWaitMs * (0.5 + random()));
    if (end.retryAfterMs === null) return waitMs;
    return Math.max(waitMs, Math.min(MAX_RETRY_AFTER_MS, end.retryAfterMs) * (1 + random() / 2));
  }

  function take(order: Order): void {
    const ordered = session;
    orders.take(order, (ack) => {
      // The scheduler repeats an order whose answer was lost with its session.
      if (session === ordered) send(JSON.stringify(ack));
    });
  }

  function onMessage(message: LiveMessage): void {
    switch (message.type) {
      case 'start':
      case 'stop':
        take(message);
        return;
      case 'ack':
        if (outbox.acknowledge(message.sequence)) armResend();
        pump();
        return;
      case 'outputAck':
        own('output delivered', () =>
          handlers.delivered(message.jobId, message.epoch, message.stdoutBytes, message.stderrBytes),
        );
        output.delivered(message);
        return;
      default:
        execs.message(message);
    }
  }

  /** Runs a handler of the job room whose failure must not end the session. */
  function own(what: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      log.error({}, `${what}: ${describeError(error)}`);
    }
  }

  function pump(): void {
    while (hasRoom(FACTS_ROOM_BYTES)) {
      const text = outbox.next();
      if (text === null) break;
      send(text);
      if (resend === null) armResend();
    }
    devices.pump();
    telemetry.pump();
    output.pump();
  }

  function armResend(): void {
    resend?.cancel();
    resend = null;
    if (!outbox.awaiting()) return;
    resend = clock.after(timing.resendMs, () => {
      resend = null;
      outbox.rewind();
      pump();
    });
  }

  function keep(key: string, make: (sequence: number) => AgentMessage, settled: () => void): void {
    const text = (sequence: number): string => {
      const parsed = agentMessageSchema.safeParse(make(sequence));
      if (parsed.success) return JSON.stringify(parsed.data);
      const field = parsed.error.issues[0]?.path.join('.') ?? 'message';
      throw new Fault('LINK_FACT_INVALID', `the ${key} does not fit the protocol`, { field });
    };
    // A fact that the scheduler must refuse would end every session that it is sent in.
    own('cannot report to the scheduler', () =>
      outbox.put(key, text, () => own('result acknowledged', settled)),
    );
    pump();
  }

  return {
    open() {
      if (session === null && !closed) connect();
    },
    state: () => state,
    figures: () => ({
      ...telemetry.figures(),
      factsWaiting: outbox.size(),
      outputUnacknowledgedBytes: output.unacknowledgedBytes(),
      outputJobs: output.jobs(),
      bytesSent,
      connectAttempts: attempts,
    }),
    connected(timeoutMs) {
      if (state.sessions > 0) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const timer = clock.after(timeoutMs, settle);
        function settle(): void {
          timer.cancel();
          waiters.delete(settle);
          if (state.sessions > 0) resolve();
          else reject(notConnected(url, state.error));
        }
        waiters.add(settle);
      });
    },
    window: (window) => telemetry.push(window),
    devices: (records) => devices.put(records),
    started: (jobId, epoch, pid, startedAtMs) =>
      keep(
        `start of ${jobId}.${epoch}`,
        (sequence) => ({ type: 'jobStarted', sequence, jobId, epoch, pid, startedAtMs }),
        () => {},
      ),
    ended(result) {
      const { jobId, epoch, stdoutBytes, stderrBytes } = result;
      keep(
        `result of ${jobId}.${epoch}`,
        (sequence) => ({ type: 'jobResult', sequence, result }),
        () => handlers.acknowledged(jobId, epoch),
      );
      output.ended(jobId, epoch, stdoutBytes, stderrBytes);
    },
    progress(jobId, epoch, text) {
      if (hasRoom(FACTS_ROOM_BYTES))
        send(JSON.stringify({ type: 'jobProgress', jobId, epoch, text } satisfies AgentMessage));
    },
    fileTicket: () => (state.connected ? fileTicket : null),
    outputGrew: (jobId, epoch, stdoutBytes, stderrBytes) =>
      output.grew(jobId, epoch, stdoutBytes, stderrBytes),
    renew(reason) {
      if (closed || session?.isLive() !== true) return;
      renewing = true;
      session.close(1000, reason);
    },
    async close() {
      closed = true;
      retry?.cancel();
      session?.close(1001, 'the agent stops');
      for (const waiter of [...waiters]) waiter();
      await session?.gone;
    },
  };
}

function notConnected(url: string, reason: string | null): Fault {
  return new Fault(
    'LINK_NOT_CONNECTED',
    `no session with the scheduler at ${url}: ${reason ?? 'no answer yet'}`,
    {
      remedy: 'start the scheduler there, or check the address and what lies between',
    },
  );
}
