// Jobs as rows and as fields.
import type { ArrayView, AttemptView, JobView } from '../protocol/api.ts';
import { memberName } from '../protocol/array.ts';
import { describeData } from '../protocol/data-policy.ts';
import { describeGap, storedGaps } from '../protocol/output-gap.ts';
import { type JobResult, type JobState, jobStates, type KeptOutput, type Usage } from '../protocol/result.ts';
import type { AcceleratorRequest, JobSpec } from '../protocol/spec.ts';
import { describeUsage, describeUsed } from './message.ts';
import type { TableColumn } from './table.ts';
import { ABSENT, clip, formatBytes, formatDecimal, formatSeconds, shellQuote } from './text.ts';

const GREEN = '32';
const RED = '31';
const YELLOW = '33';
const CYAN = '36';
/** In place of what is kept from all but the owner and operators. */
const NOT_SHOWN = 'not shown to you';
const INDICES_WIDTH = 24;
/** A command may be longer than any line; `flopd job ID` has all of it. */
const COMMAND_WIDTH = 120;

const stateColours: Readonly<Record<JobState, string>> = {
  PENDING: YELLOW,
  STARTING: CYAN,
  RUNNING: CYAN,
  COMPLETED: GREEN,
  FAILED: RED,
  FAILED_TO_START: RED,
  CANCELLED: YELLOW,
  TIMEOUT: RED,
  OUT_OF_MEMORY: RED,
  LOST: RED,
};

/** Seconds that the job has run until `nowMs`, or ran; null before its start. */
export function jobSeconds(job: JobView, nowMs: number): number | null {
  const measuredMs = job.result?.usage.durationMs;
  if (measuredMs !== undefined && measuredMs !== null) return measuredMs / 1000;
  if (job.startedAt === null) return null;
  const endMs = job.endedAt === null ? nowMs : Date.parse(job.endedAt);
  return Math.max(0, (endMs - Date.parse(job.startedAt)) / 1000);
}

/** The owner has a column where there are several of them. */
export function jobColumns(nowMs: number, jobs: readonly JobView[]): TableColumn<JobView>[] {
  const isOne = new Set(jobs.map(({ owner }) => owner)).size <= 1;
  return [
    { title: 'ID', cell: (job) => jobName({ ...job, members: clipIndices(job.members) }) },
    { title: 'STATE', cell: (job) => job.state, colour: (job) => stateColours[job.state] ?? null },
    { title: 'NAME', cell: (job) => job.name ?? ABSENT },
    { title: 'OWNER', wide: isOne, cell: (job) => job.owner ?? ABSENT },
    { title: 'NODE', cell: (job) => (job.members === null ? job.node?.name : null) ?? ABSENT },
    {
      title: 'TIME',
      align: 'right',
      cell: (job) => formatSeconds(job.members === null ? jobSeconds(job, nowMs) : null),
    },
    { title: 'CPUS', align: 'right', wide: true, cell: (job) => String(job.spec.resources.cpus) },
    {
      title: 'MEMORY',
      align: 'right',
      wide: true,
      cell: (job) => formatBytes(job.spec.resources.memoryBytes),
    },
    { title: 'DEVICES', wide: true, cell: (job) => job.devices.join(',') || ABSENT },
    { title: 'PRIORITY', align: 'right', wide: true, cell: (job) => String(job.spec.priority) },
    { title: 'SUBMITTED', wide: true, cell: (job) => job.submittedAt },
    { title: 'COMMAND', wide: true, cell: (job) => clip(commandLine(job), COMMAND_WIDTH) },
    { title: 'REASON', cell: (job) => job.reason },
  ];
}

/** `arr-ID[3]` for a job of an array, and `arr-ID[0-9]` where it stands for several. */
export function jobName({ id, array, members }: Pick<JobView, 'id' | 'array' | 'members'>): string {
  return array === null ? id : memberName(array.id, members ?? array.index);
}

/** A list of indices may be as long as the array. */
function clipIndices(members: string | null): string | null {
  return members === null ? null : clip(members, INDICES_WIDTH);
}

/** Everything about a job; the sentence why stands first. */
export function jobFields(job: JobView, nowMs: number): (readonly [string, string])[] {
  const { spec, result } = job;
  return [
    [job.state, job.reason],
    ['id', job.array === null ? job.id : `${job.id} (${jobName(job)}, one of ${job.array.size})`],
    ['name', job.name ?? ABSENT],
    ['owner', job.owner ?? ABSENT],
    ['command', commandLine(job)],
    ['node', job.node === null ? ABSENT : `${job.node.name} (${job.node.id})`],
    ['devices', job.devices.join(', ') || ABSENT],
    ['attempt', describeAttempt(job)],
    ...job.attempts.flatMap((past) => [
      [`attempt ${past.epoch}`, describePast(past)] as const,
      [`attempt ${past.epoch} used`, describePastUsage(past)] as const,
    ]),
    ['submitted', job.submittedAt],
    ['started', job.startedAt ?? ABSENT],
    ['ended', job.endedAt ?? ABSENT],
    ['duration', formatSeconds(jobSeconds(job, nowMs))],
    ['asked for', describeRequest(spec)],
    ...(spec.inputs.length === 0
      ? []
      : [
          [
            'inputs',
            spec.inputs.map(({ path, sizeBytes }) => `${path} (${formatBytes(sizeBytes)})`).join(', '),
          ] as const,
        ]),
    ...dataFields(job),
    ['directory', job.hidden ? NOT_SHOWN : (spec.workingDirectory ?? "the job's own workspace")],
    ['environment', Object.keys(spec.environment).join(' ') || 'none'],
    ['output', describeStored(job)],
    ...(result === null
      ? []
      : ([
          ['exit code', result.exitCode === null ? ABSENT : String(result.exitCode)],
          ['signal', result.signal === null ? ABSENT : String(result.signal)],
          ['stopped by', result.stoppedBy ?? ABSENT],
          ['used', describeUsage(job)],
          ['CPU time', cpuTime(result.usage)],
          ['peak memory', peakMemory(result.usage)],
          ['peak processes', String(result.usage.processesPeak ?? ABSENT)],
          ['limits held by', listOf(result.limits)],
          ['walls', listOf(result.isolation)],
          ...result.outputs.map((output) => [`output ${output.path}`, describeOutput(output)] as const),
          ...(result.workspace === null ? [] : [['workspace kept', keptUntil(result.workspace)] as const]),
        ] as const)),
    ...(job.cancelRequested && job.endedAt === null ? [['cancel', 'requested'] as const] : []),
  ];
}

/** `personal data of CN-GD (Shenzhen), may be in CN-GD, HK, filing 17 until 2027-03-31`, and by which rule it is there. */
function dataFields({ spec: { data }, dataRule, hidden }: JobView): (readonly [string, string])[] {
  if (data === null || data === undefined) return [];
  const parts = [
    `${describeData(data)}${data.originCity === null ? '' : ` (${data.originCity})`}`,
    `may be in ${(data.allowed ?? [data.origin]).join(', ')}`,
    ...(hidden ? [`a filing is ${NOT_SHOWN}`] : []),
    ...(data.filing === null ? [] : [`filing ${data.filing.number} until ${data.filing.expiresAt}`]),
    ...(data.egress === 'none' ? ['no egress'] : []),
  ];
  return [['data', parts.join(', ')], ...(dataRule === null ? [] : [['data rule', dataRule] as const])];
}

/** `1.00 MiB stdout, 0 B stderr; 3.20 GB of stdout left out by its quota`, or why it is not kept any more. */
function describeStored({ stdoutBytes, stderrBytes, outputRemoved, result }: JobView): string {
  if (outputRemoved !== null) return outputRemoved;
  const gaps = storedGaps(result?.gaps ?? []).map((gap) =>
    describeGap(gap, null, (bytes) => formatDecimal(bytes, 'B')),
  );
  return [`${formatBytes(stdoutBytes)} stdout, ${formatBytes(stderrBytes)} stderr`, ...gaps].join('; ');
}

/** An array in sum: how its jobs stand, and which. */
export function arrayFields(array: ArrayView): (readonly [string, string])[] {
  const { spec } = array;
  return [
    [array.ended ? 'ENDED' : 'ARRAY', array.reason],
    ['id', array.id],
    ['name', array.name ?? ABSENT],
    ['owner', array.owner ?? ABSENT],
    ['command', commandLine(array)],
    ['jobs', `${array.size}, ${memberName(array.id, `${spec.array?.first}-${spec.array?.last}`)}`],
    ...jobStates.flatMap((state) => {
      const indices = array.indices[state];
      return indices === undefined ? [] : [[state, indices] as const];
    }),
    ['submitted', array.submittedAt],
    ['each asked for', describeRequest(spec)],
    ['see one', `flopd job ${array.id}.${spec.array?.first}`],
  ];
}

function describeRequest(spec: JobSpec): string {
  const { accelerators, cpus, memoryBytes } = spec.resources;
  return [
    cpus === 1 ? '1 CPU' : `${cpus} CPUs`,
    memoryBytes === null ? 'no memory reserved' : formatBytes(memoryBytes),
    ...(accelerators === null ? [] : [describeAccelerators(accelerators)]),
    spec.timeLimitMs === null ? 'no time limit' : `time limit ${formatSeconds(spec.timeLimitMs / 1000)}`,
    `priority ${spec.priority}`,
    ...describeLimits(spec),
    ...describePolicies(spec),
  ].join(', ');
}

function describeAttempt({ epoch, retries, spec }: JobView): string {
  return spec.retry.times === 0 ? String(epoch) : `${epoch} (retry ${retries} of ${spec.retry.times})`;
}

/** `LOST on node-a after 2.00s: the node was rebooted`. */
function describePast({ state, node, cause, startedAt, endedAt }: AttemptView): string {
  const ranMs = startedAt === null || endedAt === null ? null : Date.parse(endedAt) - Date.parse(startedAt);
  const after = ranMs === null ? '' : ` after ${formatSeconds(Math.max(0, ranMs) / 1000)}`;
  return `${state} on ${node.name}${after}${cause === '' ? '' : `: ${cause}`}`;
}

function describePastUsage({ usage }: AttemptView): string {
  if (usage === undefined) return 'not kept by this scheduler';
  const { durationMs, cpuUserSeconds, memoryPeakBytes, maxResidentBytes } = usage;
  const isUnknown = [durationMs, cpuUserSeconds, memoryPeakBytes ?? maxResidentBytes].every(
    (value) => value === null,
  );
  if (isUnknown) return `unknown: ${usage.absent.durationMs ?? 'nobody says why'}`;
  return `${describeUsed(usage)}; CPU time ${cpuTime(usage)}; peak memory ${peakMemory(usage)}`;
}

function cpuTime({ cpuUserSeconds, cpuSystemSeconds }: Usage): string {
  return `${formatSeconds(cpuUserSeconds)} user, ${formatSeconds(cpuSystemSeconds)} system`;
}

function describePolicies({ dependencies, retry, checkpoint, disconnect, array }: JobSpec): string[] {
  const parts = dependencies.map(({ job, condition }) => `after ${job} has ${condition}`);
  if (retry.times > 0) parts.push(`${retry.times} retries after ${retry.on.join(' or ')}`);
  if (checkpoint !== null)
    parts.push(`${checkpoint.signal} ${formatSeconds(checkpoint.beforeMs / 1000)} before its time limit`);
  if (disconnect.policy === 'stop')
    parts.push(`stopped ${formatSeconds(disconnect.afterMs / 1000)} after its node lost the scheduler`);
  if (array !== null && array.maxRunning !== null) parts.push(`${array.maxRunning} of its array at a time`);
  return parts;
}

/** What it asked for besides, only where it did. */
function describeLimits({ resources, network, outputQuotaBytes }: JobView['spec']): string[] {
  const { processes, diskReadBytesPerSecond, diskWriteBytesPerSecond } = resources;
  return [
    ...(processes === null ? [] : [`at most ${processes} processes`]),
    ...(diskReadBytesPerSecond === null ? [] : [`${formatBytes(diskReadBytesPerSecond)}/s from disk`]),
    ...(diskWriteBytesPerSecond === null ? [] : [`${formatBytes(diskWriteBytesPerSecond)}/s to disk`]),
    ...(outputQuotaBytes === null ? [] : [`${formatBytes(outputQuotaBytes)} of each output`]),
    ...(network === 'none' ? ['no network'] : []),
  ];
}

/** Of all its processes together where a control group counted them, else of the largest. */
function peakMemory({ memoryPeakBytes, maxResidentBytes }: Usage): string {
  if (memoryPeakBytes === null) return `${formatBytes(maxResidentBytes)} (its largest process)`;
  return `${formatBytes(memoryPeakBytes)} (largest process ${formatBytes(maxResidentBytes)})`;
}

function listOf(words: Readonly<Record<string, string>>): string {
  const list = Object.entries(words).map(([name, text]) => `${name}: ${text}`);
  return list.length === 0 ? ABSENT : list.join(', ');
}

/** `2 accelerators (ascend), 60.0 GiB each, shared`. */
function describeAccelerators({ count, match, memoryBytes, partition, shared }: AcceleratorRequest): string {
  const what =
    partition === null ? 'accelerator' : partition === 'any' ? 'partition' : `${partition} partition`;
  const parts = [`${count} ${what}${count === 1 ? '' : 's'}${match === null ? '' : ` (${match})`}`];
  if (memoryBytes !== null) parts.push(`${formatBytes(memoryBytes)} each`);
  if (shared) parts.push('shared');
  return parts.join(', ');
}

function commandLine(job: Pick<JobView, 'spec' | 'hidden' | 'owner'>): string {
  if (job.hidden) return `not shown: it is ${job.owner === null ? 'not yours' : `${job.owner}'s`}`;
  return job.spec.command.map(shellQuote).join(' ');
}

function describeOutput({ kind, digest, sizeBytes, problem }: KeptOutput): string {
  if (digest === null) return `not kept: ${problem ?? 'nobody says why'}`;
  const what = `${kind === 'tree' ? 'folder' : 'file'}, ${formatBytes(sizeBytes)}, SHA-256 ${digest}`;
  return problem === null ? what : `${what}; ${problem}`;
}

function keptUntil({ path, untilMs }: NonNullable<JobResult['workspace']>): string {
  return `${path} on its node, until ${new Date(untilMs).toISOString()}`;
}
