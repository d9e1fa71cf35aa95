// The job room of a runner in another process, as the agent's own: the same interface over the runner's socket.
//
// INVARIANTS
// - Only the runner refuses an order that has reached it. One on its way when the connection breaks is neither answered
//   nor forgotten: it is sent again to the next connection, and the runner knows whether it has it.
// - What is held is what the runner said last, with orders on their way; before it has ever said so nobody may be told
//   what runs here (`settled` waits, and rejects).
// - A round trip with the scheduler that does not reach the runner prolongs no lease.
import type { Socket } from 'node:net';
import { type Backoff, createBackoff } from '../base/backoff.ts';
import { type Clock, every, type Timer } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { OrderAnswer } from '../job/job.ts';
import type { OrderMessage } from '../job/order-check.ts';
import type { AuditHead } from '../protocol/audit.ts';
import type { JobReport } from '../protocol/control.ts';
import { decodeExecFrame } from '../protocol/exec.ts';
import type { Signed } from '../protocol/signed.ts';
import { type Channel, createChannel } from './channel.ts';
import type { Incoming } from './framing.ts';
import { createHeldMirror } from './held-mirror.ts';
import type { JobRoom, JobRoomParts, Offered } from './job-room.ts';
import { parseRunnerMessage } from './message.ts';
import {
  type AgentToRunner,
  hostMonotonicMs,
  MAX_RUNNER_READ_BYTES,
  RUNNER_PING_MS,
  RUNNER_PROTOCOL,
  RUNNER_SILENT_MS,
  type RunnerToAgent,
} from './protocol.ts';
import { createRemoteExecs } from './remote-execs.ts';

const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 2000;
/** A runner that is restarted is back within this time: orders wait for it, and nobody is told. */
export const RUNNER_GRACE_MS = 5000;
/** How long the first hello to the scheduler waits for the runner. */
const SETTLE_MS = 2500;

/** What the agent gives to a job room that may be elsewhere. */
export interface RemoteParts
  extends Omit<
    JobRoomParts,
    'devices' | 'access' | 'safeMode' | 'capacity' | 'schedulerId' | 'trustsFirst' | 'keepCredential'
  > {
  /** What the runner must know of this host's devices, now. */
  readonly devices: () => Pick<Extract<AgentToRunner, { type: 'devices' }>, 'vendors' | 'devices'>;
  /** A connection over which the runner asks for files, as HTTP. */
  readonly files: (socket: Socket) => void;
}

export interface RemoteOptions {
  /** Connects to the runner's socket. */
  readonly connect: () => Socket;
  /** The socket's path, for sentences. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

export interface RemoteJobRoom extends JobRoom {
  /** The devices of this host are others now. */
  devicesChanged(): void;
}

interface Pending {
  readonly order: OrderMessage;
  readonly answer: (answer: OrderAnswer) => void;
  /** It may have reached the runner. */
  wasSent: boolean;
}

export function openRemoteJobs(options: RemoteOptions, parts: RemoteParts): RemoteJobRoom {
  const { clock, log } = options;
  /** What the scheduler told last of the keys that it signs with: a runner that was away is told again. */
  let keys: readonly Signed[] = [];
  const { events } = parts;
  const mirror = createHeldMirror();
  const pending = new Map<number, Pending>();
  const reports = new Map<number, (report: JobReport | null) => void>();
  const reads = new Map<number, { give(bytes: Uint8Array | null): void; fail(error: Fault): void }>();
  const settling = new Set<() => void>();
  const backoff: Backoff = createBackoff({
    minMs: RETRY_MIN_MS,
    maxMs: RETRY_MAX_MS,
    random: options.random,
  });

  let audit: AuditHead | null = null;
  /** Why the runner takes no orders, as it said last. */
  let refusing: string | null = null;
  let offered: Omit<Offered, 'audit'> & { readonly safeMode: string | null } = {
    executors: [],
    problems: [],
    limitations: [],
    dataClasses: [],
    safeMode: null,
  };
  let channel: Channel | null = null;
  let isReady = false;
  let isKnown = false;
  let isClosed = false;
  let retry: Timer | null = null;
  let grace: Timer | null = null;
  /** For longer than a restart takes. */
  let isAway = false;
  let awayWhy = 'it has not been reached yet';
  let lastRequest = 0;
  let toldDevices = '';

  const say = (message: AgentToRunner): void => channel?.send(message);
  const execs = createRemoteExecs(() => (isReady ? channel : null));
  const nextRequest = (): number => {
    lastRequest = (lastRequest + 1) % 0xffff_ffff;
    return lastRequest;
  };
  const away = (): Fault =>
    new Fault('RUNNER_AWAY', `the job runner of this node does not answer at ${options.path}: ${awayWhy}`, {
      remedy: /EACCES|EPERM/.test(awayWhy)
        ? 'see --runner-user of the runner, and put the socket where this user may enter (--runner)'
        : 'look at its log (journalctl -u flopd-runner), and start it again',
    });

  function connect(): void {
    retry = null;
    if (isClosed) return;
    const socket = options.connect();
    let heardMs = clock.monotonicMs();
    const ping = every(clock, RUNNER_PING_MS, () => {
      if (clock.monotonicMs() - heardMs > RUNNER_SILENT_MS) own.close('nothing came from it');
      else own.send({ type: 'ping' } satisfies AgentToRunner);
    });
    const own = createChannel(socket, {
      incoming(incoming) {
        heardMs = clock.monotonicMs();
        receive(incoming);
      },
      ended(why) {
        ping.cancel();
        lost(why);
      },
    });
    channel = own;
    isReady = false;
    mirror.begin();
    own.send({ type: 'hello', version: RUNNER_PROTOCOL } satisfies AgentToRunner);
  }

  function lost(why: string): void {
    const wasReady = isReady;
    channel = null;
    isReady = false;
    awayWhy = why;
    for (const { fail } of reads.values()) fail(away());
    reads.clear();
    for (const give of reports.values()) give(null);
    reports.clear();
    execs.lost(away());
    if (isClosed) return;
    if (wasReady) log.warn({}, `the job runner is away: ${why}; running jobs go on`);
    grace ??= clock.after(RUNNER_GRACE_MS, () => {
      isAway = true;
      for (const [request, { wasSent, answer }] of pending) {
        if (wasSent) continue;
        pending.delete(request);
        answer(refusal());
      }
      events.changed('the job runner is away');
    });
    retry = clock.after(backoff.next(), connect);
  }

  const careful = (): string | null => (isAway ? away().message : offered.safeMode);

  function refusal(): OrderAnswer {
    const { code, message } = away();
    return { outcome: 'refused', code, message };
  }

  /** The runner has told all that it holds. */
  function ready(): void {
    const wasAway = isKnown;
    mirror.complete();
    isReady = true;
    isKnown = true;
    toldDevices = '';
    isAway = false;
    grace?.cancel();
    grace = null;
    backoff.reset();
    log.info({ jobs: mirror.list().length }, 'the job runner is here');
    if (keys.length > 0) say({ type: 'keys', statements: [...keys] });
    tellCredential();
    devicesChanged();
    say({ type: 'ping' });
    for (const [request, each] of pending) transmit(request, each);
    for (const done of settling) done();
    // What was said of its jobs may not hold any more.
    if (wasAway) events.changed('the job runner is back');
  }

  /** It may have been away when that changed. */
  function tellCredential(): void {
    const credential = parts.credential();
    if (credential !== null) say({ type: 'credential', credential });
  }

  function devicesChanged(): void {
    if (!isReady) return;
    const devices = parts.devices();
    const text = JSON.stringify(devices);
    if (text !== toldDevices) say({ type: 'devices', ...devices });
    toldDevices = text;
  }

  function transmit(request: number, each: Pending): void {
    if (!isReady || channel === null) return;
    each.wasSent = true;
    say({ type: 'order', request, order: each.order });
  }

  function receive(incoming: Incoming): void {
    if (incoming.kind === 'message') {
      handle(parseRunnerMessage(incoming.text));
      return;
    }
    if (incoming.kind === 'exec') {
      execs.frame(decodeExecFrame(incoming.frame));
      return;
    }
    reads.get(incoming.request)?.give(incoming.bytes === null ? null : Uint8Array.from(incoming.bytes));
    reads.delete(incoming.request);
  }

  function handle(message: RunnerToAgent): void {
    mirror.hear(message);
    switch (message.type) {
      case 'welcome':
        if (message.nodeId !== parts.nodeId)
          throw new Fault(
            'RUNNER_OTHER_NODE',
            `the runner works for ${message.nodeId}, this agent is ${parts.nodeId}: run "flopd join" for both again`,
          );
        offered = message;
        return;
      case 'refused':
        throw new Fault(message.code, message.message);
      case 'offered':
        offered = message;
        events.changed(message.why);
        return;
      case 'jobs':
        return;
      case 'told':
        ready();
        return;
      case 'answer': {
        const { request, outcome, code, message: words } = message;
        const each = pending.get(request);
        pending.delete(request);
        each?.answer({ outcome, code, message: words });
        return;
      }
      case 'reported':
        reports.get(message.request)?.(message.report);
        reports.delete(message.request);
        return;
      case 'granted':
        events.granted(message.jobId, message.epoch, message.cpus, message.devices);
        return;
      case 'jobStarted':
        events.started(message.jobId, message.epoch, message.pid, message.startedAtMs);
        return;
      case 'progress':
        events.progress(message.jobId, message.epoch, message.text);
        return;
      case 'grew':
        events.outputGrew(message.jobId, message.epoch, message.stdoutBytes, message.stderrBytes);
        return;
      case 'settled':
        events.settled?.(message);
        return;
      case 'ended':
        events.ended(message.result);
        return;
      case 'energyAsked': {
        const { request, jobId, epoch } = message;
        Promise.resolve(parts.energy(jobId, epoch)).then(
          (answer) => say({ type: 'energy', request, answer }),
          (error: unknown) => log.warn({ jobId }, `the energy of a job: ${describeError(error)}`),
        );
        return;
      }
      case 'unfit':
        events.unfit(message.ids, message.finding);
        return;
      case 'filesAsked': {
        const socket = options.connect();
        const carrier = createChannel(socket, { incoming() {}, ended() {} });
        carrier.send({ type: 'files', ticket: message.ticket } satisfies AgentToRunner);
        parts.files(carrier.detach());
        return;
      }
      case 'pong':
        audit = message.audit;
        refusing = message.refusing;
        return;
      default:
        execs.message(message);
    }
  }

  connect();

  return {
    order(order) {
      if (isAway) return Promise.resolve(refusal());
      return new Promise((answer) => {
        const request = nextRequest();
        const each: Pending = { order, answer, wasSent: false };
        pending.set(request, each);
        transmit(request, each);
      });
    },
    contact(sinceMs, heartbeatMs) {
      if (!isReady) return;
      const agoMs = clock.monotonicMs() - sinceMs;
      say({ type: 'contact', sinceMs: Math.max(0, hostMonotonicMs() - agoMs), heartbeatMs });
    },
    report(jobId, epoch) {
      if (!isReady) return Promise.resolve(null);
      const request = nextRequest();
      return new Promise((resolve) => {
        reports.set(request, resolve);
        say({ type: 'report', request, jobId, epoch });
      });
    },
    acknowledged(jobId, epoch) {
      // Lost on the way: the runner tells the result again, and it is acknowledged again.
      mirror.forget(jobId, epoch);
      if (isReady) say({ type: 'acknowledged', jobId, epoch });
    },
    delivered(jobId, epoch, stdoutBytes, stderrBytes) {
      if (isReady) say({ type: 'delivered', jobId, epoch, stdoutBytes, stderrBytes });
    },
    readOutput(jobId, epoch, stream, offset, limit) {
      if (!isReady) return Promise.reject(away());
      const request = nextRequest();
      return new Promise((resolve, reject) => {
        reads.set(request, { give: resolve, fail: reject });
        const asked = Math.min(limit, MAX_RUNNER_READ_BYTES);
        say({ type: 'read', request, jobId, epoch, stream, offset, limit: asked });
      });
    },
    exec: execs.start,
    learnKeys(statements) {
      keys = statements;
      if (isReady && keys.length > 0) say({ type: 'keys', statements: [...keys] });
    },
    learnCredential() {
      if (isReady) tellCredential();
    },
    deviceFailed(ids, { code, text }) {
      if (isReady)
        say({ type: 'deviceFailed', ids: [...ids], code: code.slice(0, 64), text: text.slice(0, 512) });
    },
    held() {
      const list = mirror.list();
      for (const { order } of pending.values())
        if (isStart(order) && !mirror.has(order.jobId, order.epoch))
          list.push({
            jobId: order.jobId,
            epoch: order.epoch,
            phase: 'accepted',
            devices: order.type === 'start' ? [...order.devices] : null,
          });
      return list;
    },
    heldDevices: () => mirror.devices(),
    runningCount: () => mirror.runningCount(),
    // The runner tells them itself, on each connection.
    unsettled: () => [],
    offered() {
      const why = careful();
      if (why === null) return { ...offered, audit };
      return { ...offered, executors: [], problems: [why, ...offered.problems], audit };
    },
    problem: () => careful() ?? refusing,
    devicesChanged,
    async settled() {
      if (isKnown) return;
      await new Promise<void>((resolve) => {
        const timer = clock.after(SETTLE_MS, done);
        function done(): void {
          timer.cancel();
          settling.delete(done);
          resolve();
        }
        settling.add(done);
      });
      if (!isKnown) throw away();
    },
    async close() {
      isClosed = true;
      retry?.cancel();
      grace?.cancel();
      channel?.close('the agent stops');
    },
  };
}

function isStart(order: OrderMessage): order is Extract<OrderMessage, { type: 'start' | 'signedStart' }> {
  return order.type === 'start' || order.type === 'signedStart';
}
