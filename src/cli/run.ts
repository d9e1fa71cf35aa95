// `flopd run`: submits, streams both outputs live, ends as the job ended. Own messages go to stderr only.
// Stopping: the first Ctrl-C asks the scheduler to cancel and waits for the end; the second leaves at once.
import type { Command } from 'commander';
import { describeError, Fault } from '../base/fault.ts';
import type { Config } from '../config/config.ts';
import type { ArrayView, JobView } from '../protocol/api.ts';
import { isFinalState } from '../protocol/result.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import { type Client, createClient, isArray, isPassing } from './client.ts';
import type { Context, StopSignal } from './context.ts';
import { findAccess } from './endpoint.ts';
import { errorExitCode, exitCode, jobExitCode, signalExitCode } from './exit-code.ts';
import { addConfigFlags, clientKeys, readConfig } from './flags.ts';
import { followJob } from './follow.ts';
import { addJobOptions, checkSpec, type JobFlags, readSpec } from './job-options.ts';
import { describeEnd, describeUsage, say, sayGap, sayMissing } from './message.ts';
import { pause, writeOut } from './output.ts';
import { readDependencies } from './policy-options.ts';
import { runArray } from './run-array.ts';
import { addFileOptions, type FileFlags, openRunFiles, type RunFiles } from './run-files.ts';

/** A job that waits longer than this says why. */
const WAIT_NOTICE_MS = 2000;
/** Why it waits is said again when only figures of it have changed. */
const MOVING_NOTICE_MS = 15_000;
const CANCEL_RETRY_MS = 1000;
/** Two signals within this time are one wish. */
const REPEATED_SIGNAL_MS = 500;

interface RunFlags extends JobFlags, FileFlags {
  readonly verbose?: boolean;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addFileOptions(
    addJobOptions(command.argument('<command...>', 'program and its arguments').passThroughOptions()),
  )
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
With --array each line of output stands behind the index of its job, jobs in the order in which they end, and the exit
code is the highest of them; "flopd logs arr-ID.N" has the bytes of one.

The job gets no standard input: give it arguments, or files with --input. Inputs lie in its workspace under their own
name, or PATH; links in a folder are kept where they stay inside of it. Outputs come back to the same path here, or
LOCAL, when the job has ended; "flopd fetch" gets them later, and those of an array.

Exit code: the job's own; 128+n after signal n; 127 program missing; 126 not startable; 130 after Ctrl-C; 143 after
SIGTERM; 125 flopd failed before the job's end was known (unreachable scheduler, LOST job), or an output of a job that
completed could not be brought here; 2 wrong usage; 141 when
nobody reads the output any more (the job goes on).

Examples:
  flopd run -- sh -c 'echo hello'
  flopd run --accelerators 2:ascend --accelerator-memory 60GiB -- python train.py
  flopd run --array 0-99%8 -- sh -c './part "$FLOPD_ARRAY_INDEX"'
  flopd run --after job-7k3m --retry 3:failed,lost -- ./evaluate
  flopd run --cpus 4 --memory 8GiB --time-limit 2h --name train -- ./train.sh --epochs 3
  flopd run --input ./data --output model.bin -- python train.py data
  id=$(flopd run --detach -- make -j8); flopd logs -f "$id"`;

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
  let files: RunFiles | null = null;
  const unsubmitted = new AbortController();
  /** The job or array. */
  let submitted: JobView | ArrayView | null = null;
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
    if (submitted !== null) void cancelUntilDone(context, client, submitted, signal);
    else unsubmitted.abort();
  });
  try {
    const opened = await openRunFiles(context, flags, spec, unsubmitted.signal, speak);
    files = opened;
    const access = await findAccess(config, context.environment);
    client = createClient(access);
    const dependencies = await readDependencies(flags.after ?? [], client);
    const whole = await checkSpec(opened.spec);
    await opened.bring(access);
    const view = await submit(client, dependencies.length === 0 ? whole : { ...whole, dependencies });
    submitted = view;
    if (flags.detach === true) {
      await writeOut(context.stdout, `${view.id}\n`);
      return exitCode.ok;
    }
    if (flags.verbose === true) say(context.stderr, `${nameOf(view)} submitted`);
    if (stop.signal !== null) void cancelUntilDone(context, client, view, stop.signal);
    const code = await Promise.race([
      isArray(view)
        ? runArray(context, client, view, flags.verbose === true, speak).then((code) => {
            if (flags.output.length > 0)
              speak(`outputs stay with the scheduler: flopd fetch ${view.id}.INDEX --to DIR`);
            return code;
          })
        : follow(context, client, view, flags, speak).then(async (ended) => {
            const code = reportEnd(context, ended, stop.signal, flags);
            if (stop.signal !== null) return code;
            return (await opened.bringBack(access, ended)) || code !== exitCode.ok
              ? code
              : exitCode.unknownEnd;
          }),
      stop.leave.then(() => null),
    ]);
    if (code === null)
      say(context.stderr, `left ${nameOf(view)}, which may still run: see "flopd job ${view.id}"`);
    return stop.signal === null ? (code ?? exitCode.unknownEnd) : signalExitCode(stop.signal);
  } catch (error) {
    if (submitted === null && unsubmitted.signal.aborted) return signalExitCode(stop.signal ?? 'SIGINT');
    const code = errorExitCode(error);
    if (code === exitCode.outputClosed && submitted !== null) {
      say(
        context.stderr,
        `nobody reads the output any more; ${nameOf(submitted)} goes on: cancel it with "flopd cancel ${submitted.id}"`,
      );
      return code;
    }
    if (code === exitCode.usage) throw error;
    say(context.stderr, describeError(error));
    return exitCode.unknownEnd;
  } finally {
    restore();
    await files?.close();
  }
}

function nameOf(view: JobView | ArrayView): string {
  return `${isArray(view) ? 'array' : 'job'} ${view.id}`;
}

async function submit(client: Client, spec: JobSpecInput): Promise<JobView | ArrayView> {
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
  let lastGist: string | null = null;
  let saidAtMs = 0;
  let over = false;
  const sayWhy = (view: JobView): void => {
    if (over || (view.state !== 'PENDING' && view.state !== 'STARTING')) return;
    // Figures that move are no news for a while.
    const gist = view.reason.replace(/\d[\d.]*/g, '#');
    const nowMs = context.clock.monotonicMs();
    if (gist === lastGist && (view.reason === lastReason || nowMs - saidAtMs < MOVING_NOTICE_MS)) return;
    [lastReason, lastGist, saidAtMs] = [view.reason, gist, nowMs];
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
          if (view.retries > latest.retries && flags.verbose !== true)
            speak(`job ${view.id} is started again: ${view.reason}`);
          latest = view;
        },
        gap: (gap, seenBytes) => sayGap(context.stderr, gap, seenBytes, job),
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
  view: JobView | ArrayView,
  signal: StopSignal,
): Promise<void> {
  say(context.stderr, `cancelling ${view.id} … (once more leaves at once)`);
  const reason = `${signal} to "flopd run"`;
  for (let told = false; ; ) {
    try {
      await (isArray(view) ? client.cancelArray(view.id, reason) : client.cancel(view.id, reason));
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
  sayMissing(context.stderr, job);
  // What a job does by itself needs no word of ours; that its device failed does.
  const isOwn = job.state === 'COMPLETED' || job.state === 'FAILED';
  const quietEnd = isOwn && job.result?.endKind !== 'deviceFault';
  if (!quietEnd || signal !== null) say(context.stderr, describeEnd(job));
  else if (flags.verbose === true) say(context.stderr, `${describeEnd(job)} (${describeUsage(job)})`);
  return jobExitCode(job);
}
