// `flopd wait`: returns when jobs have ended, with the job's own exit code.
import type { Command } from 'commander';
import { describeError } from '../base/fault.ts';
import type { ArrayView } from '../protocol/api.ts';
import { isFinalState } from '../protocol/result.ts';
import { followArray } from './array-follow.ts';
import { createEndTeller } from './array-output.ts';
import { type Client, isArray } from './client.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { errorExitCode, exitCode, jobExitCode, memberExitCode } from './exit-code.ts';
import { followJob } from './follow.ts';
import { describeEnd, say } from './message.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id...>', 'ids of jobs or arrays, or starts of ids; arr-ID.N is one job of an array')
    .option('-q, --quiet', 'say nothing about how they ended');
  addClientFlags(command).addHelpText(
    'after',
    '\nExit code: that of the job as for "flopd run"; of several jobs, and of an array, the highest; 1 for an unknown id; 125 when the end is unknown.',
  );
  command.action(async (ids: string[]) => {
    const { quiet } = command.opts() as { quiet?: boolean };
    const client = await openClient(command, context);
    const codes = await Promise.all(
      ids.map(async (id) => {
        try {
          const job = await client.find(id);
          if (isArray(job)) return await waitForArray(context, client, job, quiet === true);
          const ended = isFinalState(job.state) ? job : await waitForEnd(context, client, job);
          if (quiet !== true) say(context.stderr, describeEnd(ended));
          return jobExitCode(ended);
        } catch (error) {
          say(context.stderr, ids.length === 1 ? describeError(error) : `${id}: ${describeError(error)}`);
          const code = errorExitCode(error);
          return isUnknownEnd(error) ? exitCode.unknownEnd : code;
        }
      }),
    );
    finish(Math.max(...codes));
  });
}

function isUnknownEnd(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'SCHEDULER_GONE';
}

async function waitForArray(
  context: Context,
  client: Client,
  { id }: ArrayView,
  quiet: boolean,
): Promise<number> {
  let highest: number = exitCode.ok;
  const tellEnd = createEndTeller(context, id, false);
  const end = await followArray({
    client,
    id,
    clock: context.clock,
    sink: {
      async ended(member) {
        highest = Math.max(highest, memberExitCode(member));
        if (!quiet) tellEnd(member);
      },
      array() {},
      link: (problem) =>
        say(context.stderr, problem === null ? 'connected again' : `${problem}; reconnecting`),
    },
  });
  if (!quiet) say(context.stderr, `array ${id}: ${end.reason}`);
  return highest;
}

function waitForEnd(
  context: Context,
  client: Client,
  job: { id: string; stdoutBytes: number; stderrBytes: number },
) {
  return followJob({
    client,
    jobId: job.id,
    clock: context.clock,
    random: context.random,
    // What is stored already is not asked for; the rest is read past, for the end comes behind it.
    stdoutOffset: job.stdoutBytes,
    stderrOffset: job.stderrBytes,
    sink: {
      stdout: async () => {},
      stderr: async () => {},
      job() {},
      link: (problem) =>
        say(context.stderr, problem === null ? 'connected again' : `${problem}; reconnecting`),
    },
  });
}
