// What a job asks for, as flags of the command line: the options, and the specification that they make. Each mistake
// is a usage fault that names the flag.
import type { Command } from 'commander';
import { parseBytes, parseDurationMs, parseInteger, parseNumber, ValueProblem } from '../config/value.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import type { Context } from './context.ts';
import { addDataOptions, type DataFlags, dataFlags, readDataFlags } from './data-options.ts';
import { addLimitOptions, type LimitFlags, limitFlags, readLimitFlags } from './limit-options.ts';
import { addPolicyOptions, type PolicyFlags, readPolicies } from './policy-options.ts';
import { readGivenFlag, usageFault } from './usage.ts';

type AcceleratorInput = NonNullable<NonNullable<JobSpecInput['resources']>['accelerators']>;

/** Less does not even start a program. */
const MIN_MEMORY_BYTES = 4 * 1024 ** 2;
const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/;
const MAX_MS = 366 * 24 * 3_600_000;

export interface JobFlags extends LimitFlags, PolicyFlags, DataFlags {
  readonly accelerators?: string;
  readonly acceleratorMemory?: string;
  readonly acceleratorPartition?: string;
  readonly acceleratorShare?: boolean;
  readonly cpus?: string;
  readonly memory?: string;
  readonly timeLimit?: string;
  readonly env: readonly string[];
  readonly name?: string;
  readonly workdir?: string;
  readonly image?: string;
  readonly priority?: string;
  readonly grace?: string;
}

/** Adds the options from which `readSpec` makes a specification. */
export function addJobOptions(command: Command): Command {
  command
    .option(
      '--accelerators <N[:MATCH]>',
      'how many accelerators, of a vendor or model: 2, 1:nvidia, 8:H200, 2:ascend:910B3',
    )
    .option('--accelerator-memory <SIZE>', 'least memory of each of them: 40GiB')
    .option(
      '--accelerator-partition <KIND>',
      'partitions of this kind instead of whole ones: 1g.10gb, vir04, any',
    )
    .option('--accelerator-share', 'may stand on them together with other jobs that say so too')
    .option('--cpus <N>', 'CPU cores (default 1)')
    .option('--memory <SIZE>', 'memory that is reserved on the node, and that it cannot exceed: 4GiB')
    .option('--time-limit <DURATION>', 'longest run time: 90s, 5m, 2h, 1d')
    .option(
      '--env <K=V>',
      'environment of the job; K alone takes the value from here (repeatable)',
      collect,
      [],
    )
    .option('--name <NAME>', 'name of the job')
    .option(
      '--image <NAME>',
      'runs it in a container of this image (podman or docker on the node): python:3.12, registry/name@sha256:…',
    )
    .option('--workdir <DIR>', "folder on the node (default: the job's own empty workspace)")
    .option('--priority <N>', '-1000 to 1000, higher runs first (default 0)')
    .option('--grace <DURATION>', 'time between SIGTERM and SIGKILL when it is stopped (default 10s)');
  addLimitOptions(command);
  addDataOptions(command);
  return addPolicyOptions(command);
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** The specification that the flags ask for. Throws usage faults that name the flag. */
export function readSpec(
  words: readonly string[],
  flags: JobFlags,
  context: Pick<Context, 'environment'>,
): JobSpecInput {
  const cpus = readGivenFlag('--cpus', flags.cpus, (text) =>
    parseNumber(text, { min: 0.01, max: 4096 }, '2 or 0.5'),
  );
  const memoryBytes = readGivenFlag('--memory', flags.memory, (text) =>
    parseBytes(text, { min: MIN_MEMORY_BYTES, max: Number.MAX_SAFE_INTEGER }),
  );
  const accelerators = readAccelerators(flags);
  const timeLimitMs = readGivenFlag('--time-limit', flags.timeLimit, (text) =>
    parseDurationMs(text, { min: 1, max: MAX_MS }, false),
  );
  const graceMs = readGivenFlag('--grace', flags.grace, (text) =>
    parseDurationMs(text, { min: 0, max: 3_600_000 }, false),
  );
  const priority = readGivenFlag('--priority', flags.priority, (text) =>
    parseInteger(text, { min: -1000, max: 1000 }, '10'),
  );
  const limits = readLimitFlags(flags);
  return {
    version: 1,
    ...readDataFlags(flags),
    ...limits.spec,
    command: [...words],
    environment: readEnvironment(flags.env, context),
    resources: {
      ...(cpus === undefined ? {} : { cpus }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(accelerators === undefined ? {} : { accelerators }),
      ...limits.resources,
    },
    ...readPolicies(flags),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.image === undefined ? {} : { executor: 'container', image: flags.image }),
    ...(flags.workdir === undefined ? {} : { workingDirectory: flags.workdir }),
    ...(timeLimitMs === undefined ? {} : { timeLimitMs }),
    ...(graceMs === undefined ? {} : { graceMs }),
    ...(priority === undefined ? {} : { priority }),
  };
}

function readAccelerators(flags: JobFlags): AcceleratorInput | undefined {
  const asked = readGivenFlag('--accelerators', flags.accelerators, parseAccelerators);
  const memoryBytes = readGivenFlag('--accelerator-memory', flags.acceleratorMemory, (text) =>
    parseBytes(text, { min: MIN_MEMORY_BYTES, max: Number.MAX_SAFE_INTEGER }),
  );
  const partition = readGivenFlag('--accelerator-partition', flags.acceleratorPartition, parsePartition);
  const shared = flags.acceleratorShare === true ? true : undefined;
  if (asked === undefined) {
    const [more] = Object.entries({
      '--accelerator-memory': memoryBytes,
      '--accelerator-partition': partition,
      '--accelerator-share': shared,
    }).flatMap(([flag, value]) => (value === undefined ? [] : flag));
    if (more !== undefined)
      throw usageFault(
        `${more}: no accelerators are asked for`,
        'say how many with --accelerators N[:MATCH]',
      );
    return undefined;
  }
  return {
    ...asked,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(partition === undefined ? {} : { partition }),
    ...(shared === undefined ? {} : { shared }),
  };
}

function parsePartition(text: string): string {
  if (/^[\p{L}\p{N}][\p{L}\p{N}.+_-]*$/u.test(text)) return text;
  throw new ValueProblem(
    'not a kind of partition',
    'write one as "flopd devices" shows it, for example 1g.10gb or vir04, or any',
  );
}

function parseAccelerators(text: string): { count: number; match: string | null } {
  const match = /^(\d+)(?::(.+))?$/s.exec(text);
  const count = Number(match?.[1]);
  const name = match?.[2] ?? null;
  if (match === null || count < 1 || count > 1024 || (name !== null && !/[\p{L}\p{N}]/u.test(name))) {
    throw new ValueProblem(
      'not N or N:MATCH with N from 1 to 1024',
      'write for example 2, 1:nvidia or 8:H200',
    );
  }
  return { count, match: name };
}

function readEnvironment(
  entries: readonly string[],
  { environment }: Pick<Context, 'environment'>,
): Record<string, string> {
  const found = new Map<string, string>();
  for (const entry of entries) {
    const at = entry.indexOf('=');
    const name = at < 0 ? entry : entry.slice(0, at);
    if (!ENVIRONMENT_NAME.test(name))
      throw usageFault(
        `--env: ${JSON.stringify(name)} is no name of a variable`,
        'write NAME=VALUE, the name of letters, digits and underscores, not starting with a digit',
      );
    if (name.startsWith('FLOPD_'))
      throw usageFault(
        `--env: ${JSON.stringify(name)} is set by flopd itself`,
        'choose a name that does not start with FLOPD_',
      );
    const value = at < 0 ? environment[name] : entry.slice(at + 1);
    if (value === undefined)
      throw usageFault(
        `--env: ${JSON.stringify(name)} is not set here`,
        `write --env ${name}=VALUE, or leave it out`,
      );
    found.set(name, value);
  }
  return Object.fromEntries(found);
}

const specFlags: Readonly<Record<string, string>> = {
  inputs: '--input',
  outputs: '--output',
  ...limitFlags,
  ...dataFlags,
  command: 'command',
  environment: '--env',
  name: '--name',
  image: '--image',
  workingDirectory: '--workdir',
  timeLimitMs: '--time-limit',
  graceMs: '--grace',
  priority: '--priority',
  array: '--array',
  retry: '--retry',
  checkpoint: '--checkpoint',
  disconnect: '--disconnect',
  keepWorkspace: '--keep-workspace',
  'resources.cpus': '--cpus',
  'resources.memoryBytes': '--memory',
  'resources.accelerators': '--accelerators',
  'resources.accelerators.memoryBytes': '--accelerator-memory',
  'resources.accelerators.partition': '--accelerator-partition',
};

/** Checks here what the scheduler would refuse anyway, so that a mistake is exit code 2 and names the flag. */
export async function checkSpec(spec: JobSpecInput): Promise<JobSpecInput> {
  const { jobSpecSchema } = await import('../protocol/spec.ts');
  const parsed = jobSpecSchema.safeParse(spec);
  if (parsed.success) return spec;
  const issue = parsed.error.issues[0];
  const path = issue?.path.map(String) ?? [];
  const flag =
    specFlags[path.slice(0, 3).join('.')] ??
    specFlags[path.slice(0, 2).join('.')] ??
    specFlags[path[0] ?? ''] ??
    path.join('.');
  const what = path[0] === 'environment' && path[1] !== undefined ? ` ${JSON.stringify(path[1])}` : '';
  throw usageFault(`${flag}:${what} ${issue?.message ?? 'is not valid'}`, 'see "flopd run --help"');
}
