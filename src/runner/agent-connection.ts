// One connection to the runner, from its first word: an agent, or one that carries files. Checks what it says, hands it to
// the job room, and gives the answers back. What does not fit ends this connection and nothing else.
import type { Socket } from 'node:net';
import { type Clock, every, type Timer } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { EnergyAnswer } from '../job/settle.ts';
import { MAX_FRAME_BYTES } from '../protocol/control.ts';
import { isRungAtLeast } from '../protocol/device.ts';
import { decodeExecFrame, type Exec, encodeExecFrame } from '../protocol/exec.ts';
import { type Channel, createChannel } from './channel.ts';
import { encodeFrame, encodeOutput, type Incoming } from './framing.ts';
import type { JobRoom } from './job-room.ts';
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
  type ToldDevice,
} from './protocol.ts';
import type { ToldDevices } from './told-devices.ts';

export interface ConnectionParts {
  /** Null until it is open. */
  readonly room: () => JobRoom | null;
  readonly devices: ToldDevices;
  /** A connection that is to carry HTTP for files; false for a ticket that nobody waits for. */
  readonly files: (ticket: string, socket: Socket) => boolean;
  /** It is an agent, and wants to know all. */
  greeted(channel: Channel, room: JobRoom): void;
  /** It is none any more. `code`: of the fault that ended it, or null. */
  gone(channel: Channel, why: string, code: string | null): void;
  acknowledged(jobId: string, epoch: number): void;
  energyTold(request: number, answer: EnergyAnswer): void;
  readonly clock: Clock;
  readonly log: Log;
}

export function openConnection(socket: Socket, parts: ConnectionParts): Channel {
  const { clock, log, devices } = parts;
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
      const room = parts.room();
      if (room === null) throw new Fault('RUNNER_NOT_READY', 'the job room is not open yet');
      receive(incoming, room);
    },
    ended(why, code) {
      leave();
      for (const exec of execs.values()) exec.close();
      execs.clear();
      parts.gone(channel, why, code);
    },
  });

  function leave(): void {
    for (const timer of timers) timer.cancel();
  }

  function greet(message: AgentToRunner, to: JobRoom): void {
    if (message.type === 'files') {
      leave();
      const stream = channel.detach();
      parts.gone(channel, 'it carries files', null);
      if (!parts.files(message.ticket, stream)) stream.destroy();
      return;
    }
    if (message.type !== 'hello') throw new Fault('RUNNER_MESSAGE_UNEXPECTED', 'a message before the hello');
    if (message.version !== RUNNER_PROTOCOL) {
      channel.send({
        type: 'refused',
        code: 'RUNNER_VERSION',
        message: `this runner speaks version ${RUNNER_PROTOCOL}: restart it and the agent after an upgrade`,
      } satisfies RunnerToAgent);
      throw new Fault('RUNNER_VERSION', `it speaks version ${message.version}`);
    }
    isGreeted = true;
    parts.greeted(channel, to);
  }

  function receive(incoming: Incoming, to: JobRoom): void {
    if (incoming.kind === 'message') {
      const message = parseAgentMessage(incoming.text);
      if (isGreeted) handle(message, to);
      else greet(message, to);
    } else if (incoming.kind === 'exec' && isGreeted) {
      const { execId, channel: of, bytes, proof } = decodeExecFrame(incoming.frame);
      if (of !== 'stdin') throw new Fault('RUNNER_MESSAGE_UNEXPECTED', 'output from the agent');
      execs.get(execId)?.input(bytes, proof);
    } else throw new Fault('RUNNER_MESSAGE_UNEXPECTED', 'a binary frame');
  }

  /** Work whose answer goes to this very connection. */
  function answer<T>(work: Promise<T> | T, give: (value: T) => void, fail: (error: unknown) => void): void {
    requests += 1;
    if (requests > MAX_RUNNER_REQUESTS) throw new Fault('RUNNER_TOO_MANY', 'more questions than are allowed');
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
        pong(to);
        return;
      case 'devices':
        devices.tell(message.vendors, message.devices);
        failDevices(message.devices, to);
        return;
      case 'order': {
        const { request } = message;
        const reply = (
          given: Pick<Extract<RunnerToAgent, { type: 'answer' }>, 'outcome' | 'code' | 'message'>,
        ) => {
          channel.send({
            type: 'answer',
            request,
            ...given,
            message: given.message?.slice(0, 1024) ?? null,
          });
          if (given.outcome === 'refused') pong(to);
        };
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
            channel.send(fits || report === null ? whole : { ...whole, report: { ...report, result: null } });
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
        parts.acknowledged(message.jobId, message.epoch);
        return;
      case 'delivered':
        to.delivered(message.jobId, message.epoch, message.stdoutBytes, message.stderrBytes);
        return;
      case 'deviceFailed':
        to.deviceFailed(message.ids, message);
        return;
      case 'energy':
        parts.energyTold(message.request, message.answer as EnergyAnswer);
        return;
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
        execs.get(message.execId)?.resize(message.rows, message.columns, message.proof);
        return;
      case 'execSignal':
        execs.get(message.execId)?.signal(message.signal, message.proof);
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

  function pong(to: JobRoom): void {
    const refusing = to.problem()?.slice(0, 1024) ?? null;
    channel.send({ type: 'pong', audit: to.offered().audit, refusing } satisfies RunnerToAgent);
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

  return channel;
}

/** Ends jobs on devices that have failed: the agent may have said so while one of the two was away. */
function failDevices(devices: readonly ToldDevice[], room: JobRoom): void {
  for (const { id, rung, faults } of devices) {
    const [fault] = faults;
    if (isRungAtLeast(rung, 'stopJobs') && fault !== undefined) room.deviceFailed([id], fault);
  }
}
