// `flopd node ID`: everything about one node.
import type { Command } from 'commander';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { renderDevices } from './device-table.ts';
import { exitCode } from './exit-code.ts';
import { heldByOf, nodeFields } from './node-table.ts';
import { addOutputFlag, addWatchFlag, type OutputFormat, printRepeatedly, watchPeriodMs } from './output.ts';
import { renderFields } from './table.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<node>', 'id or name of the node');
  addWatchFlag(addOutputFlag(addClientFlags(command)));
  command.action(async (id: string) => {
    const options = command.opts() as { output: OutputFormat; watch?: unknown };
    const periodMs = watchPeriodMs(options.watch);
    const client = await openClient(command, context);
    await printRepeatedly(
      context,
      options.output,
      periodMs,
      () => client.node(id),
      (node, style) => [
        ...renderFields(nodeFields(node)),
        ...(node.devices.length === 0
          ? []
          : [
              '',
              ...renderDevices(node.devices, style, {
                heldBy: heldByOf(node.devices),
                nowMs: context.clock.wallMs(),
              }),
            ]),
      ],
    );
    finish(exitCode.ok);
  });
}
