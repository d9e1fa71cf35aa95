// `flopd node trust NODE`: of several agents that had its key one is left, says an admin.
import type { Command } from 'commander';
import type { NodeView } from '../protocol/api.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeOut } from './output.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<node>', 'id or name of the node');
  addClientFlags(command).addHelpText(
    'after',
    `
For admins. A node is marked when a second agent shows its key: a state directory that was copied, a snapshot that was
restored. Stop all but one of them first. Where one is connected, that is the one; otherwise the first to come.`,
  );
  command.action(async (node: string) => {
    const client = await openClient(command, context);
    const view = await client.call<NodeView>('POST', `/v1/nodes/${encodeURIComponent(node)}/trust`, {});
    await writeOut(context.stdout, `${escapeText(`${view.name} is trusted again: ${view.reason}`)}\n`);
    finish(exitCode.ok);
  });
}
