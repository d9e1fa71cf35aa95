// `flopd job ID`: everything about one job, and first the one sentence why it waits or ended.
import type { Command } from 'commander';
import { isArray } from './client.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { arrayFields, jobFields } from './job-table.ts';
import { addOutputFlag, addWatchFlag, type OutputFormat, printRepeatedly, watchPeriodMs } from './output.ts';
import { renderFields } from './table.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<id>', 'id of a job or array, or the start of one; arr-ID.N is one job of an array');
  addWatchFlag(addOutputFlag(addClientFlags(command)));
  command.action(async (id: string) => {
    const options = command.opts() as { output: OutputFormat; watch?: unknown };
    const periodMs = watchPeriodMs(options.watch);
    const client = await openClient(command, context);
    await printRepeatedly(
      context,
      options.output,
      periodMs,
      () => client.find(id),
      (found) => renderFields(isArray(found) ? arrayFields(found) : jobFields(found, context.clock.wallMs())),
    );
    finish(exitCode.ok);
  });
}
