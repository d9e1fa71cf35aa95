// `flopd nodes`: the list.
import type { Command } from 'commander';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { totalsLines } from './device-table.ts';
import { exitCode } from './exit-code.ts';
import { nodeColumns } from './node-table.ts';
import { addOutputFlag, addWatchFlag, type OutputFormat, printRepeatedly, watchPeriodMs } from './output.ts';
import { renderTable } from './table.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addWatchFlag(addOutputFlag(addClientFlags(command))).addHelpText(
    'after',
    '\nJSON: {"nodes": [node, …], "fleet": {"all": {…}, "models": [{…}, …]}}, each node as "flopd node ID -o json" prints it;\nfleet: sums over accelerators, each {"value", "counted"}: the sum and of how many devices it is. An absent number is null and its reason stands in host.absent.',
  );
  command.action(async () => {
    const options = command.opts() as { output: OutputFormat; watch?: unknown };
    const periodMs = watchPeriodMs(options.watch);
    const client = await openClient(command, context);
    await printRepeatedly(
      context,
      options.output,
      periodMs,
      () => client.nodes(),
      ({ nodes, fleet }, style) =>
        nodes.length === 0
          ? ['no nodes: enrol one with "flopd join"']
          : [...renderTable(nodeColumns(nodes), nodes, style), ...totalsLines(fleet, style.width, true)],
    );
    finish(exitCode.ok);
  });
}
