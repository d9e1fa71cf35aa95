// The door for agents: takes the upgrade on the one link path, bounds who may wait in front of it, and keeps the list of
// sessions. Who they are is checked in node-admission.ts. It knows no jobs.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { channelBinding } from '../base/channel-binding.ts';
import { type Clock, every, type Timer } from '../base/clock.ts';
import { gatherWrites } from '../base/gathered-writes.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import { createTurnstile } from '../base/turns.ts';
import { type AuditSink, noAudit, type SignedHead } from '../protocol/audit.ts';
import {
  closeCode,
  type Hello,
  type JobProgress,
  LINK_PATH,
  MAX_FRAME_BYTES,
  SUBPROTOCOL,
  type Welcome,
} from '../protocol/control.ts';
import type { VersionRange } from '../protocol/version.ts';
import { addressGroup } from './address-group.ts';
import { callerProblem } from './caller.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Execs } from './exec.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { FileTickets } from './file-tickets.ts';
import type { Fleet } from './fleet.ts';
import type { NodeAdmission } from './node-admission.ts';
import type { Orders } from './orders.ts';
import type { OutputStore } from './output.ts';
import type { OwnNames } from './own-names.ts';
import type { ProgressBoard } from './progress.ts';
import type { Queue } from './queue/queue.ts';
import { findAttempt } from './retry.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import type { ServerSession, ServerSocket } from './server-session.ts';
import { startServerSession } from './session.ts';

export const HEARTBEAT_MS = 2000;
export const TELEMETRY_MS = 1000;
/** Connections of one address that have not yet proven who they are. */
export const MAX_STRANGERS_PER_ADDRESS = 256;
/** About as many hellos as one core checks in two seconds: more of them would outwait their own deadline in the queue. */
export const MAX_STRANGERS = 1024;
/** Told to whom finds the door full. */
const RETRY_AFTER_SECONDS = 5;
/** What upgrades and hellos may take of a turn of the event loop when thousands come at once. */
const DOOR_MS = 10;
/** Jobs whose output lengths are asked of the disk at the same time. */
const LENGTHS_AT_ONCE = 32;

export interface Gateway {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Takes a connection whose upgrade has been made; `known` is called when its peer has proven who it is. `binding` is
   * that of its TLS channel (base/channel-binding.ts), the empty text without TLS; `gather` is called before each message.
   */
  accept(connection: ServerSocket, known: () => void, binding: string, gather?: () => void): void;
  /** Tells all connected agents whom to trust from now on. */
  authoritiesChanged(): void;
  /** The keys have changed: tells every session. */
  tellKeys(): void;
  /** Says good-bye to all. */
  close(): Promise<void>;
}

export interface GatewayOptions {
  readonly schedulerId: string;
  readonly key: SchedulerKey;
  readonly orders: Orders;
  /** That it speaks. */
  readonly versions: VersionRange;
  readonly ownNames: OwnNames;
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly execs: Execs;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  readonly received: (type: string) => void;
  readonly hit?: SchedulerHit;
  readonly audit?: AuditSink;
  /** Head of the audit log, told to nodes; without it, none is. */
  readonly auditHead?: () => SignedHead | null;
  readonly progress: ProgressBoard;
  readonly tickets: FileTickets;
  readonly admission: NodeAdmission;
  /** Private authorities of the scheduler, PEM; without it, none. */
  readonly authorities?: () => readonly string[];
}

export function createGateway(options: GatewayOptions): Gateway {
  const { queue, fleet, output, clock, log, refusals } = options;
  const authorities = options.authorities ?? (() => []);
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    // Far below the defaults: an honest agent sends whole messages.
    maxFragments: 64,
    maxBufferedChunks: 4096,
    clientTracking: false,
    handleProtocols: () => SUBPROTOCOL,
  });
  sockets.on('error', (error) => log.error({ cause: error.message }, 'link server failed'));
  sockets.on('wsClientError', (error, socket) => {
    refusals.refused({ cause: error.message }, 'link handshake refused');
    answer(socket, 400, 'Bad Request');
  });

  const sessions = new Set<ServerSession>();
  const strangersByAddress = new Map<string, number>();
  let strangers = 0;
  let closing = false;
  const turnstile = createTurnstile(DOOR_MS, clock);
  const sweeper: Timer = every(clock, HEARTBEAT_MS, () => {
    for (const session of sessions) session.sweep();
  });

  /** Counts a connection as a stranger until the returned function is called; null when the door is full. */
  function countStranger(address: string): (() => void) | null {
    const ofAddress = strangersByAddress.get(address) ?? 0;
    if (strangers >= MAX_STRANGERS || ofAddress >= MAX_STRANGERS_PER_ADDRESS) return null;
    strangers += 1;
    strangersByAddress.set(address, ofAddress + 1);
    let counted = true;
    return () => {
      if (!counted) return;
      counted = false;
      strangers -= 1;
      const rest = (strangersByAddress.get(address) ?? 1) - 1;
      if (rest === 0) strangersByAddress.delete(address);
      else strangersByAddress.set(address, rest);
    };
  }

  /** Status and text to refuse an upgrade with, or null. */
  function upgradeProblem(request: IncomingMessage): readonly [number, string] | null {
    if (callerProblem(request, options.ownNames) !== null) return [403, 'Forbidden'];
    if ((request.url ?? '').split('?', 1)[0] !== LINK_PATH) return [404, 'Not Found'];
    if (closing) return [503, 'Service Unavailable'];
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',');
    return offered.some((one) => one.trim() === SUBPROTOCOL) ? null : [400, 'Bad Request'];
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Without a listener a reset connection would end the process.
    socket.on('error', () => socket.destroy());
    const problem = upgradeProblem(request);
    if (problem !== null) {
      answer(socket, ...problem);
      return;
    }
    const address = addressGroup(request.socket.remoteAddress);
    const known = countStranger(address);
    if (known === null) {
      refusals.refused({ address }, 'too many connections wait at the door');
      answer(socket, 503, 'Service Unavailable');
      return;
    }
    socket.once('close', known);
    turnstile.pass(() =>
      sockets.handleUpgrade(request, socket, head, (connection) =>
        accept(connection, known, channelBinding(request.socket), gatherWrites(socket)),
      ),
    );
  }

  function accept(
    connection: ServerSocket,
    known: () => void,
    binding: string,
    gather: () => void = () => {},
  ): void {
    const session = startServerSession(connection, {
      gather,
      inTurn: turnstile.pass,
      schedulerId: options.schedulerId,
      heartbeatMs: HEARTBEAT_MS,
      telemetryMs: TELEMETRY_MS,
      clock,
      log,
      refusals,
      fleet,
      output,
      dispatcher: options.dispatcher,
      execs: options.execs,
      admit: (hello, challenge) => options.admission.admit(hello, challenge, binding),
      orders: options.orders,
      versions: options.versions,
      outputsOf,
      remember: options.admission.remember,
      progress,
      fileTicket: options.tickets.issue,
      authorities,
      authenticated: known,
      received: options.received,
      hit: options.hit ?? (() => {}),
      audit: options.audit ?? noAudit,
      auditHead: options.auditHead ?? (() => null),
      ended(ended) {
        sessions.delete(ended);
      },
    });
    sessions.add(session);
  }

  function progress(nodeId: string, { jobId, epoch, text }: JobProgress): void {
    const job = queue.job(jobId);
    if (job?.nodeId === nodeId && job.epoch === epoch && job.state === 'STARTING')
      options.progress.put(jobId, epoch, text);
  }

  async function outputsOf(hello: Hello): Promise<Welcome['outputs']> {
    const outputs: Welcome['outputs'] = [];
    const ours = hello.jobs.filter(({ jobId, epoch }) => {
      const job = queue.job(jobId);
      if (job === null) return false;
      return (
        (job.nodeId === hello.nodeId && job.epoch === epoch) || findAttempt(job, epoch, hello.nodeId) !== null
      );
    });
    for (let at = 0; at < ours.length; at += LENGTHS_AT_ONCE) {
      const some = ours.slice(at, at + LENGTHS_AT_ONCE).map(async ({ jobId, epoch }) => {
        const { stdoutBytes, stderrBytes } = await output.syncedLengths(jobId, epoch);
        return { jobId, epoch, stdoutBytes, stderrBytes };
      });
      outputs.push(...(await Promise.all(some)));
    }
    return outputs;
  }

  return {
    upgrade,
    accept,
    tellKeys() {
      for (const session of sessions) session.tellKeys();
    },
    authoritiesChanged() {
      for (const session of sessions) session.authoritiesChanged();
    },
    async close() {
      closing = true;
      sweeper.cancel();
      for (const session of [...sessions]) {
        session.close(closeCode.shuttingDown, 'the scheduler is stopping, retry-after 1');
      }
      sockets.close();
    },
  };
}

/** Answers an upgrade that is not taken and ends the connection. */
function answer(socket: Duplex, status: number, text: string): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const retry = status === 503 ? `Retry-After: ${RETRY_AFTER_SECONDS}\r\n` : '';
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\n${retry}Content-Length: 0\r\n\r\n`);
}
