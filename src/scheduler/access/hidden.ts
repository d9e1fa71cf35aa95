// What those see of a job who may only see that it is there: who, where, how much, how long; nothing of what it computes.
// Left out are the command, values of the environment, names of files, and sentences that may quote them. Digests above
// all: whoever names one gets the file.
import type { ArrayView, JobView, MemberView } from '../../protocol/api.ts';
import { isFinalState, type JobState } from '../../protocol/result.ts';
import type { JobSpec } from '../../protocol/spec.ts';

/** `waiting`: why it waits, where it does. */
export function hideJob(job: JobView, waiting: string | null): JobView {
  const { result, attempts, spec } = job;
  // Sentences about its data quote the number of a filing.
  const isQuoting = spec.data?.filing != null;
  return {
    ...job,
    hidden: true,
    reason: (isQuoting ? null : waiting) ?? plainReason(job.state, job.node?.name ?? null),
    spec: hideSpec(spec),
    dataRule: isQuoting ? null : job.dataRule,
    attempts: attempts.map((past) => ({ ...past, cause: '' })),
    result: result === null ? null : { ...result, cause: '', outputs: [], workspace: null },
  };
}

export function hideArray(array: ArrayView): ArrayView {
  const [sentence = ''] = array.reason.split('; ', 1);
  return { ...array, hidden: true, reason: sentence, spec: hideSpec(array.spec) };
}

export function hideMember(member: MemberView): MemberView {
  return { ...member, reason: plainReason(member.state, null) };
}

function hideSpec(spec: JobSpec): JobSpec {
  const environment = Object.fromEntries(Object.keys(spec.environment).map((name) => [name, '']));
  const { data } = spec;
  return {
    ...spec,
    command: [],
    environment,
    image: null,
    workingDirectory: null,
    inputs: [],
    outputs: [],
    ...(data == null ? {} : { data: { ...data, filing: null } }),
  };
}

function plainReason(state: JobState, node: string | null): string {
  const where = node === null ? '' : ` on ${node}`;
  if (isFinalState(state)) return `ended${where} as ${state}`;
  if (state === 'PENDING') return 'waits';
  return state === 'RUNNING' ? `runs${where}` : `starts${where}`;
}
