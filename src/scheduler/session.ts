// The scheduler's side of one connection of an agent, from the challenge to its end:
//
//   challenged --hello proven--> greeting --welcome sent--> live          any state --fault, silence, close--> ended
//
// A message is legal in exactly one state; any other ends the session with badMessage, and nothing of it takes
// effect. Silence is counted in sweeps, not in elapsed time, so that a scheduler that was stopped for a minute
// reads what waits in its sockets before it gives up on anybody.
import { randomBytes } from 'node:crypto';
import type { Timer } from '../base/clock.ts';
import { describeError, Fault, isFault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import {
  type AgentMessage,
  type Challenge,
  closeCode,
  HELLO_DEADLINE_MS,
  type Hello,
  type OrderAck,
  type SchedulerMessage,
  SETTLED_CODE,
} from '../protocol/control.ts';
import { frameKind } from '../protocol/frame.ts';
import { LEASE_MIN_HEARTBEATS } from '../protocol/lease.ts';
import { nextFields } from '../protocol/next.ts';
import type { Signed } from '../protocol/signed.ts';
import { SIGNED_SINCE_VERSION } from '../protocol/version.ts';
import { parseAgentMessage } from './agent-message.ts';
import { runName } from './clones.ts';
import type { AgentSession, Order } from './fleet.ts';
import { createHeadTeller } from './head-teller.ts';
import { createLiveness } from './liveness.ts';
import { createOutputIntake } from './output-intake.ts';
import type { ServerSession, ServerSocket } from './server-session.ts';
import type { SessionParts } from './session-parts.ts';
import { closeCodeOf, describeRefusal, INTERNAL } from './session-refusal.ts';

/** An agent that sends nothing for this many heartbeats is cut off. */
export const SILENT_HEARTBEATS = LEASE_MIN_HEARTBEATS;
/** An order that is not acknowledged within this time ends the session; the next one brings it again. */
export const ORDER_DEADLINE_MS = 30_000;
/** How long a closing connection may take before it is dropped. */
const CLOSE_DEADLINE_MS = 1000;
/** Messages that wait in memory for an agent that does not read; beyond it the session ends. */
const MAX_UNSENT_BYTES = 8 * 1024 * 1024;
/** Close code (RFC 6455). */
const TRY_AGAIN_LATER = 1013;

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
  /** That both speak. */
  let version = 0;
  let log = parts.log;
  let ticket: ReturnType<SessionParts['fileTicket']> = null;
  let heard = true;
  let quietSweeps = 0;
  let sent = false;
  /** It has sent something that this build does not know. */
  let isNewer = false;
  /** Orders not acknowledged yet, oldest first. */
  const orders = new Map<string, SentOrder>();
  const intake = createOutputIntake({
    socket,
    dispatcher,
    output,
    refusals,
    hit,
    audit: parts.audit,
    letGo: (jobId, epoch, bytes) =>
      send({ type: 'outputAck', jobId, epoch, stdoutBytes: bytes, stderrBytes: bytes }),
  });
  const answers = createLiveness(socket, clock);
  const heads = createHeadTeller(parts.auditHead, clock);
  const challenge: Challenge = {
    type: 'challenge',
    schedulerId: parts.schedulerId,
    versions: { ...parts.versions },
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
      state = 'greeting';
      deadline.cancel();
      parts.inTurn(() => {
        if (!isEnded()) hello(message).catch(refuse);
      });
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
        if (message.refusing === undefined) return;
        fleet.refusing(session.nodeId, message.refusing);
        dispatcher.place();
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
    const admitted = await parts.admit(message, challenge);
    const { rebooted, credential } = admitted;
    version = admitted.version;
    if (isEnded()) return;
    parts.authenticated();
    const session: AgentSession = {
      id: createId('session'),
      nodeId: message.nodeId,
      run: runName(message),
      order,
      report: (jobId, epoch) => send({ type: 'report', jobId, epoch }),
      answers,
      credential(signed) {
        if (state === 'live' && version > 1) send({ type: 'credential', credential: signed });
      },
      outputSynced(jobId, epoch, { stdoutBytes, stderrBytes }) {
        hit('output.synced');
        if (state === 'live') send({ type: 'outputAck', jobId, epoch, stdoutBytes, stderrBytes });
      },
      passesProofs: version >= SIGNED_SINCE_VERSION && message.inventory.passesProofs === true,
      tell(message, inputKey) {
        if (state === 'live' && message.type === 'exec')
          send(parts.orders.exec({ nodeId: session.nodeId, version }, message, inputKey));
        else if (state === 'live') send(message);
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
      keys: statements(),
      fileTicket: ticket?.text ?? null,
      credential,
      authorities: [...parts.authorities()],
      ...heads.due(),
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
    const { id: jobId, epoch } = order.job;
    orders.set(orderId, { kind: order.kind, jobId, epoch, sentMs: clock.monotonicMs() });
    send(parts.orders.message({ nodeId: agent?.nodeId ?? '', version }, orderId, order));
  }

  function statements(): Signed[] {
    return version >= SIGNED_SINCE_VERSION ? [...parts.orders.statements()] : [];
  }

  function acknowledged(session: AgentSession, message: OrderAck): void {
    const order = orders.get(message.orderId);
    if (order === undefined) return;
    orders.delete(message.orderId);
    hit('order.acknowledged');
    if (message.outcome !== 'refused' && message.code !== SETTLED_CODE) return;
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
    else intake.take(agent, frame);
  }

  function send(message: SchedulerMessage | Uint8Array): void {
    if (state === 'ended' || socket.readyState !== socket.OPEN) return;
    if (socket.bufferedAmount > MAX_UNSENT_BYTES) {
      end(closeCode.silent, 'the agent does not read what is sent to it');
      return;
    }
    sent = true;
    parts.gather();
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
    if (intake.isPaused()) socket.resume();
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
      quietSweeps = heard || intake.isPaused() ? 0 : quietSweeps + 1;
      heard = false;
      const [oldest] = orders.values();
      if (quietSweeps >= SILENT_HEARTBEATS) {
        end(
          closeCode.silent,
          `nothing came from the agent for ${(quietSweeps * parts.heartbeatMs) / 1000} s`,
        );
      } else if (oldest !== undefined && clock.monotonicMs() - oldest.sentMs > ORDER_DEADLINE_MS) {
        end(closeCode.silent, `an order was not acknowledged within ${ORDER_DEADLINE_MS / 1000} s`);
      } else {
        const head = heads.due();
        if (!sent || head.auditHead !== undefined) send({ type: 'heartbeat', echo: null, ...head });
      }
      sent = false;
    },
    tellKeys() {
      if (state === 'live' && version >= SIGNED_SINCE_VERSION)
        send({ type: 'keys', statements: statements() });
    },
    authoritiesChanged() {
      if (state === 'live')
        send({ type: 'authorities', authorities: [...parts.authorities()], optional: true });
    },
    close: end,
  };
  return session;
}
