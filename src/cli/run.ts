// `flopd run`: submits, streams both outputs live, ends as the job ended. Own messages go to stderr only.
// Stopping: the first Ctrl-C asks the scheduler to cancel and waits for the end; the second leaves at once.
import type { Command } from 'commander';
import { describeError, Fault } from '../base/fault.ts';
import type { Config } from '../config/config.ts';
import { parseBytes, parseDurationMs, parseInteger, parseNumber, ValueProblem } from '../config/value.ts';
import type { JobView } from '../protocol/api.ts';
import { isFinalState } from '../protocol/result.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import { type Client, createClient, isPassing } from './client.ts';
import type { Context, StopSignal } from './context.ts';
import { findAccess } from './endpoint.ts';
import { errorExitCode, exitCode, jobExitCode, signalExitCode } from './exit-code.ts';
import { addConfigFlags, clientKeys, readConfig } from './flags.ts';
import { followJob } from './follow.ts';
import { describeEnd, describeUsage, say } from './message.ts';
import { pause, writeOut } from './output.ts';
import { usageFault } from './usage.ts';

type AcceleratorInput = NonNullable<NonNullable<JobSpecInput['resources']>['accelerators']>;

/** A job that waits longer than this says why. */
const WAIT_NOTICE_MS = 2000;
const CANCEL_RETRY_MS = 1000;
/** Two signals within this time are one wish. */
const REPEATED_SIGNAL_MS = 500;
const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/;
const MAX_MS = 366 * 24 * 3_600_000;

interface RunFlags {
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
  readonly priority?: string;
  readonly grace?: string;
  readonly detach?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<command...>', 'program and its arguments')
    .passThroughOptions()
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
    .option('--memory <SIZE>', 'memory that is reserved on the node: 4GiB')
    .option('--time-limit <DURATION>', 'longest run time: 90s, 5m, 2h, 1d')
    .option(
      '--env <K=V>',
      'environment of the job; K alone takes the value from here (repeatable)',
      collect,
      [],
    )
    .option('--name <NAME>', 'name of the job')
    .option('--workdir <DIR>', "folder on the node (default: the job's own empty workspace)")
    .option('--priority <N>', '-1000 to 1000, higher runs first (default 0)')
    .option('--grace <DURATION>', 'time between SIGTERM and SIGKILL when it is stopped (default 10s)')
    .option('-d, --detach', 'print the id and leave; the job goes on')
    .option('-q, --quiet', 'say nothing about waiting and broken links')
    .option('-v, --verbose', 'say the id, the states and the usage');
  addConfigFlags(command, clientKeys).addHelpText('after', HELP);
  command.action(async (words: string[]) => {
    const flags = command.opts() as RunFlags;
    const config = await readConfig(command, context);
    finish(await run(context, config, flags, await checkSpec(readSpec(words, flags, context))));
  });
}

const HELP = `
The job gets no standard input: give it arguments, or a file that the node can read.

Exit code: the job's own; 128+n after signal n; 127 program missing; 126 not startable; 130 after Ctrl-C; 143 after
SIGTERM; 125 flopd failed before the job's end was known (unreachable scheduler, LOST job); 2 wrong usage; 141 when
nobody reads the output any more (the job goes on).

Examples:
  flopd run -- sh -c 'echo hello'
  flopd run --accelerators 2:ascend --accelerator-memory 60GiB -- python train.py
  flopd run --cpus 4 --memory 8GiB --time-limit 2h --name train -- ./train.sh --epochs 3
  id=$(flopd run --detach -- make -j8); flopd logs -f "$id"`;

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** The specification that the flags ask for. Throws usage faults that name the flag. */
export function readSpec(
  words: readonly string[],
  flags: RunFlags,
  context: Pick<Context, 'environment'>,
): JobSpecInput {
  const read = <T>(flag: string, text: string | undefined, parse: (text: string) => T): T | undefined => {
    if (text === undefined) return undefined;
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof ValueProblem)) throw error;
      throw usageFault(`${flag}: ${JSON.stringify(text)} is ${error.message}`, error.remedy);
    }
  };
  const cpus = read('--cpus', flags.cpus, (text) => parseNumber(text, { min: 0.01, max: 4096 }, '2 or 0.5'));
  const memoryBytes = read('--memory', flags.memory, (text) => parseBytes(text));
  const accelerators = readAccelerators(flags, read);
  const timeLimitMs = read('--time-limit', flags.timeLimit, (text) =>
    parseDurationMs(text, { min: 1, max: MAX_MS }, false),
  );
  const graceMs = read('--grace', flags.grace, (text) =>
    parseDurationMs(text, { min: 0, max: 3_600_000 }, false),
  );
  const priority = read('--priority', flags.priority, (text) =>
    parseInteger(text, { min: -1000, max: 1000 }, '10'),
  );
  return {
    version: 1,
    command: [...words],
    environment: readEnvironment(flags.env, context),
    resources: {
      ...(cpus === undefined ? {} : { cpus }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(accelerators === undefined ? {} : { accelerators }),
    },
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.workdir === undefined ? {} : { workingDirectory: flags.workdir }),
    ...(timeLimitMs === undefined ? {} : { timeLimitMs }),
    ...(graceMs === undefined ? {} : { graceMs }),
    ...(priority === undefined ? {} : { priority }),
  };
}

type Read = <T>(flag: string, text: string | undefined, parse: (text: string) => T) => T | undefined;

function readAccelerators(flags: RunFlags, read: Read): AcceleratorInput | undefined {
  const asked = read('--accelerators', flags.accelerators, parseAccelerators);
  const memoryBytes = read('--accelerator-memory', flags.acceleratorMemory, (text) => parseBytes(text));
  const partition = read('--accelerator-partition', flags.acceleratorPartition, parsePartition);
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

/** Checks here what the scheduler would refuse anyway, so that a mistake is exit code 2 and names the flag. */
async function checkSpec(spec: JobSpecInput): Promise<JobSpecInput> {
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

const specFlags: Readonly<Record<string, string>> = {
  command: 'command',
  environment: '--env',
  name: '--name',
  workingDirectory: '--workdir',
  timeLimitMs: '--time-limit',
  graceMs: '--grace',
  priority: '--priority',
  'resources.cpus': '--cpus',
  'resources.memoryBytes': '--memory',
  'resources.accelerators': '--accelerators',
  'resources.accelerators.memoryBytes': '--accelerator-memory',
  'resources.accelerators.partition': '--accelerator-partition',
};

/** What Ctrl-C has done so far. */
interface StopState {
  signal: StopSignal | null;
  /** Monotonic ms of the first signal. */
  atMs: number;
  /** Resolves at the second signal. */
  readonly leave: Promise<void>;
}

async function run(context: Context, config: Config, flags: RunFlags, spec: JobSpecInput): Promise<number> {
  const speak = flags.quiet === true ? () => {} : (message: string) => say(context.stderr, message);
  let client: Client;
  let jobId: string | null = null;
  let leaveNow = (): void => {};
  const stop: StopState = { signal: null, atMs: 0, leave: new Promise((resolve) => (leaveNow = resolve)) };
  const restore = context.onSignal(['SIGINT', 'SIGTERM'], (signal) => {
    const nowMs = context.clock.monotonicMs();
    if (stop.signal !== null) {
      // timeout(1) and shells signal the process and its group: the same wish, told twice.
      if (nowMs - stop.atMs > REPEATED_SIGNAL_MS) leaveNow();
      return;
    }
    stop.signal = signal;
    stop.atMs = nowMs;
    if (jobId !== null) void cancelUntilDone(context, client, jobId, signal);
  });
  try {
    client = createClient(findAccess(config));
    const job = await submit(client, spec);
    jobId = job.id;
    if (flags.detach === true) {
      await writeOut(context.stdout, `${job.id}\n`);
      return exitCode.ok;
    }
    if (flags.verbose === true) say(context.stderr, `job ${job.id} submitted`);
    if (stop.signal !== null) void cancelUntilDone(context, client, jobId, stop.signal);
    const ended = await Promise.race([
      follow(context, client, job, flags, speak),
      stop.leave.then(() => null),
    ]);
    if (ended === null) {
      say(context.stderr, `left job ${job.id}, which may still run: see "flopd job ${job.id}"`);
      return signalExitCode(stop.signal ?? 'SIGINT');
    }
    return reportEnd(context, ended, stop.signal, flags);
  } catch (error) {
    const code = errorExitCode(error);
    if (code === exitCode.outputClosed && jobId !== null) {
      say(
        context.stderr,
        `nobody reads the output any more; job ${jobId} goes on: cancel it with "flopd cancel ${jobId}"`,
      );
      return code;
    }
    if (code === exitCode.usage) throw error;
    say(context.stderr, describeError(error));
    return exitCode.unknownEnd;
  } finally {
    restore();
  }
}

async function submit(client: Client, spec: JobSpecInput): Promise<JobView> {
  try {
    return await client.submit(spec);
  } catch (error) {
    if (!(error instanceof Fault) || (error.code !== 'SCHEDULER_LOST' && error.code !== 'SCHEDULER_SILENT'))
      throw error;
    throw new Fault(error.code, `${error.message}; the job may have been accepted`, {
      remedy: 'look with "flopd jobs" before submitting again',
    });
  }
}

async function follow(
  context: Context,
  client: Client,
  job: JobView,
  flags: RunFlags,
  speak: (message: string) => void,
): Promise<JobView> {
  let latest = job;
  let lastReason: string | null = null;
  let over = false;
  const sayWhy = (view: JobView): void => {
    if (over || (view.state !== 'PENDING' && view.state !== 'STARTING') || view.reason === lastReason) return;
    lastReason = view.reason;
    speak(`job ${view.id} waits: ${view.reason.replace(/^waiting: */, '')}`);
  };
  // Reasons change without a change of state, so they are asked for while it waits.
  const watching = (async () => {
    for (;;) {
      await afterMs(context, WAIT_NOTICE_MS);
      if (over || (latest.state !== 'PENDING' && latest.state !== 'STARTING')) return;
      sayWhy(await client.job(job.id).catch(() => latest));
    }
  })();
  watching.catch(() => {});
  try {
    return await followJob({
      client,
      jobId: job.id,
      clock: context.clock,
      random: context.random,
      sink: {
        stdout: (bytes) => writeOut(context.stdout, bytes),
        stderr: (bytes) => writeOut(context.stderr, bytes),
        job(view) {
          if (flags.verbose === true && view.state !== latest.state && !isFinalState(view.state)) {
            say(context.stderr, `job ${view.id} is ${view.state}: ${view.reason}`);
          }
          latest = view;
        },
        link: (problem) =>
          speak(problem === null ? 'connected again' : `${problem}; the job goes on, reconnecting`),
      },
    });
  } finally {
    over = true;
  }
}

/** Waits without keeping the process alive. */
function afterMs({ clock }: Context, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}

/** Asks for cancellation until the scheduler has heard it. */
async function cancelUntilDone(
  context: Context,
  client: Client,
  jobId: string,
  signal: StopSignal,
): Promise<void> {
  say(context.stderr, `cancelling ${jobId} … (once more leaves at once)`);
  for (let told = false; ; ) {
    try {
      await client.cancel(jobId, `${signal} to "flopd run"`);
      return;
    } catch (error) {
      if (!told) say(context.stderr, `could not cancel yet: ${describeError(error)}`);
      told = true;
      if (!isPassing(error)) return;
      await pause(CANCEL_RETRY_MS);
    }
  }
}

function reportEnd(context: Context, job: JobView, signal: StopSignal | null, flags: RunFlags): number {
  // What a job does by itself needs no word of ours; that its device failed does.
  const isOwn = job.state === 'COMPLETED' || job.state === 'FAILED';
  const quietEnd = isOwn && job.result?.endKind !== 'deviceFault';
  if (!quietEnd || signal !== null) say(context.stderr, describeEnd(job));
  else if (flags.verbose === true) say(context.stderr, `${describeEnd(job)} (${describeUsage(job)})`);
  return signal === null ? jobExitCode(job) : signalExitCode(signal);
}
