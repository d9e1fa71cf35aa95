// Commands beside jobs that run elsewhere: handles here, messages to the runner. They end with the connection.
import type { Fault } from '../base/fault.ts';
import type { ExecMessage } from '../job/order-check.ts';
import { type Exec, type ExecEvents, type ExecFrame, encodeExecFrame, execPieces } from '../protocol/exec.ts';
import type { Channel } from './channel.ts';
import { encodeFrame } from './framing.ts';
import type { AgentToRunner, RunnerToAgent } from './protocol.ts';

export interface RemoteExecs {
  start(order: ExecMessage, events: ExecEvents): Exec;
  /** What the runner says of one; of any other it is ignored. */
  message(message: RunnerToAgent): void;
  frame(frame: ExecFrame): void;
  /** The connection has gone, and all of them with it. */
  lost(why: Fault): void;
}

/** `channel`: where the runner can be told something now, or null. */
export function createRemoteExecs(channel: () => Channel | null): RemoteExecs {
  const running = new Map<string, ExecEvents>();
  const say = (message: AgentToRunner): void => channel()?.send(message);
  const ended = (code: string, message: string) => ({ exitCode: null, signal: null, code, message });

  return {
    start(order, events) {
      const { execId } = order;
      if (channel() === null) {
        queueMicrotask(() =>
          events.ended(ended('RUNNER_AWAY', 'the job runner of this node does not answer')),
        );
        return { input() {}, resize() {}, signal() {}, outputTaken() {}, close() {} };
      }
      running.set(execId, events);
      say(order);
      const alive = (): boolean => running.get(execId) === events;
      return {
        input(bytes, proof) {
          if (!alive()) return;
          const send = (piece: Uint8Array): void =>
            channel()?.sendFrame(
              encodeFrame(encodeExecFrame({ execId, channel: 'stdin', bytes: piece, proof })),
            );
          // What is signed came in one frame, and is one piece.
          if (bytes.length === 0) send(bytes);
          for (const piece of execPieces(bytes)) send(piece);
        },
        resize(rows, columns, proof) {
          if (alive()) say({ type: 'execResize', execId, rows, columns, proof });
        },
        signal(signal, proof) {
          if (alive()) say({ type: 'execSignal', execId, signal, proof });
        },
        outputTaken(bytes) {
          if (alive()) say({ type: 'execCredit', execId, bytes });
        },
        close() {
          if (!alive()) return;
          running.delete(execId);
          say({ type: 'execStop', execId });
        },
      };
    },
    message(message) {
      switch (message.type) {
        case 'execStarted':
          running.get(message.execId)?.started(message.pid);
          return;
        case 'execCredit':
          running.get(message.execId)?.inputTaken(message.bytes);
          return;
        case 'execEnd': {
          const { execId, exitCode, signal, code, message: words } = message;
          const events = running.get(execId);
          running.delete(execId);
          events?.ended({ exitCode, signal, code, message: words });
          return;
        }
      }
    },
    frame({ execId, channel: stream, bytes }) {
      // The bytes are a view into what the socket read.
      if (stream !== 'stdin') running.get(execId)?.output(stream, Uint8Array.from(bytes));
    },
    lost({ code, message }) {
      const all = [...running.values()];
      running.clear();
      for (const events of all) events.ended(ended(code, message));
    },
  };
}
