// The scheduler's side of one connection of an agent, from the challenge to its end:
//
//   challenged --hello proven--> greeting --welcome sent--> live          any state --fault, silence, close--> ended
//
// A message is legal in exactly one state; any other ends the session with badMessage, and nothing of it takes
// effect. Silence is counted in sweeps, not in elapsed time, so that a scheduler that was stopped for a minute
// reads what waits in its sockets before it gives up on anybody.
import { randomBytes } from 'node:crypto';
import type { Clock, Timer } from '../base/clock.ts';
import { describeError, Fault, isFault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import type { Log } from '../base/log.ts';
import {
  type AgentMessage,
  type Challenge,
  closeCode,
  HELLO_DEADLINE_MS,
  type Hello,
  type JobProgress,
  type OrderAck,
  type SchedulerMessage,
  type Welcome,
} from '../protocol/control.ts';
import { decodeOutputChunk, frameKind } from '../protocol/frame.ts';
import { LEASE_MIN_HEARTBEATS } from '../protocol/lease.ts';
import { nextFields } from '../protocol/next.ts';
import { ownVersions } from '../protocol/version.ts';
import { parseAgentMessage } from './agent-message.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Execs } from './exec.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { AgentSession, Fleet, Order } from './fleet.ts';
import type { OutputStore } from './output.ts';
import type { JobRecord } from './queue/queue.ts';
import type { RefusalLog } from './refusal-log.ts';
import type { ServerSession, ServerSocket } from './server-session.ts';
import { closeCodeOf, describeRefusal, INTERNAL } from './session-refusal.ts';

/** An agent that sends nothing for this many heartbeats is cut off. */
export const SILENT_HEARTBEATS = LEASE_MIN_HEARTBEATS;
/** An order that is not acknowledged within this time ends the session; the next one brings it again. */
export const ORDER_DEADLINE_MS = 30_000;
/** How long a closing connection may take before it is dropped. */
const CLOSE_DEADLINE_MS = 1000;
/** Messages that wait in memory for an agent that does not read; beyond it the session ends. */
const MAX_UNSENT_BYTES = 8 * 1024 * 1024;
/** Output that waits for the disk: reading stops above the first and goes on below the second. */
const PAUSE_OUTPUT_BYTES = 4 * 1024 * 1024;
const RESUME_OUTPUT_BYTES = 1024 * 1024;

/** Acknowledged where output is not wanted any more: more than any stream has. */
const LET_GO_BYTES = Number.MAX_SAFE_INTEGER;

/** Close code (RFC 6455). */
const TRY_AGAIN_LATER = 1013;

export interface SessionParts {
  readonly schedulerId: string;
  readonly heartbeatMs: number;
  readonly telemetryMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly execs: Pick<Execs, 'message' | 'frame' | 'detached'>;
  /** Checks version, identity and proof; throws a Refusal. Answers with the version that both speak. */
  admit(hello: Hello, challenge: Challenge): { readonly rebooted: boolean; readonly version: number };
  /** The mark of this scheduler on the order of a job. */
  seal(job: JobRecord): string;
  /** Outputs that the scheduler has on disk, of the jobs that the agent holds. */
  outputsOf(hello: Hello): Promise<Welcome['outputs']>;
  /** Writes down what the hello tells of the node. */
  remember(hello: Hello): Promise<void>;
  /** What a node tells of an attempt before its program runs. */
  progress(nodeId: string, message: JobProgress): void;
  /** Lets a node fetch and bring files until `gone` is called; null for a scheduler without a store of files. */
  fileTicket(nodeId: string): { readonly text: string; revoke(): void } | null;
  /** Whom nodes may trust to sign the scheduler's certificate; empty without a private authority. */
  authorities(): readonly string[];
  /** The peer has proven who it is. */
  authenticated(): void;
  received(type: string): void;
  readonly hit: SchedulerHit;
  /** Called once. */
  ended(session: ServerSession): void;
}

interface SentOrder {
  readonly kind: Order['kind'];
  readonly jobId: string;
  readonly epoch: number;
  readonly sentMs: number;
}

export function startServerSession(socket: ServerSocket, parts: SessionParts): ServerSession {
  const { clock, fleet, dispatcher, output, refusals, hit } = parts;
  let state: 'challenged' | 'greeting' | 'live' | 'ended' = 'challenged';
  let agent: AgentSession | null = null;
  let log = parts.log;
  let ticket: ReturnType<SessionParts['fileTicket']> = null;
  let heard = true;
  let quietSweeps = 0;
  let sent = false;
  let pendingOutputBytes = 0;
  let paused = false;
  /** It has sent something that this build does not know. */
  let isNewer = false;
  /** Orders not acknowledged yet, oldest first. */
  const orders = new Map<string, SentOrder>();
  const challenge: Challenge = {
    type: 'challenge',
    schedulerId: parts.schedulerId,
    versions: ownVersions,
    nonce: randomBytes(32).toString('base64'),
  };
  let deadline: Timer = clock.after(HELLO_DEADLINE_MS, () => {
    end(closeCode.helloTimeout, `no hello within ${HELLO_DEADLINE_MS / 1000} s`);
  });

  socket.on('error', (error) => {
    refusals.refused(
      { nodeId: agent?.nodeId ?? null, cause: describeError(error) },
      'link connection failed',
    );
  });
  socket.on('close', () => gone('the connection was closed'));
  socket.on('pong', () => {
    heard = true;
  });
  socket.on('message', (data, isBinary) => {
    if (state === 'ended') return;
    heard = true;
    try {
      // One buffer per message: the default of ws for its binaryType.
      const bytes = data as Buffer;
      if (isBinary) receiveFrame(bytes);
      else take(bytes);
    } catch (error) {
      refuse(error);
    }
  });
  send(challenge);

  function take(bytes: Uint8Array): void {
    const { message, ignored } = parseAgentMessage(bytes);
    for (const _ of ignored) parts.received('ignored');
    if (ignored.length > 0 && !isNewer) {
      isNewer = true;
      log.info(
        { nodeId: agent?.nodeId ?? null, fields: ignored.slice(0, 16) },
        'an agent is newer: what is unknown here is ignored',
      );
    }
    if (message !== null) receive(message);
  }

  function receive(message: AgentMessage): void {
    parts.received(message.type);
    if (message.type === 'hello' && state === 'challenged') {
      hello(message).catch(refuse);
      return;
    }
    if (message.type === 'error') {
      refusals.refused(
        { nodeId: agent?.nodeId ?? null, code: message.code, text: message.message },
        'an agent reports an error',
      );
      return;
    }
    const session = agent;
    if (state !== 'live' || session === null || message.type === 'hello') {
      throw new Fault(
        'LINK_MESSAGE_UNEXPECTED',
        `the message "${message.type}" is not expected while ${state}`,
      );
    }
    fleet.seen(session.nodeId);
    switch (message.type) {
      case 'heartbeat':
        // At once: the round trip is what the leases of its jobs are counted by.
        if (message.sequence !== null) send({ type: 'heartbeat', echo: message.sequence });
        return;
      case 'dictionary':
        fleet.dictionary(session.nodeId, message);
        return;
      case 'devices':
        fleet.devices(session.nodeId, message.devices);
        dispatcher.place();
        return;
      case 'orderAck':
        acknowledged(session, message);
        return;
      case 'jobProgress':
        parts.progress(session.nodeId, message);
        return;
      case 'jobStarted':
        settle(message.sequence, dispatcher.started(session, message));
        return;
      case 'jobResult':
        settle(message.sequence, dispatcher.ended(session, message.result));
        return;
      case 'jobReport':
        dispatcher.reported(session, message);
        return;
      default:
        parts.execs.message(session, message);
    }
  }

  async function hello(message: Hello): Promise<void> {
    hit('hello.received');
    const { rebooted, version } = parts.admit(message, challenge);
    state = 'greeting';
    deadline.cancel();
    parts.authenticated();
    const session: AgentSession = {
      id: createId('session'),
      nodeId: message.nodeId,
      order,
      report: (jobId, epoch) => send({ type: 'report', jobId, epoch }),
      outputSynced(jobId, epoch, { stdoutBytes, stderrBytes }) {
        hit('output.synced');
        if (state === 'live') send({ type: 'outputAck', jobId, epoch, stdoutBytes, stderrBytes });
      },
      tell(message) {
        if (state === 'live') send(message);
        return state === 'live';
      },
      send(frame) {
        if (state === 'live') send(frame);
      },
      close: end,
    };
    agent = session;
    log = parts.log.child({ nodeId: message.nodeId, sessionId: session.id });
    const replaced = fleet.attach(session, message);
    replaced?.close(closeCode.replaced, 'the node has connected again');
    const outputs = await parts.outputsOf(message);
    if (isEnded()) return;
    state = 'live';
    ticket = parts.fileTicket(session.nodeId);
    send({
      type: 'welcome',
      version,
      sessionId: session.id,
      heartbeatMs: parts.heartbeatMs,
      telemetryMs: parts.telemetryMs,
      outputs,
      fileTicket: ticket?.text ?? null,
      credential: null,
      authorities: [...parts.authorities()],
    });
    hit('welcome.sent');
    fleet.welcomed(session);
    log.info(
      { name: message.name, agentVersion: message.agentVersion, held: message.jobs.length, rebooted },
      'node connected',
    );
    // The new boot id is written down after the losses that it explains: a crash between them repeats both. The
    // queue keeps the order, so that no assignment from here on is on disk before it.
    await dispatcher.welcomed(session, message.jobs, rebooted);
    hit('return.compared');
    const remembered = parts.remember(message);
    fleet.ready(session);
    dispatcher.place();
    await remembered;
  }

  function order(order: Order): void {
    const orderId = createId('order');
    const { id: jobId, epoch, spec, array, devices } = order.job;
    orders.set(orderId, { kind: order.kind, jobId, epoch, sentMs: clock.monotonicMs() });
    if (order.kind === 'start')
      send({
        type: 'start',
        orderId,
        jobId,
        epoch,
        spec,
        array,
        devices: [...devices],
        seal: parts.seal(order.job),
      });
    else send({ type: 'stop', orderId, jobId, epoch, by: order.by, reason: order.reason });
  }

  function acknowledged(session: AgentSession, message: OrderAck): void {
    const order = orders.get(message.orderId);
    if (order === undefined) return;
    orders.delete(message.orderId);
    hit('order.acknowledged');
    if (message.outcome !== 'refused') return;
    const { kind, jobId, epoch } = order;
    dispatcher.refused(session, {
      kind,
      jobId,
      epoch,
      code: message.code ?? 'UNKNOWN',
      message: message.message ?? 'no reason given',
    });
  }

  /** Acknowledges a fact when it is on disk. Where the disk fails, the agent keeps it and tells it again. */
  function settle(sequence: number, settled: Promise<boolean>): void {
    settled.then(
      (acknowledge) => {
        if (acknowledge) {
          send({ type: 'ack', sequence });
          hit('fact.acknowledged');
        } else
          send({
            type: 'error',
            code: 'LINK_FACT_REFUSED',
            message: `fact ${sequence} is not about a job of this node`,
          });
      },
      (error: unknown) => {
        log.error({ cause: describeError(error) }, 'a fact of a node was not stored');
        // The agent keeps the fact and tells it again in its next session, when there may be space.
        if (isFault(error, 'QUEUE_STORE_FULL')) end(TRY_AGAIN_LATER, 'the disk of the scheduler is full');
      },
    );
  }

  function receiveFrame(frame: Uint8Array): void {
    const kind = frameKind(frame);
    parts.received(kind ?? 'unknown');
    if (state !== 'live' || agent === null || kind === null) {
      throw new Fault('LINK_MESSAGE_UNEXPECTED', `a binary frame is not expected while ${state}`);
    }
    fleet.seen(agent.nodeId);
    if (kind === 'telemetry') fleet.telemetry(agent.nodeId, frame);
    else if (kind === 'exec') parts.execs.frame(agent, frame);
    else receiveOutput(agent, frame);
  }

  function receiveOutput(session: AgentSession, frame: Uint8Array): void {
    const { jobId, epoch, stream, offset, bytes } = decodeOutputChunk(frame);
    const limit = dispatcher.outputLimit(session.nodeId, jobId, epoch, stream);
    if (limit === null || offset + bytes.length > limit) {
      refusals.refused(
        { nodeId: session.nodeId, jobId, epoch, stream, offset },
        'output was refused: not of a job of this node, or beyond its end',
      );
      // The attempt has ended here with less than its node has, since nobody waited for it: the node may let it go.
      if (limit !== null)
        send({ type: 'outputAck', jobId, epoch, stdoutBytes: LET_GO_BYTES, stderrBytes: LET_GO_BYTES });
      return;
    }
    hit('output.received');
    pendingOutputBytes += frame.length;
    if (pendingOutputBytes > PAUSE_OUTPUT_BYTES && !paused) {
      paused = true;
      socket.pause();
    }
    output.append(jobId, epoch, stream, offset, bytes, () => {
      pendingOutputBytes -= frame.length;
      if (!paused || pendingOutputBytes > RESUME_OUTPUT_BYTES) return;
      paused = false;
      socket.resume();
    });
  }

  function send(message: SchedulerMessage | Uint8Array): void {
    if (state === 'ended' || socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > MAX_UNSENT_BYTES) {
      end(closeCode.silent, 'the agent does not read what is sent to it');
      return;
    }
    sent = true;
    socket.send(message instanceof Uint8Array ? message : JSON.stringify({ ...message, ...nextFields() }));
  }

  /** Ends the session for input that does not fit. The peer learns what, never its own bytes back. */
  function refuse(error: unknown): void {
    if (state === 'ended') return;
    const code = isFault(error) ? error.code : INTERNAL;
    if (!isFault(error)) log.error({ cause: describeError(error) }, 'a session failed');
    const close = closeCodeOf(error, code);
    const text = isFault(error) ? describeRefusal(error) : 'internal error';
    refusals.refused({ nodeId: agent?.nodeId ?? null, code, close, text }, 'link session refused');
    send({ type: 'error', code: code.slice(0, 64), message: text });
    end(close, text);
  }

  function isEnded(): boolean {
    return state === 'ended';
  }

  function end(code: number, reason: string): void {
    if (state === 'ended') return;
    gone(reason);
    if (paused) socket.resume();
    socket.close(code, reason.slice(0, 120).replace(/[^\x20-\x7e]/g, '?'));
    deadline = clock.after(CLOSE_DEADLINE_MS, () => socket.terminate());
  }

  /** The session takes no further part; once. */
  function gone(reason: string): void {
    deadline.cancel();
    if (state === 'ended') return;
    state = 'ended';
    orders.clear();
    ticket?.revoke();
    if (agent !== null) {
      parts.execs.detached(agent);
      fleet.detach(agent);
      log.info({ reason }, 'node disconnected');
    }
    parts.ended(session);
  }

  const session: ServerSession = {
    sweep() {
      if (state !== 'live') return;
      // An agent that we do not read from cannot be blamed for its silence.
      quietSweeps = heard || paused ? 0 : quietSweeps + 1;
      heard = false;
      const [oldest] = orders.values();
      if (quietSweeps >= SILENT_HEARTBEATS) {
        end(
          closeCode.silent,
          `nothing came from the agent for ${(quietSweeps * parts.heartbeatMs) / 1000} s`,
        );
      } else if (oldest !== undefined && clock.monotonicMs() - oldest.sentMs > ORDER_DEADLINE_MS) {
        end(closeCode.silent, `an order was not acknowledged within ${ORDER_DEADLINE_MS / 1000} s`);
      } else if (!sent) {
        send({ type: 'heartbeat', echo: null });
      }
      sent = false;
    },
    authoritiesChanged() {
      if (state === 'live')
        send({ type: 'authorities', authorities: [...parts.authorities()], optional: true });
    },
    close: end,
  };
  return session;
}
