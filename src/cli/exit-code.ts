// How things ended, as exit codes. The table of docs and `--help`; see protocol/result.ts for the states.
//
//   0 ok · 1 failed at run time · 2 bad usage or configuration
//   run and wait: the job's own code; 128+n after signal n; 127 program missing, 126 not startable; 125 flopd
//   itself failed, or the job is LOST, so that its end is unknown; 130/143 after Ctrl-C/SIGTERM; 141 nobody reads
import { Fault } from '../base/fault.ts';
import type { JobView, MemberView } from '../protocol/api.ts';
import type { JobResult } from '../protocol/result.ts';
import type { StopSignal } from './context.ts';

export const exitCode = {
  ok: 0,
  failed: 1,
  usage: 2,
  timeLimit: 124,
  unknownEnd: 125,
  notStartable: 126,
  programMissing: 127,
  terminated: 143,
  outputClosed: 141,
} as const;

export function signalExitCode(signal: StopSignal): number {
  return signal === 'SIGINT' ? 130 : 143;
}

/** Exit code of a command that ended with this error. */
export function errorExitCode(error: unknown): number {
  if (!(error instanceof Fault)) return exitCode.failed;
  if (error.code === 'OUTPUT_CLOSED') return exitCode.outputClosed;
  return error.code === 'USAGE' || error.code.startsWith('CONFIG_') ? exitCode.usage : exitCode.failed;
}

/** Exit code of `run` and `wait` for a job that has ended. */
export function jobExitCode(job: {
  readonly state: JobView['state'];
  readonly result: Pick<JobResult, 'exitCode' | 'signal' | 'endKind' | 'cause'> | null;
}): number {
  const result = job.result;
  const own = result?.exitCode ?? (result?.signal == null ? null : 128 + result.signal);
  switch (job.state) {
    case 'COMPLETED':
      return own ?? exitCode.ok;
    case 'FAILED':
      return own || exitCode.failed;
    case 'OUT_OF_MEMORY':
      return own || 137;
    case 'FAILED_TO_START':
      if (result?.endKind === 'refused') return exitCode.unknownEnd;
      return programIsMissing(result?.cause ?? '') ? exitCode.programMissing : exitCode.notStartable;
    // A job that ends with 0 when it is told to stop has not done its work.
    case 'TIMEOUT':
      return own || exitCode.timeLimit;
    case 'CANCELLED':
      return own || exitCode.terminated;
    default:
      return exitCode.unknownEnd;
  }
}

/** The same for a job of an array. */
export function memberExitCode({ state, endKind, exitCode: own, signal, reason }: MemberView): number {
  const result = endKind === null ? null : { endKind, exitCode: own, signal, cause: reason };
  return jobExitCode({ state, result });
}

/** The result has no field for the errno of a failed start; its sentence ends with it (job/settle.ts). */
function programIsMissing(cause: string): boolean {
  return /^(?:failed to start: *)?"(?:[^"\\]|\\.)*": no such file or directory \(ENOENT\)/i.test(cause);
}
