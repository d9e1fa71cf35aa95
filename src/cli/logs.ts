// `flopd logs`: a job's output, each stream to its own descriptor. To a pipe or file the bytes go as they are; on a
// terminal control characters are shown instead of obeyed.
import type { Command } from 'commander';
import { Fault } from '../base/fault.ts';
import { parseBytes, parseDurationMs, parseInteger, ValueProblem } from '../config/value.ts';
import type { JobView, OutputsView } from '../protocol/api.ts';
import { storedGaps } from '../protocol/output-gap.ts';
import { printArrayLogs } from './array-output.ts';
import { type Client, isArray } from './client.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { followJob } from './follow.ts';
import { say, sayGap, sayMissing } from './message.ts';
import { createShower } from './shower.ts';
import { copyStored, type OutputName, offsetOfLines } from './stored-output.ts';
import { readGivenFlag } from './usage.ts';

const MAX_SINCE_MS = 3650 * 24 * 3600 * 1000;
const MAX_TAIL_LINES = 1_000_000_000;
const SINCE_REMEDY = 'write it like 2026-11-28T17:00:00Z, or as a duration like 10m';
const streams = ['stdout', 'stderr'] as const;

interface LogsFlags {
  readonly follow?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly tail?: string;
  readonly since?: string;
  readonly attempt?: string;
  readonly raw?: boolean;
}

type Tail = { readonly lines: number } | { readonly bytes: number } | null;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id>', 'id of a job or array, or the start of one; arr-ID.N is one job of an array')
    .option('-f, --follow', 'go on until the job has ended')
    .option('--stdout', 'only standard output')
    .option('--stderr', 'only standard error')
    .option('--tail <N>', 'only the last N lines of each stream; with a unit (4KiB) its last bytes')
    .option('--since <TIME>', 'only what came since then: 10m, 2026-11-28T17:00Z')
    .option('--attempt <N>', 'output of an earlier attempt of a job that was started again')
    .option('--raw', 'every byte as it is, on a terminal as well');
  addClientFlags(command).addHelpText('after', HELP);
  command.action(async (id: string) => {
    const flags = command.opts() as LogsFlags;
    const tail = parseTail(flags.tail);
    const sinceMs = parseSince(flags.since, context);
    const attempt =
      readGivenFlag('--attempt', flags.attempt, (text) =>
        parseInteger(text, { min: 1, max: Number.MAX_SAFE_INTEGER }, '1'),
      ) ?? null;
    const client = await openClient(command, context);
    const job = await client.find(id);
    if (isArray(job)) {
      await printArrayLogs(context, client, job, flags);
      finish(exitCode.ok);
      return;
    }
    const outputs = await client.outputs(job.id, attempt, sinceMs);
    if (outputs.removed !== null)
      throw new Fault('OUTPUT_REMOVED', `the output of ${job.id} is not kept any more: ${outputs.removed}`);
    await printLogs(context, client, job, outputs, flags, tail);
    finish(exitCode.ok);
  });
}

const HELP = `
Without -f all of standard output comes first, then all of standard error. Where bytes were left out (by a quota, or
a full disk) a line on standard error says how many. --since goes by when output reached the scheduler, to about a
second. Of an array, each line stands behind the index of its job, jobs that have ended first (with -f as they end).
Ends with 0 however the job ended; "flopd wait" gives its code.`;

export function parseTail(text: string | undefined): Tail {
  const tail = readGivenFlag('--tail', text, (given) => {
    if (/^\d+$/.test(given)) return { lines: parseInteger(given, { min: 0, max: MAX_TAIL_LINES }, '100') };
    if (!/^\d/.test(given))
      throw new ValueProblem('not a number of lines', 'write it like 100, or as bytes with a unit like 4KiB');
    return { bytes: parseBytes(given, { min: 0, max: Number.MAX_SAFE_INTEGER }) };
  });
  return tail ?? null;
}

/** Wall clock ms of `10m` ago, or of a stamp as ISO 8601 has it. */
export function parseSince(text: string | undefined, { clock }: Pick<Context, 'clock'>): number | null {
  const sinceMs = readGivenFlag('--since', text, (given) => {
    if (!/^[\d.]/.test(given)) throw new ValueProblem('not a time', SINCE_REMEDY);
    if (!/^\d{4}-\d\d-\d\d/.test(given))
      return Math.max(
        0,
        Math.round(clock.wallMs() - parseDurationMs(given, { min: 0, max: MAX_SINCE_MS }, false)),
      );
    const stampMs = Date.parse(given);
    if (Number.isNaN(stampMs) || stampMs < 0) throw new ValueProblem('not a time', SINCE_REMEDY);
    return stampMs;
  });
  return sinceMs ?? null;
}

async function printLogs(
  context: Context,
  client: Client,
  job: JobView,
  outputs: OutputsView,
  flags: LogsFlags,
  tail: Tail,
): Promise<void> {
  const both = flags.stdout !== true && flags.stderr !== true;
  const wanted = { stdout: both || flags.stdout === true, stderr: both || flags.stderr === true };
  const offsets = { stdout: 0, stderr: 0 };
  for (const stream of streams)
    if (wanted[stream]) offsets[stream] = await startOf(client, job, outputs, stream, tail);
  const shower = createShower(context, flags.raw === true);
  const write = (stream: OutputName, bytes: Uint8Array): Promise<void> =>
    wanted[stream] ? shower.write(stream, bytes) : Promise.resolve();
  const isLatest = outputs.attempt === job.epoch;
  try {
    if (flags.follow !== true || !isLatest) {
      for (const stream of streams) {
        if (!wanted[stream]) continue;
        const gaps = isLatest
          ? storedGaps(job.result?.gaps ?? []).filter((gap) => gap.stream === stream)
          : [];
        await copyStored(client, job.id, outputs, stream, offsets[stream], {
          write: (bytes) => write(stream, bytes),
          gap: (gap, seenBytes) => sayGap(context.stderr, gap, seenBytes, job),
          gaps,
        });
      }
      if (isLatest) sayMissing(context.stderr, job);
      return;
    }
    const ended = await followJob({
      client,
      jobId: job.id,
      clock: context.clock,
      random: context.random,
      stdoutOffset: offsets.stdout,
      stderrOffset: offsets.stderr,
      sink: {
        stdout: (bytes) => write('stdout', bytes),
        stderr: (bytes) => write('stderr', bytes),
        job() {},
        gap(gap, seenBytes) {
          if (wanted[gap.stream]) sayGap(context.stderr, gap, seenBytes, job);
        },
        link: (problem) =>
          say(context.stderr, problem === null ? 'connected again' : `${problem}; reconnecting`),
      },
    });
    sayMissing(context.stderr, ended);
  } finally {
    await shower.end();
  }
}

/** The later of what `--since` and `--tail` ask for. */
async function startOf(
  client: Client,
  job: JobView,
  outputs: OutputsView,
  stream: OutputName,
  tail: Tail,
): Promise<number> {
  const held = stream === 'stdout' ? outputs.stdoutBytes : outputs.stderrBytes;
  const since = outputs.since?.[stream] ?? 0;
  if (tail === null) return since;
  if ('bytes' in tail) return Math.max(since, held - tail.bytes);
  return Math.max(since, await offsetOfLines(client, job.id, outputs, stream, tail.lines));
}
