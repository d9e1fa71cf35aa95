// The runner's side of its one agent: hands the agent's messages to the job room, tells the agent what the job room
// says, and tells all that is not settled again to each new connection. What a taken-over agent may do ends here: it
// can ask for what is signed, withhold, repeat and listen; it cannot name a path, a command or a device node.
import type { Socket } from 'node:net';
import { type Clock, every, type Timer } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { EnergyAnswer } from '../job/settle.ts';
import { MAX_FRAME_BYTES } from '../protocol/control.ts';
import { decodeExecFrame, type Exec, encodeExecFrame } from '../protocol/exec.ts';
import { type Channel, createChannel } from './channel.ts';
import { encodeFrame, encodeOutput, type Incoming } from './framing.ts';
import type { JobRoom, JobRoomEvents } from './job-room.ts';
import { parseAgentMessage } from './message.ts';
import {
  type AgentToRunner,
  hostMonotonicMs,
  MAX_RUNNER_REQUESTS,
  RUNNER_HELLO_MS,
  RUNNER_PING_MS,
  RUNNER_PROTOCOL,
  RUNNER_SILENT_MS,
  type RunnerToAgent,
} from './protocol.ts';
import type { ToldDevices } from './told-devices.ts';

/** How long the agent may take to say what energy a job used; it is absent otherwise. */
export const ENERGY_DEADLINE_MS = 2000;
const JOBS_IN_A_PIECE = 500;
const AGENT_AWAY: EnergyAnswer = { absent: 'the agent was away when the job ended' };

export interface AgentPortParts {
  readonly identity: { readonly nodeId: string; readonly schedulerId: string; readonly bootId: string };
  readonly devices: ToldDevices;
  readonly safeMode: () => string | null;
  /** A connection that is to carry HTTP for files; false for a ticket that nobody waits for. */
  readonly files: (ticket: string, socket: Socket) => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export interface AgentPort {
  /** What the job room tells; handed to it when it is opened. */
  readonly events: JobRoomEvents;
  energy(jobId: string, epoch: number): Promise<EnergyAnswer>;
  /** From now on agents are served. */
  open(room: JobRoom): void;
  /** A peer whose right to be here has been checked. */
  connected(socket: Socket): void;
  /** Asks the agent for a connection for files; false where there is no agent. */
  askFiles(ticket: string): boolean;
  /** Safe mode is over, or something else of what is offered has changed. */
  changed(why: string): void;
  hasAgent(): boolean;
  close(): void;
}

/** What an agent that was not here must be told again of an attempt. */
interface Told {
  started: { readonly pid: number; readonly startedAtMs: number } | null;
  stdoutBytes: number;
  stderrBytes: number;
}

export function createAgentPort(parts: AgentPortParts): AgentPort {
  const { identity, devices, safeMode, clock, log } = parts;
  const peers = new Set<Channel>();
  const told = new Map<string, Told>();
  const questions = new Map<number, (answer: EnergyAnswer) => void>();
  let room: JobRoom | null = null;
  let agent: Channel | null = null;
  let lastQuestion = 0;

  const say = (message: RunnerToAgent): void => agent?.send(message);

  function toldOf(jobId: string, epoch: number): Told {
    const key = `${jobId}.${epoch}`;
    const known = told.get(key);
    if (known !== undefined) return known;
    const fresh: Told = { started: null, stdoutBytes: 0, stderrBytes: 0 };
    told.set(key, fresh);
    return fresh;
  }

  function offered() {
    const clip = (list: readonly string[]): string[] => list.map((one) => one.slice(0, 1024)).slice(0, 64);
    const { executors, problems, limitations, dataClasses } = room?.offered() ?? {
      executors: [],
      problems: [],
      limitations: [],
      dataClasses: [],
    };
    return {
      executors: [...executors],
      problems: clip(problems),
      limitations: clip(limitations),
      dataClasses: [...dataClasses],
      safeMode: safeMode()?.slice(0, 1024) ?? null,
    };
  }

  const events: JobRoomEvents = {
    granted: (jobId, epoch, cpus, ids) => say({ type: 'granted', jobId, epoch, cpus, devices: [...ids] }),
    changed,
    unfit: (ids, finding) => say({ type: 'unfit', ids: [...ids], finding }),
    started(jobId, epoch, pid, startedAtMs) {
      toldOf(jobId, epoch).started = { pid, startedAtMs };
      say({ type: 'jobStarted', jobId, epoch, pid, startedAtMs });
    },
    progress(jobId, epoch, text) {
      if (agent?.hasRoom() === true) say({ type: 'progress', jobId, epoch, text: text.slice(0, 256) });
    },
    outputGrew(jobId, epoch, stdoutBytes, stderrBytes) {
      Object.assign(toldOf(jobId, epoch), { stdoutBytes, stderrBytes });
      say({ type: 'grew', jobId, epoch, stdoutBytes, stderrBytes });
    },
    settled: ({ state }) => say({ type: 'settled', state }),
    ended: (result) => say({ type: 'ended', result }),
  };

  function changed(why: string): void {
    if (agent !== null) say({ type: 'offered', ...offered(), why });
  }

  /** All that an agent that knows nothing must know. */
  function tellAll(to: JobRoom): void {
    say({ type: 'welcome', version: RUNNER_PROTOCOL, ...identity, ...offered() });
    const held = to.held();
    for (let at = 0; at < held.length; at += JOBS_IN_A_PIECE)
      say({ type: 'jobs', held: held.slice(at, at + JOBS_IN_A_PIECE) });
    const present = new Set(held.map(({ jobId, epoch }) => `${jobId}.${epoch}`));
    for (const key of told.keys()) if (!present.has(key)) told.delete(key);
    for (const { jobId, epoch } of held) {
      const { started, stdoutBytes, stderrBytes } = toldOf(jobId, epoch);
      if (started !== null) say({ type: 'jobStarted', jobId, epoch, ...started });
      if (stdoutBytes + stderrBytes > 0) say({ type: 'grew', jobId, epoch, stdoutBytes, stderrBytes });
    }
    for (const result of to.unsettled()) say({ type: 'ended', result });
    say({ type: 'told' });
  }

  function connected(socket: Socket): void {
    let heardMs = clock.monotonicMs();
    let isGreeted = false;
    let requests = 0;
    const execs = new Map<string, Exec>();
    const timers: Timer[] = [
      clock.after(RUNNER_HELLO_MS, () => {
        if (!isGreeted) channel.close('it did not say who it is');
      }),
      every(clock, RUNNER_PING_MS, () => {
        if (clock.monotonicMs() - heardMs > RUNNER_SILENT_MS) channel.close('nothing came from it');
      }),
    ];
    const channel = createChannel(socket, {
      incoming(incoming) {
        heardMs = clock.monotonicMs();
        if (room === null) throw new Fault('RUNNER_NOT_READY', 'the job room is not open yet');
        receive(incoming, room);
      },
      ended(why, code) {
        leave();
        for (const exec of execs.values()) exec.close();
        execs.clear();
        if (agent === channel) {
          agent = null;
          log.warn({ code }, `the agent is away: ${why}; running jobs go on`);
        } else if (code !== null) log.warn({ code }, `a connection was refused: ${why}`);
      },
    });
    peers.add(channel);

    function leave(): void {
      for (const timer of timers) timer.cancel();
      peers.delete(channel);
    }

    function greet(message: AgentToRunner, to: JobRoom): void {
      if (message.type === 'files') {
        leave();
        const stream = channel.detach();
        if (!parts.files(message.ticket, stream)) stream.destroy();
        return;
      }
      if (message.type !== 'hello')
        throw new Fault('RUNNER_MESSAGE_UNEXPECTED', 'a message before the hello');
      if (message.version !== RUNNER_PROTOCOL) {
        channel.send({
          type: 'refused',
          code: 'RUNNER_VERSION',
          message: `this runner speaks version ${RUNNER_PROTOCOL}: restart it and the agent after an upgrade`,
        } satisfies RunnerToAgent);
        throw new Fault('RUNNER_VERSION', `it speaks version ${message.version}`);
      }
      isGreeted = true;
      agent?.close('another agent has come');
      agent = channel;
      log.info({}, 'an agent has come');
      tellAll(to);
    }

    function receive(incoming: Incoming, to: JobRoom): void {
      if (incoming.kind === 'message') {
        const message = parseAgentMessage(incoming.text);
        if (isGreeted) handle(message, to);
        else greet(message, to);
      } else if (incoming.kind === 'exec' && isGreeted) {
        const { execId, channel: of, bytes } = decodeExecFrame(incoming.frame);
        if (of !== 'stdin') throw new Fault('RUNNER_MESSAGE_UNEXPECTED', 'output from the agent');
        execs.get(execId)?.input(bytes);
      } else throw new Fault('RUNNER_MESSAGE_UNEXPECTED', 'a binary frame');
    }

    /** Work whose answer goes to this very connection. */
    function answer<T>(work: Promise<T> | T, give: (value: T) => void, fail: (error: unknown) => void): void {
      requests += 1;
      if (requests > MAX_RUNNER_REQUESTS)
        throw new Fault('RUNNER_TOO_MANY', 'more questions than are allowed');
      Promise.resolve(work)
        .then(give, fail)
        .catch((error: unknown) => channel.close(describeError(error)))
        .finally(() => {
          requests -= 1;
        });
    }

    function handle(message: AgentToRunner, to: JobRoom): void {
      switch (message.type) {
        case 'hello':
        case 'files':
          throw new Fault('RUNNER_MESSAGE_UNEXPECTED', `the message "${message.type}" after the hello`);
        case 'ping':
          channel.send({ type: 'pong', audit: room?.offered().audit ?? null } satisfies RunnerToAgent);
          return;
        case 'devices':
          devices.tell(message.vendors, message.devices);
          return;
        case 'order': {
          const { request } = message;
          const reply = (
            given: Pick<Extract<RunnerToAgent, { type: 'answer' }>, 'outcome' | 'code' | 'message'>,
          ) =>
            channel.send({
              type: 'answer',
              request,
              ...given,
              message: given.message?.slice(0, 1024) ?? null,
            });
          answer(to.order(message.order), reply, (error) => {
            log.error({ jobId: message.order.jobId }, `an order failed: ${describeError(error)}`);
            reply({ outcome: 'refused', code: 'RUNNER_ERROR', message: describeError(error) });
          });
          return;
        }
        case 'contact': {
          // On the clock of this process; nothing of the future prolongs a lease.
          const agoMs = Math.max(0, hostMonotonicMs() - message.sinceMs);
          to.contact(clock.monotonicMs() - agoMs, message.heartbeatMs);
          return;
        }
        case 'report': {
          const { request, jobId, epoch } = message;
          answer(
            to.report(jobId, epoch),
            (report) => {
              const whole = { type: 'reported', request, report } satisfies RunnerToAgent;
              const fits = Buffer.byteLength(JSON.stringify(report)) <= MAX_FRAME_BYTES;
              channel.send(
                fits || report === null ? whole : { ...whole, report: { ...report, result: null } },
              );
            },
            (error) => {
              throw error;
            },
          );
          return;
        }
        case 'read': {
          const { request, jobId, epoch, stream, offset, limit } = message;
          answer(
            to.readOutput(jobId, epoch, stream, offset, limit),
            (bytes) => channel.sendFrame(encodeOutput(request, bytes)),
            (error) => {
              log.warn({ jobId, stream }, `cannot read job output: ${describeError(error)}`);
              channel.sendFrame(encodeOutput(request, new Uint8Array(0)));
            },
          );
          return;
        }
        case 'acknowledged':
          to.acknowledged(message.jobId, message.epoch);
          told.delete(`${message.jobId}.${message.epoch}`);
          return;
        case 'delivered':
          to.delivered(message.jobId, message.epoch, message.stdoutBytes, message.stderrBytes);
          return;
        case 'deviceFailed':
          to.deviceFailed(message.ids, message);
          return;
        case 'energy': {
          questions.get(message.request)?.(message.answer as EnergyAnswer);
          questions.delete(message.request);
          return;
        }
        case 'keys':
          to.learnKeys(message.statements);
          return;
        case 'credential':
          to.learnCredential(message.credential);
          return;
        case 'exec':
        case 'signedExec':
          exec(message, to);
          return;
        case 'execResize':
          execs.get(message.execId)?.resize(message.rows, message.columns);
          return;
        case 'execSignal':
          execs.get(message.execId)?.signal(message.signal);
          return;
        case 'execCredit':
          execs.get(message.execId)?.outputTaken(message.bytes);
          return;
        case 'execStop':
          execs.get(message.execId)?.close();
          execs.delete(message.execId);
          return;
      }
    }

    function exec(order: Extract<AgentToRunner, { type: 'exec' | 'signedExec' }>, to: JobRoom): void {
      const { execId } = order;
      if (execs.has(execId)) throw new Fault('RUNNER_EXEC_TWICE', 'an exec that runs already');
      const tell = (message: RunnerToAgent): void => channel.send(message);
      execs.set(
        execId,
        to.exec(order, {
          started: (pid) => tell({ type: 'execStarted', execId, pid }),
          output: (stream, bytes) =>
            channel.sendFrame(encodeFrame(encodeExecFrame({ execId, channel: stream, bytes }))),
          inputTaken: (bytes) => tell({ type: 'execCredit', execId, bytes }),
          ended(end) {
            execs.delete(execId);
            tell({ type: 'execEnd', execId, ...end });
          },
        }),
      );
    }
  }

  return {
    events,
    energy(jobId, epoch) {
      if (agent === null) return Promise.resolve(AGENT_AWAY);
      lastQuestion = (lastQuestion + 1) % 0xffff_ffff;
      const request = lastQuestion;
      return new Promise((resolve) => {
        const timer = clock.after(ENERGY_DEADLINE_MS, () => give(AGENT_AWAY));
        const give = (answer: EnergyAnswer): void => {
          timer.cancel();
          questions.delete(request);
          resolve(answer);
        };
        questions.set(request, give);
        say({ type: 'energyAsked', request, jobId, epoch });
      });
    },
    open(opened) {
      room = opened;
    },
    connected,
    askFiles(ticket) {
      if (agent === null) return false;
      say({ type: 'filesAsked', ticket });
      return true;
    },
    changed,
    hasAgent: () => agent !== null,
    close() {
      for (const peer of [...peers]) peer.close('the runner stops');
    },
  };
}
