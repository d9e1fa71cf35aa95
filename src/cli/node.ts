// `flopd node ID`: everything about one node; with --remove an operator says that it will not come back.
import type { Command } from 'commander';
import type { RemovedNode } from '../protocol/api.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { renderDevices } from './device-table.ts';
import { exitCode } from './exit-code.ts';
import { heldByOf, nodeFields } from './node-table.ts';
import {
  addOutputFlag,
  addWatchFlag,
  type OutputFormat,
  printRepeatedly,
  watchPeriodMs,
  writeOut,
} from './output.ts';
import { renderFields } from './table.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<node>', 'id or name of the node')
    .option('--remove', 'forget the node: it will not come back, and jobs that were with it are lost');
  addWatchFlag(addOutputFlag(addClientFlags(command)));
  command.action(async (id: string) => {
    const options = command.opts() as { output: OutputFormat; watch?: unknown; remove?: boolean };
    if (options.remove === true) {
      const removed = await (await openClient(command, context)).removeNode(id);
      await writeOut(context.stdout, `${escapeText(describeRemoved(removed))}\n`);
      finish(exitCode.ok);
      return;
    }
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

function describeRemoved({ name, id, jobs }: RemovedNode): string {
  const lost =
    jobs.length === 0
      ? 'no job was with it'
      : jobs.length === 1
        ? `${jobs[0]} was with it and is lost`
        : `${jobs.length} jobs were with it and are lost`;
  return `${name} (${id}) is removed; ${lost}. It can join again with a join token`;
}
