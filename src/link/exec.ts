// Commands beside running jobs on their way through the link: messages and frames of one session to handles of the
// job room, and back. They live no longer than the session.
import { Fault } from '../base/fault.ts';
import {
  decodeExecFrame,
  type Exec,
  type ExecAgentMessage,
  type ExecEvents,
  type ExecOrder,
  type ExecSchedulerMessage,
  encodeExecFrame,
} from '../protocol/exec.ts';
import type { SignedExec } from '../protocol/order.ts';

export type ExecHandler = (order: ExecOrder | SignedExec, events: ExecEvents) => Exec;

export interface ExecFlow {
  message(message: ExecSchedulerMessage | SignedExec): void;
  /** A binary frame of kind exec. Throws a Fault LINK_FRAME_* for one that is none. */
  frame(frame: Uint8Array): void;
  /** The session has ended: so do all of them. */
  end(): void;
  running(): number;
}

/** Messages about one that has ended cross its end on the way: they are dropped. */
export function createExecFlow(handle: ExecHandler, send: (data: string | Uint8Array) => void): ExecFlow {
  const execs = new Map<string, Exec>();

  const say = (message: ExecAgentMessage): void => send(JSON.stringify(message));

  function start(order: ExecOrder | SignedExec): void {
    const { execId } = order;
    if (execs.has(execId))
      throw new Fault('LINK_EXEC_TWICE', 'an exec that runs already', { field: 'execId' });
    const exec = handle(order, {
      started: (pid) => say({ type: 'execStarted', execId, pid }),
      output: (channel, bytes) => send(encodeExecFrame({ execId, channel, bytes })),
      inputTaken: (bytes) => say({ type: 'execCredit', execId, bytes }),
      ended(end) {
        execs.delete(execId);
        say({ type: 'execEnd', execId, ...end });
      },
    });
    execs.set(execId, exec);
  }

  return {
    message(message) {
      if (message.type === 'exec' || message.type === 'signedExec') {
        start(message);
        return;
      }
      const exec = execs.get(message.execId);
      if (exec === undefined) return;
      switch (message.type) {
        case 'execResize':
          exec.resize(message.rows, message.columns, message.proof);
          return;
        case 'execSignal':
          exec.signal(message.signal, message.proof);
          return;
        case 'execCredit':
          exec.outputTaken(message.bytes);
          return;
        case 'execStop':
          execs.delete(message.execId);
          exec.close();
          return;
      }
    },
    frame(frame) {
      const { execId, channel, bytes, proof } = decodeExecFrame(frame);
      if (channel !== 'stdin')
        throw new Fault('LINK_FRAME_RANGE', 'an exec frame of output', { field: 'channel' });
      execs.get(execId)?.input(bytes, proof);
    },
    end() {
      const all = [...execs.values()];
      execs.clear();
      for (const exec of all) exec.close();
    },
    running: () => execs.size,
  };
}
