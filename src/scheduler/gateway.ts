// The door for agents: takes the upgrade on the one link path, bounds who may wait in front of it, checks
// identity, and keeps the list of sessions. It knows no jobs.
import { createPublicKey, verify } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { channelBinding } from '../base/channel-binding.ts';
import { type Clock, every, type Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import {
  type Challenge,
  closeCode,
  type Hello,
  helloProofText,
  type JobProgress,
  LINK_PATH,
  MAX_FRAME_BYTES,
  SUBPROTOCOL,
  type Welcome,
} from '../protocol/control.ts';
import { chooseVersion, describeVersions, ownVersions } from '../protocol/version.ts';
import { callerProblem } from './caller.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Execs } from './exec.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { FileTickets } from './file-tickets.ts';
import { type Fleet, isRemoved } from './fleet.ts';
import type { OutputStore } from './output.ts';
import type { OwnNames } from './own-names.ts';
import type { ProgressBoard } from './progress.ts';
import type { NodeRecord, Queue } from './queue/queue.ts';
import type { RefusalLog } from './refusal-log.ts';
import { findAttempt } from './retry.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import type { ServerSession, ServerSocket } from './server-session.ts';
import { startServerSession } from './session.ts';
import { Refusal } from './session-refusal.ts';

export const HEARTBEAT_MS = 2000;
export const TELEMETRY_MS = 1000;
/** Connections of one address that have not yet proven who they are. */
export const MAX_STRANGERS_PER_ADDRESS = 256;
export const MAX_STRANGERS = 2048;
/** Told to whom finds the door full. */
const RETRY_AFTER_SECONDS = 5;
/** Jobs whose output lengths are asked of the disk at the same time. */
const LENGTHS_AT_ONCE = 32;

export interface Gateway {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Takes a connection whose upgrade has been made; `known` is called when its peer has proven who it is. `binding` is
   * that of its TLS channel (base/channel-binding.ts), the empty text without TLS.
   */
  accept(connection: ServerSocket, known: () => void, binding: string): void;
  /** Tells all connected agents whom to trust from now on. */
  authoritiesChanged(): void;
  /** Says good-bye to all. */
  close(): Promise<void>;
}

export interface GatewayOptions {
  readonly schedulerId: string;
  readonly key: SchedulerKey;
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
  readonly progress: ProgressBoard;
  readonly tickets: FileTickets;
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
  /** Nodes known by their credential alone, until they are on disk again. */
  const recognised = new Map<string, NodeRecord>();
  const strangersByAddress = new Map<string, number>();
  let strangers = 0;
  let closing = false;
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
    const address = request.socket.remoteAddress ?? 'unknown';
    const known = countStranger(address);
    if (known === null) {
      refusals.refused({ address }, 'too many connections wait at the door');
      answer(socket, 503, 'Service Unavailable');
      return;
    }
    socket.once('close', known);
    sockets.handleUpgrade(request, socket, head, (connection) =>
      accept(connection, known, channelBinding(request.socket)),
    );
  }

  function accept(connection: ServerSocket, known: () => void, binding: string): void {
    const session = startServerSession(connection, {
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
      admit: (hello, challenge) => admit(hello, challenge, binding),
      seal: options.key.seal,
      outputsOf,
      remember,
      progress,
      fileTicket: options.tickets.issue,
      authorities,
      authenticated: known,
      received: options.received,
      hit: options.hit ?? (() => {}),
      ended(ended) {
        sessions.delete(ended);
      },
    });
    sessions.add(session);
  }

  function admit(
    hello: Hello,
    challenge: Challenge,
    binding: string,
  ): { rebooted: boolean; version: number } {
    const version = chooseVersion(ownVersions, hello.versions);
    if (version === null) {
      const theirs = describeVersions(hello.versions);
      throw new Refusal(
        closeCode.version,
        'LINK_VERSION',
        `this scheduler speaks ${describeVersions(ownVersions)}, the agent ${theirs}`,
      );
    }
    const known = queue.node(hello.nodeId);
    const node = known ?? recognise(hello);
    if (node === null || isRemoved(node)) {
      throw new Refusal(
        node === null ? closeCode.unknownNode : closeCode.removed,
        node === null ? 'LINK_NODE_UNKNOWN' : 'LINK_NODE_REMOVED',
        node === null
          ? 'this scheduler does not know the node; join it again'
          : 'an operator removed the node; join it again',
      );
    }
    if (!isProven(node, hello, challenge, binding)) {
      throw new Refusal(
        closeCode.unauthenticated,
        'LINK_PROOF',
        'the proof does not fit the key of the node',
      );
    }
    if (hello.generation < node.generation && fleet.session(node.id) !== null) {
      throw new Refusal(closeCode.replaced, 'LINK_GENERATION', 'a later start of this agent is connected');
    }
    if (known === null) {
      log.warn(
        { nodeId: node.id, name: node.name },
        'a node that the store had lost is taken back by its credential',
      );
      recognised.set(node.id, node);
      fleet.add(node);
    }
    return { version, rebooted: node.bootId !== null && node.bootId !== hello.bootId };
  }

  /** The record of a node that this scheduler once enrolled and then lost with its store. */
  function recognise({ nodeId, name, credential }: Hello): NodeRecord | null {
    const again = recognised.get(nodeId);
    if (again !== undefined) return again;
    if (credential === null || !options.key.isOurs(nodeId, credential)) return null;
    const { publicKey, enrolledAtMs } = credential;
    return { id: nodeId, name, publicKey, enrolledAtMs, generation: 0, bootId: null };
  }

  function progress(nodeId: string, { jobId, epoch, text }: JobProgress): void {
    const job = queue.job(jobId);
    if (job?.nodeId === nodeId && job.epoch === epoch && job.state === 'STARTING')
      options.progress.put(jobId, epoch, text);
  }

  async function remember(hello: Hello): Promise<void> {
    const known = queue.node(hello.nodeId);
    const node = known ?? recognised.get(hello.nodeId);
    if (node === undefined) return;
    const { name, bootId } = hello;
    const generation = Math.max(node.generation, hello.generation);
    const isSame = node.name === name && node.bootId === bootId && node.generation === generation;
    if (known !== null && isSame) return;
    await queue.putNode({ ...node, name, bootId, generation });
    recognised.delete(node.id);
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

function isProven(node: NodeRecord, hello: Hello, challenge: Challenge, _binding: string): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(node.publicKey, 'base64'), format: 'der', type: 'spki' });
    const signature = Buffer.from(hello.proof, 'base64');
    return (
      key.asymmetricKeyType === 'ed25519' &&
      verify(null, Buffer.from(helloProofText(hello, challenge)), key, signature)
    );
  } catch {
    return false;
  }
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
