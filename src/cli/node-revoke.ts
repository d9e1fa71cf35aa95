// `flopd node revoke NODE`: its key may be in other hands, and is good for nothing any more.
import type { Command } from 'commander';
import type { RemovedNode } from '../protocol/api.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeLines } from './output.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<node>', 'id or name of the node');
  addClientFlags(command).addHelpText(
    'after',
    `
For admins. Its session ends at once, jobs that were with it are lost, and its key is never good again, also when the
scheduler loses its store. The host may come back with a new key and a join token; under the same name only with a token
that was made for it:

  flopd scheduler token create --for-node NODE-ID      then, on the host:   flopd join URL --token TOKEN --new-key`,
  );
  command.action(async (node: string) => {
    const client = await openClient(command, context);
    const target = `/v1/nodes/${encodeURIComponent(node)}/revoke`;
    const { id, name, jobs } = await client.call<RemovedNode>('POST', target, {});
    const lost =
      jobs.length === 0
        ? 'no job was with it'
        : jobs.length === 1
          ? `${jobs[0]} was with it and is lost`
          : `${jobs.length} jobs were with it and are lost`;
    await writeLines(
      context.stdout,
      [
        `the key of ${name} (${id}) is revoked; ${lost}`,
        `to let it back under its name: flopd scheduler token create --for-node ${id}`,
      ].map(escapeText),
    );
    finish(exitCode.ok);
  });
}
