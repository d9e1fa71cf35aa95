// Commands beside running jobs, in the middle between a client's WebSocket and the session of the job's node
// (protocol/exec.ts has the conversation). Nothing is kept here: credit goes from end to end, so that what is under
// way stays within its windows, and a side that sends more is cut off.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { type Clock, every, type Timer } from '../base/clock.ts';
import { Fault, isFault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import {
  decodeExecFrame,
  EXEC_INPUT_WINDOW_BYTES,
  EXEC_OUTPUT_WINDOW_BYTES,
  EXEC_REQUEST_DEADLINE_MS,
  EXEC_SUBPROTOCOL,
  type ExecAgentMessage,
  type ExecClientMessage,
  type ExecEnd,
  type ExecRequest,
  type ExecServerMessage,
  execClientMessageSchema,
} from '../protocol/exec.ts';
import type { Caller } from '../protocol/role.ts';
import type { Admission } from './access/access.ts';
import { isOwn, requireOwn, requireRole } from './access/ownership.ts';
import { callerProblem } from './caller.ts';
import { createExecBudget } from './exec-budget.ts';
import { createNodeInput } from './exec-input.ts';
import type { AgentSession, Fleet } from './fleet.ts';
import { answerUpgrade } from './http.ts';
import { findJob } from './job-names.ts';
import { parseJson } from './json.ts';
import type { OwnNames } from './own-names.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import { createShares } from './shares.ts';

/** Commands at the same time, of all jobs. */
export const MAX_EXECS = 256;
export const MAX_EXECS_PER_USER = 128;
export const EXEC_PATH = /^\/v1\/jobs\/([^/?]+)\/exec$/;
/** Longest message of a client; a command may be six times as long in JSON. */
const MAX_MESSAGE_BYTES = 512 * 1024;
/** A client is asked for a sign this often; one that gave none since the last time is cut off. */
const PING_MS = 15_000;
const CLOSE_DEADLINE_MS = 1000;
/** A node says that a command runs, or why not, within this time; it gives its own shim less. */
const ANSWER_DEADLINE_MS = 40_000;
const NORMAL = 1000;
const POLICY = 1008;

export interface Execs {
  /** Takes the upgrade if it is for a command beside a job; false for any other path. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /** Of a node's session; what concerns no command of that session is dropped. */
  message(session: AgentSession, message: ExecAgentMessage): void;
  /** Throws a Fault LINK_FRAME_* for a frame that is none. */
  frame(session: AgentSession, frame: Uint8Array): void;
  detached(session: AgentSession): void;
  close(): void;
}

export interface ExecsOptions {
  readonly ownNames: OwnNames;
  readonly queue: Queue;
  readonly fleet: Pick<Fleet, 'session' | 'name'>;
  readonly access: Admission;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  readonly audit?: AuditSink;
}

/** What a request may enter, and who asks. */
interface Admitted {
  readonly caller: Caller;
  readonly job: JobRecord;
  readonly session: AgentSession;
  /** It is over, or did not begin. */
  readonly giveBack: () => void;
}

interface Running {
  readonly session: AgentSession;
  message(message: ExecAgentMessage): void;
  output(channel: 'stdout' | 'stderr', bytes: Uint8Array): void;
  end(end: ExecEnd): void;
}

export function createExecs(options: ExecsOptions): Execs {
  const { queue, fleet, clock, log, refusals } = options;
  const running = new Map<string, Running>();
  const clients = new Set<WebSocket>();
  const shares = createShares(MAX_EXECS_PER_USER);
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    maxFragments: 64,
    maxBufferedChunks: 4096,
    clientTracking: false,
    handleProtocols: () => EXEC_SUBPROTOCOL,
  });
  sockets.on('error', (error) => log.error({ cause: error.message }, 'exec server failed'));
  sockets.on('wsClientError', (_error, socket) =>
    answerUpgrade(socket, new Fault('API_INVALID', 'no WebSocket')),
  );

  /** The job that the request may enter. Throws a Fault. */
  function admit(request: IncomingMessage, name: string): Admitted {
    const problem = callerProblem(request, options.ownNames);
    if (problem !== null) throw new Fault('API_CALLER', problem);
    const caller = options.access.authenticate(request);
    requireRole(caller, 'submitter');
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',');
    if (!offered.some((one) => one.trim() === EXEC_SUBPROTOCOL))
      throw new Fault('API_INVALID', `the subprotocol must be ${EXEC_SUBPROTOCOL}`);
    const job = findJob(name, queue);
    requireOwn(caller, job);
    if (clients.size >= MAX_EXECS)
      throw new Fault('API_BUSY', `${MAX_EXECS} commands run beside jobs already`, {
        remedy: 'try again later',
      });
    const session = sessionOf(job);
    const giveBack = shares.take(caller);
    if (giveBack === null)
      throw new Fault('API_BUSY', `${caller.user} runs ${MAX_EXECS_PER_USER} commands beside jobs already`, {
        remedy: 'end some of them',
      });
    return { caller, job, session, giveBack };
  }

  /** The session of the node that the job runs on. Throws a Fault. */
  function sessionOf(job: JobRecord): AgentSession {
    if (job.state !== 'RUNNING' || job.nodeId === null) {
      throw new Fault('EXEC_JOB_NOT_RUNNING', `${job.id} does not run: it is ${job.state}`, {
        remedy: `see "flopd job ${job.id}"`,
      });
    }
    const session = fleet.session(job.nodeId);
    if (session !== null) return session;
    throw new Fault(
      'EXEC_NODE_UNREACHABLE',
      `${fleet.name(job.nodeId)}, where ${job.id} runs, cannot be reached`,
      {
        remedy: 'try again when the node is back',
      },
    );
  }

  function attend(socket: WebSocket, { caller, job, session, giveBack }: Admitted): void {
    const execId = createId('exec');
    let isOver = false;
    let isAlive = true;
    let hasRequest = false;
    const budget = createExecBudget(clock);
    /** Bytes under way that the other end has not taken. */
    let untakenInputBytes = 0;
    let untakenOutputBytes = 0;
    const nodeInput = createNodeInput(execId, session);
    clients.add(socket);
    let answer: Timer | null = null;
    const release = options.access.hold(
      caller,
      (now) => isOwn(now, job),
      () => {
        stop();
        end(failed('EXEC_TOKEN', 'the token that it was opened with is no good any more; it is ended'));
      },
    );
    let timer: Timer = clock.after(EXEC_REQUEST_DEADLINE_MS, () => refuse('no request came in time'));

    const say = (message: ExecServerMessage): void => socket.send(JSON.stringify(message));

    /** The client's part is over; `code` closes its connection. */
    function leave(code: number, reason: string): void {
      if (isOver) return;
      isOver = true;
      timer.cancel();
      answer?.cancel();
      release();
      giveBack();
      clients.delete(socket);
      running.delete(execId);
      nodeInput.close();
      socket.close(code, reason);
      clock.after(CLOSE_DEADLINE_MS, () => socket.terminate());
    }

    function refuse(reason: string): void {
      if (isOver) return;
      refusals.refused({ jobId: job.id, execId, reason }, 'the client of a command beside a job was cut off');
      stop();
      leave(POLICY, reason);
    }

    function stop(): void {
      if (hasRequest && !isOver) session.tell({ type: 'execStop', execId });
    }

    function end(how: ExecEnd): void {
      if (isOver) return;
      say({ type: 'end', ...how });
      leave(NORMAL, 'ended');
      const { exitCode, signal, code } = how;
      log.info({ jobId: job.id, execId, exitCode, signal, code }, 'a command beside a job has ended');
    }

    function order({ type: _, ...request }: ExecRequest): void {
      hasRequest = true;
      timer.cancel();
      timer = every(clock, PING_MS, () => {
        if (!isAlive) refuse('no sign of life');
        isAlive = false;
        socket.ping();
      });
      const facts = { jobId: job.id, epoch: job.epoch, execId, by: caller.user };
      options.audit?.('job.entered', { ...facts, nodeId: session.nodeId });
      log.info(
        { audit: 'exec', ...facts, program: request.command[0], nodeId: session.nodeId },
        'a command beside a job is ordered',
      );
      running.set(execId, { session, message, output, end });
      const names = { execId, jobId: job.id, epoch: job.epoch } as const;
      const isTold = session.tell(
        { type: 'exec', ...names, ...request, by: caller.user },
        nodeInput.publicKey,
      );
      if (!isTold) end(failed('EXEC_NODE_UNREACHABLE', 'its node has just come back; try again'));
      else
        answer = clock.after(ANSWER_DEADLINE_MS, () => {
          stop();
          end(
            failed('EXEC_SILENT', `its node did not say within ${ANSWER_DEADLINE_MS / 1000} s that it runs`),
          );
        });
    }

    function receive(message: ExecClientMessage): void {
      if ((message.type === 'request') === hasRequest)
        throw new Fault('EXEC_MESSAGE', 'a message out of turn');
      const isControl = message.type === 'resize' || message.type === 'signal';
      if (isControl && !budget.control()) throw new Fault('EXEC_MESSAGE', 'too many signals or sizes');
      switch (message.type) {
        case 'request':
          order(message);
          return;
        case 'resize':
          nodeInput.resize(message.rows, message.columns);
          return;
        case 'signal':
          nodeInput.signal(message.signal);
          return;
        case 'credit': {
          if (message.bytes > untakenOutputBytes)
            throw new Fault('EXEC_MESSAGE', 'credit for what never came');
          untakenOutputBytes -= message.bytes;
          const told = budget.credit(message.bytes, untakenOutputBytes);
          if (told > 0) session.tell({ type: 'execCredit', execId, bytes: told });
          return;
        }
      }
    }

    function input(bytes: Uint8Array): void {
      if (!hasRequest) throw new Fault('EXEC_MESSAGE', 'input before the request');
      untakenInputBytes += bytes.length;
      if (untakenInputBytes > EXEC_INPUT_WINDOW_BYTES)
        throw new Fault('EXEC_MESSAGE', 'more input than credit');
      if (bytes.length > 0 && !budget.piece())
        throw new Fault('EXEC_MESSAGE', 'too many pieces of input at once');
      nodeInput.input(bytes);
    }

    /** What the node says. */
    function message(told: ExecAgentMessage): void {
      answer?.cancel();
      if (told.type === 'execStarted') say({ type: 'started', pid: told.pid });
      else if (told.type === 'execCredit') {
        const taken = Math.min(told.bytes, untakenInputBytes);
        untakenInputBytes -= taken;
        budget.taken(untakenInputBytes);
        nodeInput.taken(taken);
        if (taken > 0) say({ type: 'credit', bytes: taken });
      } else {
        const { exitCode, signal, code, message: text } = told;
        end({ exitCode, signal, code, message: text });
      }
    }

    function output(channel: 'stdout' | 'stderr', bytes: Uint8Array): void {
      untakenOutputBytes += bytes.length;
      if (untakenOutputBytes > EXEC_OUTPUT_WINDOW_BYTES) {
        stop();
        end(failed('EXEC_WINDOW', 'its node sent more than was asked for'));
        return;
      }
      socket.send(Buffer.concat([Uint8Array.of(channel === 'stdout' ? 1 : 2), bytes]));
    }

    socket.on('error', () => {});
    socket.on('pong', () => {
      isAlive = true;
    });
    socket.on('close', () => {
      stop();
      leave(NORMAL, '');
    });
    socket.on('message', (data, isBinary) => {
      if (isOver) return;
      isAlive = true;
      try {
        if (isBinary) input(data as Buffer);
        else receive(parseMessage(data as Buffer));
      } catch (error) {
        if (!isFault(error)) throw error;
        refuse(error.message);
      }
    });
  }

  return {
    upgrade(request, socket, head) {
      const name = EXEC_PATH.exec((request.url ?? '').split('?', 1)[0] ?? '')?.[1];
      if (name === undefined) return false;
      socket.on('error', () => socket.destroy());
      try {
        const admitted = admit(request, name);
        let isAttended = false;
        sockets.handleUpgrade(request, socket, head, (connection) => {
          isAttended = true;
          attend(connection, admitted);
        });
        if (!isAttended) admitted.giveBack();
      } catch (error) {
        if (!isFault(error)) throw error;
        options.access.denied(request, error);
        answerUpgrade(socket, error);
      }
      return true;
    },
    message(session, message) {
      const one = running.get(message.execId);
      if (one?.session === session) one.message(message);
    },
    frame(session, frame) {
      const { execId, channel, bytes } = decodeExecFrame(frame);
      if (channel === 'stdin')
        throw new Fault('LINK_FRAME_RANGE', 'an exec frame of input', { field: 'channel' });
      const one = running.get(execId);
      if (one?.session === session) one.output(channel, bytes);
    },
    detached(session) {
      for (const one of [...running.values()]) {
        if (one.session !== session) continue;
        one.end(failed('EXEC_LINK_LOST', 'the link to the node was lost; the command is killed there'));
      }
    },
    close() {
      for (const { end } of [...running.values()]) end(failed('EXEC_SCHEDULER_STOPS', 'the scheduler stops'));
      for (const client of clients) client.terminate();
      sockets.close();
    },
  };
}

function failed(code: string, message: string): ExecEnd {
  return { exitCode: null, signal: null, code, message };
}

/** Throws a Fault for what is no message of a client. */
function parseMessage(bytes: Uint8Array): ExecClientMessage {
  const parsed = execClientMessageSchema.safeParse(parseJson(bytes, 'EXEC'));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Fault(
    'EXEC_MESSAGE',
    `${(issue?.path ?? []).join('.').slice(0, 40) || 'message'}: ${issue?.message ?? ''}`,
  );
}
