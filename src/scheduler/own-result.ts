// Results that the scheduler itself has to write, for attempts of which no agent will tell the end: the node lost
// the job, refused it, or never got the order. Same shape as an agent's; what nobody measured is absent.
import type { JobResult, Usage } from '../protocol/result.ts';
import type { JobRecord } from './queue/queue.ts';

export interface OwnEnd {
  readonly state: 'LOST' | 'CANCELLED' | 'FAILED_TO_START';
  readonly endKind: 'lost' | 'stopped' | 'refused' | 'disconnected';
  readonly cause: string;
  readonly stoppedBy: string | null;
}

const measured = [
  'durationMs',
  'cpuUserSeconds',
  'cpuSystemSeconds',
  'maxResidentBytes',
  'deviceSeconds',
  'energyJoules',
  'flop',
  'achievedFlops',
  'flopMethod',
] as const;

/** `job` has been ordered at least once. `lengths` is the output that the scheduler holds. */
export function createOwnResult(
  job: JobRecord,
  end: OwnEnd,
  endedAtMs: number,
  lengths: { readonly stdoutBytes: number; readonly stderrBytes: number },
): JobResult {
  const why = end.state === 'LOST' ? 'lost: no agent knows how the job ended' : 'the job never ran';
  return {
    version: 1,
    jobId: job.id,
    epoch: job.epoch,
    nodeId: job.nodeId ?? '',
    state: end.state,
    endKind: end.endKind,
    exitCode: null,
    signal: null,
    stoppedBy: end.stoppedBy,
    cause: end.cause.slice(0, 1024),
    startedAtMs: job.startedAtMs,
    endedAtMs,
    usage: nothingUsed(why),
    limits: {},
    isolation: {},
    outOfMemory: null,
    gaps: [],
    outputs: [],
    workspace: null,
    stdoutBytes: lengths.stdoutBytes,
    stderrBytes: lengths.stderrBytes,
  };
}

/** Nobody measured anything. */
export function nothingUsed(why: string): Usage {
  const absent: Record<string, string> = {};
  for (const name of measured) absent[name] = why;
  return {
    durationMs: null,
    cpuUserSeconds: null,
    cpuSystemSeconds: null,
    maxResidentBytes: null,
    memoryPeakBytes: null,
    processesPeak: null,
    deviceSeconds: null,
    energyJoules: null,
    energyMethod: null,
    flop: null,
    achievedFlops: null,
    flopMethod: null,
    absent,
  };
}

export function lost(cause: string): OwnEnd {
  return { state: 'LOST', endKind: 'lost', stoppedBy: null, cause };
}

export function cancelledUnstarted(job: JobRecord, when: string): OwnEnd {
  const cause = `cancelled by ${job.cancelBy ?? 'scheduler'} ${when}`;
  return { state: 'CANCELLED', endKind: 'stopped', stoppedBy: job.cancelBy, cause };
}
