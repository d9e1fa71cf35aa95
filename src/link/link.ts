// The door: keeps one session with the scheduler alive and puts the two rivers through it. Numbers and facts come
// in by plain calls and are sent when there is a session; orders go out to the handlers. The link knows ids and
// bytes, not what a job or a sample is.
//
// What is lost when: a telemetry window after two minutes without a session (oldest first, counted); an answer to
// an order whose session ended (the scheduler asks again); nothing else.
import type { Clock, Timer } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Window } from '../protocol/columns.ts';
import {
  type AgentMessage,
  type Challenge,
  closeCode,
  type Hello,
  type JobReport,
  type Welcome,
} from '../protocol/control.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import { freshMsOf } from '../protocol/lease.ts';
import type { JobResult } from '../protocol/result.ts';
import type { Signed } from '../protocol/signed.ts';
import type { VersionRange } from '../protocol/version.ts';
import { createAdmissionFlow } from './admission.ts';
import { createDeviceFlow } from './devices.ts';
import { createExecFlow } from './exec.ts';
import { factText } from './fact.ts';
import type { LinkHandlers } from './handlers.ts';
import { type LinkFigures, type LinkState, notConnected } from './link-state.ts';
import { type UnfitOrder, unfitAck } from './message.ts';
import { createOrderGate } from './order-gate.ts';
import { createOrders, type Order } from './orders.ts';
import { createOutbox } from './outbox.ts';
import { createOutputFlow } from './output.ts';
import { reportText } from './report.ts';
import { type LiveMessage, type Session, type SessionEnd, startSession } from './session.ts';
import { connectSocket, type SocketFactory } from './socket.ts';
import { createTelemetryFlow } from './telemetry.ts';
import { createPause, type LinkTiming, linkTiming } from './timing.ts';

/** No facts, telemetry and output are written while more than this waits in the socket. */
const FACTS_ROOM_BYTES = 1024 * 1024;
const OUTPUT_ROOM_BYTES = 256 * 1024;
const LOG_AT_MOST_EVERY_MS = 60_000;

export interface LinkOptions {
  /** The scheduler's base URL, http(s): or ws(s):. */
  readonly url: string;
  /** Builds the signed hello for a challenge, but for the devices, which the link knows; rejects with a fault to refuse the scheduler. */
  readonly hello: (challenge: Challenge, binding: string) => Promise<Hello>;
  /** The scheduler has signed anew what this node is. */
  readonly credential?: (credential: Signed) => void;
  readonly handlers: LinkHandlers;
  /** The scheduler does not know this node any more; resolves to true when it does again. */
  readonly unknownNode?: () => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Log;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly connect?: SocketFactory;
  /** That are spoken; without it, all that this build knows. */
  readonly versions?: VersionRange;
  readonly timing?: LinkTiming;
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
  /** Why this node takes no orders at present, a sentence, or null; told when it has changed, and with each hello. */
  refusing(why: string | null): void;
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
  const pause = createPause(timing, random);
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
  /** Why the hello of this session says too little: it was made before the news, and its answer is waited for. */
  let stale: string | null = null;
  let attempts = 0;
  let ignored = 0;
  let bytesSent = 0;
  let fileTicket: string | null = null;
  /** Of the protocol, in this session. */
  let version = 0;
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
  const gate = createOrderGate({
    freshMs: () => freshMsOf(state.heartbeatMs ?? 0),
    ask: () => session?.ask(),
    clock,
  });
  const telemetry = createTelemetryFlow({
    send: (data) => send(data),
    hasRoom: () => hasRoom(FACTS_ROOM_BYTES),
    clock,
    log,
  });
  const admission = createAdmissionFlow(send);
  const devices = createDeviceFlow({ send, hasRoom: () => hasRoom(FACTS_ROOM_BYTES), clock, log });

  function hasRoom(bytes: number): boolean {
    return session?.isLive() === true && session.bufferedBytes() < bytes;
  }

  /** False where there is no live session. */
  function send(data: string | Uint8Array): boolean {
    if (session?.send(data) !== true) return false;
    bytesSent += typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength;
    return true;
  }

  function connect(): void {
    retry = null;
    attempts += 1;
    session = startSession({
      url,
      connect: options.connect ?? connectSocket,
      ...(options.versions === undefined ? {} : { versions: options.versions }),
      clock,
      hello: async (challenge, binding) => {
        stale = null;
        const hello = await options.hello(challenge, binding);
        return { ...hello, ...admission.tell(), devices: [...devices.tell()] };
      },
      live: onLive,
      contact(sinceMs) {
        own('leases', () => handlers.contact(sinceMs, state.heartbeatMs ?? 0));
        gate.contact(sinceMs);
      },
      ignored(what) {
        if (ignored === 0) log.info({ fields: what }, 'the scheduler is newer: what is unknown is ignored');
        ignored += what.length;
      },
      message: onMessage,
      schedulerHead: (head) => handlers.schedulerHead?.(head),
      frame: execs.frame,
      drained: pump,
      ended: onEnded,
    });
  }

  function onLive(welcome: Welcome): void {
    const again = state.sessions > 0;
    fileTicket = welcome.fileTicket;
    version = welcome.version;
    own('keys', () => handlers.keys?.(welcome.keys));
    if (welcome.credential !== null) keepCredential(welcome.credential);
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
    well = clock.after(timing.wellAfterMs, pause.well);
    outbox.rewind();
    admission.begin();
    devices.begin();
    telemetry.begin(welcome.telemetryMs);
    output.begin(welcome.outputs);
    // What is there already is never sent again, so that no acknowledgement will come for it.
    for (const { jobId, epoch, stdoutBytes, stderrBytes } of welcome.outputs)
      own('output delivered', () => handlers.delivered(jobId, epoch, stdoutBytes, stderrBytes));
    if (welcome.authorities.length > 0) own('authorities', () => handlers.authorities?.(welcome.authorities));
    pump();
    for (const waiter of [...waiters]) waiter();
    if (stale !== null) renew(stale);
  }

  function keepCredential(credential: Signed): void {
    own('credential', () => options.credential?.(credential));
  }

  function onEnded(end: SessionEnd): void {
    well?.cancel();
    resend?.cancel();
    resend = null;
    gate.end();
    output.end();
    execs.end();
    devices.end();
    telemetry.end();
    note(end);
    if (closed) return;
    retry = clock.after(renewing ? 0 : pause.after(end), connect);
    renewing = false;
    if (end.code === closeCode.unknownNode) rejoin();
  }

  function rejoin(): void {
    const waiting = retry;
    options.unknownNode?.().then(
      (isKnown) => {
        if (!isKnown || closed || retry !== waiting) return;
        waiting?.cancel();
        connect();
      },
      (error: unknown) => log.warn({}, `this node cannot be enrolled again: ${describeError(error)}`),
    );
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

  function take(order: Order): void {
    const ordered = session;
    gate.pass(order, () =>
      orders.take(order, (ack) => {
        // The scheduler repeats an order whose answer was lost with its session.
        if (session === ordered) send(JSON.stringify(ack));
      }),
    );
  }

  function refuse(order: UnfitOrder): void {
    const { jobId, epoch, field } = order;
    log.warn({ jobId, epoch, field }, 'an order was refused: it is not understood');
    send(JSON.stringify(unfitAck(order)));
  }

  /** Answers at once where the job room lives in this process. */
  function report(jobId: string, epoch: number): void {
    const asked = session;
    const tell = (told: JobReport | null): void => {
      if (told === null || session !== asked) return;
      send(reportText(told, version));
    };
    const told = handlers.report(jobId, epoch);
    if (!(told instanceof Promise)) tell(told);
    else told.then(tell).catch((error: unknown) => log.error({}, `report of a job: ${describeError(error)}`));
  }

  function onMessage(message: LiveMessage): void {
    switch (message.type) {
      case 'start':
      case 'stop':
      case 'signedStart':
      case 'signedStop':
        take(message);
        return;
      case 'unfit':
        refuse(message);
        return;
      case 'credential':
        keepCredential(message.credential);
        return;
      case 'report':
        own('report of a job', () => report(message.jobId, message.epoch));
        return;
      case 'keys':
        own('keys', () => handlers.keys?.(message.statements));
        return;
      case 'authorities':
        own('authorities', () => handlers.authorities?.(message.authorities));
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

  function renew(reason: string): void {
    stale = reason;
    if (closed || session?.isLive() !== true) return;
    renewing = true;
    session.close(1000, reason);
  }

  function keep(key: string, make: (sequence: number) => AgentMessage, settled: () => void): void {
    const text = (sequence: number): string => factText(key, make(sequence));
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
      ignored,
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
    refusing: admission.put,
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
    renew,
    async close() {
      closed = true;
      retry?.cancel();
      session?.close(1001, 'the agent stops');
      for (const waiter of [...waiters]) waiter();
      await session?.gone;
    },
  };
}
