// What holds which limit of a job. Pure: what is asked for and what the host has in; plans of control groups, limits
// of processes and the words for the result out. A limit that nothing holds is called `none`, never left out.
//
// Rejected: RLIMIT_AS for memory (CUDA and Java reserve far more addresses than memory), RLIMIT_NPROC for jobs of the
// agent's own user (it counts all processes of that user, the agent's with them).
import type { JobSpec } from '../../protocol/spec.ts';
import type { CgroupPlan } from '../executor/executor.ts';
import type { CgroupBase, CgroupFacts } from './cgroup-host.ts';

/** The disk that holds the workspaces, or why its throughput cannot be limited. */
export type Disk = { readonly number: string } | { readonly problem: string };

export interface LimitRequest {
  /** Name of the attempt's groups. */
  readonly name: string;
  readonly resources: JobSpec['resources'];
  /** Processes of a job that asks for no number. */
  readonly processes: number;
  readonly cgroups: CgroupFacts;
  readonly disk: Disk;
  /** The job has a user of its own. */
  readonly ownUser: boolean;
}

export interface LimitPlan {
  readonly cgroups: readonly CgroupPlan[];
  readonly rlimits: Readonly<Record<string, number>>;
  readonly limits: Readonly<Record<string, string>>;
}

/** Limits by name, and the beginnings of the files of control groups that hold them. */
export const limitFiles: Readonly<Record<string, readonly string[]>> = {
  cpus: ['cpu.'],
  memory: ['memory.'],
  processes: ['pids.'],
  diskRead: ['io.', 'blkio.throttle.read'],
  diskWrite: ['io.', 'blkio.throttle.write'],
};

/** The kernel's own period. */
const CPU_PERIOD_US = 100_000;
/** What the kernel takes as the least quota. */
const CPU_QUOTA_LEAST_US = 1000;

type Setting = readonly [limit: string, controller: string, file: string, value: string];

export function planLimits(request: LimitRequest): LimitPlan {
  const { resources, cgroups, ownUser } = request;
  const limits: Record<string, string> = { ...unheld(request) };
  const rlimits: Record<string, number> = { CORE: 0 };
  const plans: CgroupPlan[] = [];
  for (const base of cgroups.bases) {
    const settings: (readonly [string, string])[] = [];
    for (const [limit, controller, file, value] of base.version === 2
      ? settings2(request)
      : settings1(request)) {
      if (!base.controllers.includes(controller) || !base.files.has(file)) continue;
      settings.push([file, value]);
      limits[limit] = wordsOf(limit, base);
    }
    const { folder, version, controllers } = base;
    if (isOfUse(base, settings.length))
      plans.push({ folder: `${folder}/${request.name}`, version, controllers, settings });
  }
  if (limits.processes?.startsWith('none') === true && ownUser) {
    rlimits.NPROC = resources.processes ?? request.processes;
    limits.processes = 'rlimit';
  }
  return { cgroups: plans, rlimits, limits };
}

/** Groups that limit, count what the result tells, or can kill all of a job at once. */
function isOfUse({ version, controllers }: CgroupBase, settings: number): boolean {
  return settings > 0 || version === 2 || controllers.some((name) => name === 'memory' || name === 'cpuacct');
}

function wordsOf(limit: string, { version }: CgroupBase): string {
  // Version 1 does not know whose buffered writes it is that the kernel writes back later.
  if (limit === 'diskWrite' && version === 1) return 'cgroup-v1 (direct writes only)';
  return `cgroup-v${version}`;
}

/** All limits that the job is under, as if nothing held them. */
function unheld({ resources, disk }: LimitRequest): Record<string, string> {
  const why = 'problem' in disk ? `none (${disk.problem})` : 'none';
  return {
    cpus: 'none',
    ...(resources.memoryBytes === null ? {} : { memory: 'none' }),
    processes: 'none',
    ...(resources.diskReadBytesPerSecond === null ? {} : { diskRead: why }),
    ...(resources.diskWriteBytesPerSecond === null ? {} : { diskWrite: why }),
  };
}

const quotaOf = (cpus: number): number => Math.max(CPU_QUOTA_LEAST_US, Math.round(cpus * CPU_PERIOD_US));

function settings2({ resources, processes, disk }: LimitRequest): Setting[] {
  const { cpus, memoryBytes, diskReadBytesPerSecond: read, diskWriteBytesPerSecond: write } = resources;
  const found: Setting[] = [['cpus', 'cpu', 'cpu.max', `${quotaOf(cpus)} ${CPU_PERIOD_US}`]];
  if (memoryBytes !== null)
    found.push(
      ['memory', 'memory', 'memory.max', String(memoryBytes)],
      ['memory', 'memory', 'memory.swap.max', '0'],
      ['memory', 'memory', 'memory.oom.group', '1'],
    );
  found.push(['processes', 'pids', 'pids.max', String(resources.processes ?? processes)]);
  if ('number' in disk) {
    if (read !== null) found.push(['diskRead', 'io', 'io.max', `${disk.number} rbps=${read}`]);
    if (write !== null) found.push(['diskWrite', 'io', 'io.max', `${disk.number} wbps=${write}`]);
  }
  return found;
}

function settings1({ resources, processes, disk }: LimitRequest): Setting[] {
  const { cpus, memoryBytes, diskReadBytesPerSecond: read, diskWriteBytesPerSecond: write } = resources;
  const found: Setting[] = [
    ['cpus', 'cpu', 'cpu.cfs_period_us', String(CPU_PERIOD_US)],
    ['cpus', 'cpu', 'cpu.cfs_quota_us', String(quotaOf(cpus))],
  ];
  if (memoryBytes !== null)
    // Memory first: the sum with swap may not be below it.
    found.push(
      ['memory', 'memory', 'memory.limit_in_bytes', String(memoryBytes)],
      ['memory', 'memory', 'memory.memsw.limit_in_bytes', String(memoryBytes)],
    );
  found.push(['processes', 'pids', 'pids.max', String(resources.processes ?? processes)]);
  if ('number' in disk) {
    const throttle = 'blkio.throttle';
    if (read !== null)
      found.push(['diskRead', 'blkio', `${throttle}.read_bps_device`, `${disk.number} ${read}`]);
    if (write !== null)
      found.push(['diskWrite', 'blkio', `${throttle}.write_bps_device`, `${disk.number} ${write}`]);
  }
  return found;
}

/** Settings without which a limit holds all the same, if not as well. */
const EXTRA = ['memory.swap.max', 'memory.memsw.limit_in_bytes', 'memory.oom.group'];

/** The limits after the start: those of which the kernel refused a setting (`ProcessEnd.refusedLimits`) did not hold. */
export function heldLimits(
  limits: Readonly<Record<string, string>>,
  refused: readonly string[],
): Record<string, string> {
  const held: Record<string, string> = { ...limits };
  for (const words of refused) {
    const what = words.slice(0, words.lastIndexOf(':'));
    for (const [limit, files] of Object.entries(limitFiles)) {
      const by = held[limit];
      if (by === undefined || by.startsWith('none')) continue;
      if (by === 'rlimit' ? what === 'RLIMIT_NPROC' : isRefused(what, files))
        held[limit] = `none (${words})`.slice(0, LIMIT_CHARACTERS_MAX);
    }
  }
  return held;
}

/** `what`: the file of a setting, or `cgroup` and the controllers of a whole group. */
function isRefused(what: string, files: readonly string[]): boolean {
  const [, group] = /^cgroup (.*)$/.exec(what) ?? [];
  if (group === undefined) return files.some((file) => what.startsWith(file)) && !EXTRA.includes(what);
  return group.split(',').some((controller) => files.some((file) => file.startsWith(`${controller}.`)));
}

/** What the protocol takes. */
const LIMIT_CHARACTERS_MAX = 64;

/** Limits that the kernel cannot hold here, with what is missing, or null: for operators who require them. */
export function missingLimits(
  resources: JobSpec['resources'] | null,
  cgroups: CgroupFacts,
  disk: Disk,
): string | null {
  const has = (controller: string): boolean =>
    cgroups.bases.some(({ controllers }) => controllers.includes(controller));
  const missing: string[] = [];
  for (const [limit, controller] of [
    ['CPU', 'cpu'],
    ['memory', 'memory'],
    ['processes', 'pids'],
  ] as const)
    if (!has(controller)) missing.push(limit);
  const asksDisk =
    resources !== null &&
    (resources.diskReadBytesPerSecond !== null || resources.diskWriteBytesPerSecond !== null);
  if (asksDisk && (!(has('io') || has('blkio')) || 'problem' in disk)) missing.push('disk throughput');
  if (missing.length === 0) return null;
  const why = cgroups.problems.length === 0 ? '' : ` (${cgroups.problems.join('; ')})`;
  return `this node cannot limit ${missing.join(', ')}${why}`;
}
