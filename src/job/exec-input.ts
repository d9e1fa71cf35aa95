// The door for what is typed into a command beside a job: let in as the scheduler signed it, in its order, or the command
// is ended. Only where its order named a key; others come from schedulers that sign orders alone.
import { describeError, type Fault } from '../base/fault.ts';
import type { Exec, ExecEvents } from '../protocol/exec.ts';
import { createInputVerifier, type ExecInput, type InputProof } from '../protocol/exec-input.ts';

export interface GuardedExec {
  readonly execId: string;
  /** From its order. */
  readonly inputKey: string;
  readonly events: ExecEvents;
  /** Starts what is guarded. */
  readonly start: (events: ExecEvents) => Exec;
  /** Told once, when the command has been ended for it. */
  readonly refused: (fault: Fault) => void;
}

/** Throws a Fault JOB_ORDER_UNFIT, before anything is started, for a key that is none. */
export function guardExec({ execId, inputKey, events, start, refused }: GuardedExec): Exec {
  const verifier = createInputVerifier(execId, inputKey);
  let isOver = false;
  const exec = start({
    ...events,
    ended(end) {
      isOver = true;
      events.ended(end);
    },
  });

  function isLetIn(input: ExecInput, proof: InputProof | undefined): boolean {
    if (isOver) return false;
    const fault = verifier.problem(input, proof);
    if (fault === null) return true;
    isOver = true;
    exec.close();
    refused(fault);
    const message = describeError(fault).slice(0, 1024);
    events.ended({ exitCode: null, signal: null, code: fault.code, message });
    return false;
  }

  return {
    input(bytes, proof) {
      if (isLetIn({ kind: 'input', bytes }, proof)) exec.input(bytes);
    },
    resize(rows, columns, proof) {
      if (isLetIn({ kind: 'resize', rows, columns }, proof)) exec.resize(rows, columns);
    },
    signal(signal, proof) {
      if (isLetIn({ kind: 'signal', signal }, proof)) exec.signal(signal);
    },
    outputTaken: (bytes) => exec.outputTaken(bytes),
    close() {
      isOver = true;
      exec.close();
    },
  };
}
