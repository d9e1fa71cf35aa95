// `flopd jobs`: the list, newest first.
import { type Command, Option } from 'commander';
import { parseInteger } from '../config/value.ts';
import { type JobState, jobStates } from '../protocol/result.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { jobColumns } from './job-table.ts';
import { addOutputFlag, addWatchFlag, type OutputFormat, printRepeatedly, watchPeriodMs } from './output.ts';
import { renderTable } from './table.ts';
import { readFlag, usageFault } from './usage.ts';

const DEFAULT_LIMIT = '100';
const MAX_LIMIT = 1_000_000;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .addOption(new Option('--state <STATE>', 'only jobs in this state').argParser(parseState))
    .option('--limit <N>', 'how many at most', DEFAULT_LIMIT)
    .option('--array <ID>', 'only the jobs of this array, each on a line of its own');
  addWatchFlag(addOutputFlag(addClientFlags(command))).addHelpText(
    'after',
    `
States: ${jobStates.join(', ')}.
Jobs of an array that wait, or have ended alike, share a line. JSON: {"jobs": [job, …]}, each as "flopd job ID -o json"
prints it, and each of an array by itself.

Examples:
  flopd jobs --state pending
  flopd jobs --array arr-7k3m9q2x4t --state failed
  flopd jobs -o json | jq -r '.jobs[] | [.id, .state] | @tsv'`,
  );
  command.action(async () => {
    const options = command.opts() as {
      state?: JobState;
      limit: string;
      array?: string;
      output: OutputFormat;
      watch?: unknown;
    };
    const limit = parseLimit(options.limit);
    const periodMs = watchPeriodMs(options.watch);
    const filter = {
      ...(options.state === undefined ? {} : { state: options.state }),
      ...(options.array === undefined ? {} : { array: options.array }),
      grouped: options.output === 'table' || options.output === 'wide',
    };
    const client = await openClient(command, context);
    await printRepeatedly(
      context,
      options.output,
      periodMs,
      () => client.jobs({ limit, ...filter }),
      ({ jobs }, style) =>
        jobs.length === 0 ? ['no jobs'] : renderTable(jobColumns(context.clock.wallMs(), jobs), jobs, style),
    );
    finish(exitCode.ok);
  });
}

function parseState(text: string): JobState {
  const wanted = text.toUpperCase().replaceAll('-', '_');
  const state = jobStates.find((known) => known === wanted);
  if (state === undefined)
    throw usageFault(
      `--state: ${JSON.stringify(text)} is not a state`,
      `write one of ${jobStates.join(', ')}`,
    );
  return state;
}

function parseLimit(text: string): number {
  return readFlag('--limit', text, (given) => parseInteger(given, { min: 1, max: MAX_LIMIT }, DEFAULT_LIMIT));
}
