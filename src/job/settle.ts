// The one result record of an attempt, from the facts of its end. Pure, and the same facts give the same record, so
// that it can be made again after a crash. The rule for states is in verdict.ts.
import type { StartOrder } from '../protocol/control.ts';
import type { JobResult, KeptOutput, Usage } from '../protocol/result.ts';
import type { Granted, Stop, Walled } from './book.ts';
import { clip } from './cause.ts';
import { heldLimits } from './containment/limits.ts';
import type { ProcessEnd } from './executor/executor.ts';
import type { MeterReading } from './meter.ts';
import { usageOf } from './usage.ts';
import { decideVerdict } from './verdict.ts';

const CAUSE_CHARACTERS_MAX = 1000;

/** Energy attributed to a job, in joules, or why nobody knows it. */
export type EnergyAnswer = (
  | { readonly joules: number; readonly method?: string | undefined }
  | { readonly absent: string }
) & {
  /** What its devices did, for a job that does not count itself; absent for one without devices. */
  readonly devices?:
    | { readonly flop: number; readonly method: Usage['flopMethod'] }
    | { readonly absent: string };
};

export interface SettleFacts {
  readonly jobId: string;
  readonly epoch: number;
  readonly nodeId: string;
  /** Null when the order itself was lost by damage to the journal. */
  readonly order: StartOrder | null;
  readonly granted: Granted | null;
  /** How it was walled in and limited; null where that is not known. */
  readonly walled: Walled | null;
  /** Most bytes of each stream that were kept; null for no limit. */
  readonly outputQuotaBytes: number | null;
  readonly end: ProcessEnd;
  /** The first stop order, if there was one. */
  readonly stop: Stop | null;
  /** Null when there is no meter file; a string when it cannot be read. */
  readonly meter: MeterReading | string | null;
  /** Energy attributed to the job, or why there is none. */
  readonly energy: EnergyAnswer;
  /** What was kept of its workspace. */
  readonly outputs?: readonly KeptOutput[];
  /** Its workspace, where it lies. */
  readonly workspace?: string;
}

function keptWorkspace(
  { order, end, workspace }: SettleFacts,
  state: JobResult['state'],
): JobResult['workspace'] {
  if (order === null || workspace === undefined) return null;
  const { when, forMs } = order.spec.keepWorkspace;
  const keeps = when === 'always' || (when === 'failed' && state !== 'COMPLETED');
  return keeps && forMs > 0 ? { path: workspace, untilMs: end.endedAtMs + forMs } : null;
}

/** Which mechanism held each limit that the job was under. */
function limitsOf({ order, granted, walled, outputQuotaBytes, end }: SettleFacts): Record<string, string> {
  const planned = walled === null ? { cpus: 'none', memory: 'none' } : walled.limits;
  const limits = heldLimits(planned, end.refusedLimits);
  if (granted !== null)
    limits.devices =
      walled?.isolation.devices?.startsWith('granted') === true ? 'device nodes' : 'environment';
  if (order !== null && order.spec.timeLimitMs !== null) limits.timeLimit = 'shim';
  if (outputQuotaBytes !== null) limits.output = 'shim';
  return limits;
}

export function settleJob(facts: SettleFacts): JobResult {
  const { end } = facts;
  const verdict = decideVerdict(facts);
  return {
    version: 1,
    jobId: facts.jobId,
    epoch: facts.epoch,
    nodeId: facts.nodeId,
    ...verdict,
    cause: clip(verdict.cause, CAUSE_CHARACTERS_MAX),
    exitCode: end.exitCode,
    signal: end.signal,
    startedAtMs: end.startedAtMs,
    endedAtMs: end.endedAtMs,
    usage: usageOf(facts),
    limits: limitsOf(facts),
    isolation: { ...facts.walled?.isolation },
    outOfMemory: end.outOfMemory,
    gaps: [...end.gaps],
    outputs: [...(facts.outputs ?? [])],
    workspace: keptWorkspace(facts, verdict.state),
    stdoutBytes: end.stdoutBytes,
    stderrBytes: end.stderrBytes,
  };
}
