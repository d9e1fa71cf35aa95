// `flopd node place NODE`: where a node stands, when an admin knows better than its join token did.
import type { Command } from 'commander';
import type { NodeView } from '../protocol/api.ts';
import { describePlace } from '../protocol/credential.ts';
import { nowhere } from '../protocol/place.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeOut } from './output.ts';
import { addPlaceFlags, type PlaceFlags, readPlace } from './place-options.ts';
import { escapeText } from './text.ts';
import { usageFault } from './usage.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<node>', 'id or name of the node').option('--nowhere', 'take its place away');
  addClientFlags(addPlaceFlags(command)).addHelpText(
    'after',
    `
For admins. The place as a whole is replaced, in the credential of the node: it learns of it at once, or when it connects.

Example:
  flopd node place gpu-7 --jurisdiction CN-GD --hub Shaoguan --city Shaoguan`,
  );
  command.action(async (node: string) => {
    const flags = command.opts() as PlaceFlags & { nowhere?: true };
    const place = readPlace(flags);
    if ((place === null) === (flags.nowhere === undefined))
      throw usageFault(
        place === null ? 'no place is given' : '--nowhere: a place is given as well',
        'name it with --jurisdiction, --hub, --cluster and --city, or take it away with --nowhere',
      );
    const client = await openClient(command, context);
    const target = `/v1/nodes/${encodeURIComponent(node)}/place`;
    const view = await client.call<NodeView>('POST', target, { place: place ?? nowhere });
    const where = describePlace(view.place) ?? 'nowhere';
    await writeOut(
      context.stdout,
      `${escapeText(`${view.name} stands in ${where}`.replace('in nowhere', 'nowhere'))}\n`,
    );
    finish(exitCode.ok);
  });
}
