// `flopd node label NODE K=V … K-`: labels of a node, in its credential.
import type { Command } from 'commander';
import type { NodeView } from '../protocol/api.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { labelText } from './node-table.ts';
import { writeOut } from './output.ts';
import { readLabels } from './place-options.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<node>', 'id or name of the node')
    .argument('<labels...>', 'K=V sets a label, K- takes it away');
  addClientFlags(command).addHelpText(
    'after',
    '\nFor admins.\n\nExample:\n  flopd node label gpu-7 rack=b7 old-',
  );
  command.action(async (node: string, entries: readonly string[]) => {
    const removed = entries.filter((entry) => /^[^=]+-$/.test(entry));
    const set = readLabels(
      'labels',
      entries.filter((entry) => !removed.includes(entry)),
    );
    const labels = { ...set, ...Object.fromEntries(removed.map((entry) => [entry.slice(0, -1), null])) };
    const client = await openClient(command, context);
    const target = `/v1/nodes/${encodeURIComponent(node)}/label`;
    const view = await client.call<NodeView>('POST', target, { labels });
    await writeOut(context.stdout, `${escapeText(`${view.name}: ${labelText(view.labels)}`)}\n`);
    finish(exitCode.ok);
  });
}
