// Arrays as clients see them: how their jobs stand, in sum, by index, and in lists.
import type { ArrayView, MemberView } from '../protocol/api.ts';
import { formatIndices, memberId } from '../protocol/array.ts';
import { finalStates, isFinalState, type JobState, jobStates } from '../protocol/result.ts';
import { describeJob, stamp, type ViewParts } from './job-view.ts';
import type { ArrayTally, JobRecord, Queue } from './queue/queue.ts';
import { list } from './words.ts';

export interface ArrayViewParts extends ViewParts {
  readonly queue: Pick<Queue, 'failure' | 'job' | 'array' | 'jobs' | 'node'>;
}

/** Null for an unknown array. */
export function arrayView(id: string, parts: ArrayViewParts): ArrayView | null {
  const { queue } = parts;
  const tally = queue.array(id);
  const first = tally === null ? null : queue.job(memberId(id, tally.first));
  if (tally === null || first === null) return null;
  const counts = Object.fromEntries(jobStates.map((state) => [state, tally.count(state)]));
  return {
    id,
    name: first.spec.name,
    reason: describeArray(tally, parts),
    spec: first.spec,
    hidden: false,
    owner: first.owner,
    size: tally.size,
    counts: counts as Record<JobState, number>,
    indices: indicesByState(tally),
    submittedAt: stamp(first.submittedAtMs) ?? new Date(0).toISOString(),
    ended: endedJobs(tally) === tally.size,
  };
}

function endedJobs(tally: ArrayTally): number {
  return finalStates.reduce((sum, state) => sum + tally.count(state), 0);
}

function indicesByState(tally: ArrayTally): Partial<Record<JobState, string>> {
  const indices: Partial<Record<JobState, string>> = {};
  for (const state of jobStates) {
    if (tally.count(state) > 0) indices[state] = formatIndices(indicesIn(tally, state));
  }
  return indices;
}

function* indicesIn(tally: ArrayTally, state: JobState): Iterable<number> {
  for (let index = tally.first; index <= tally.last; index += 1) {
    if (tally.state(index) === state) yield index;
  }
}

function describeArray(tally: ArrayTally, parts: ArrayViewParts): string {
  const words: Readonly<Record<JobState, string>> = {
    PENDING: 'wait',
    STARTING: 'start',
    RUNNING: 'run',
    COMPLETED: 'completed',
    FAILED: 'failed',
    FAILED_TO_START: 'failed to start',
    CANCELLED: 'were cancelled',
    TIMEOUT: 'reached their time limit',
    OUT_OF_MEMORY: 'ran out of memory',
    LOST: 'were lost',
  };
  const present = jobStates.filter((state) => tally.count(state) > 0).reverse();
  const stand = list(
    present.map((state) => `${tally.count(state)} ${words[state]}`),
    jobStates.length,
  );
  const sentence = `${endedJobs(tally)} of ${tally.size} jobs have ended: ${stand}`;
  const [waiting] = parts.queue.jobs({ array: tally.id, state: 'PENDING', limit: 1 });
  if (waiting === undefined) return sentence;
  return `${sentence}; ${waiting.array?.index} is ${describeJob(waiting, parts)}`;
}

/** Those of the indices that there are. */
export async function memberViews(
  id: string,
  indices: readonly number[],
  parts: ArrayViewParts,
): Promise<MemberView[]> {
  const views: MemberView[] = [];
  for (const index of indices) {
    const job = parts.queue.job(memberId(id, index));
    if (job?.array === null || job === null) continue;
    views.push(await memberView(job, index, parts));
  }
  return views;
}

async function memberView(job: JobRecord, index: number, parts: ArrayViewParts): Promise<MemberView> {
  const { id, state, epoch, result } = job;
  const nothing = { stdoutBytes: 0, stderrBytes: 0 };
  const { stdoutBytes, stderrBytes } = epoch === 0 ? nothing : await parts.output.lengths(id, epoch);
  return {
    index,
    id,
    state,
    reason: describeJob(job, parts),
    epoch,
    endKind: result?.endKind ?? null,
    exitCode: result?.exitCode ?? null,
    signal: result?.signal ?? null,
    // What its node has counted may still be on its way.
    stdoutBytes: Math.max(stdoutBytes, result?.stdoutBytes ?? 0),
    stderrBytes: Math.max(stderrBytes, result?.stderrBytes ?? 0),
  };
}

/** The rows of a list, newest first: of each array one for those in the same state, and each that is with a node. */
export function* groupedRows(
  filter: { readonly state?: JobState; readonly limit: number },
  queue: Pick<Queue, 'job' | 'array' | 'jobs'>,
): Iterable<{ readonly job: JobRecord; readonly members: string | null }> {
  let left = filter.limit;
  for (const unit of queue.jobs({ ...filter, grouped: true })) {
    for (const row of unit.array === null
      ? [{ job: unit, members: null }]
      : arrayRows(unit.array.id, filter, queue)) {
      if (left === 0) return;
      left -= 1;
      yield row;
    }
  }
}

function* arrayRows(
  id: string,
  { state: wanted, limit }: { readonly state?: JobState; readonly limit: number },
  queue: Pick<Queue, 'job' | 'array' | 'jobs'>,
): Iterable<{ readonly job: JobRecord; readonly members: string | null }> {
  const tally = queue.array(id);
  if (tally === null) return;
  for (const state of jobStates) {
    const count = tally.count(state);
    if (count === 0 || (wanted !== undefined && state !== wanted)) continue;
    const isTogether = count > 1 && (state === 'PENDING' || isFinalState(state));
    const jobs = queue.jobs({ array: id, state, limit: isTogether ? 1 : limit });
    const members = isTogether ? formatIndices(indicesIn(tally, state)) : null;
    for (const job of jobs) yield { job, members };
  }
}
