// `flopd scheduler key rotate`: a next key for orders in the place of the present one.
import type { Command } from 'commander';
import { formatDuration, parseDurationMs } from '../config/value.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { keyLines } from './key-text.ts';
import { writeLines } from './output.ts';
import { readFlag } from './usage.ts';

const OVERLAP = { min: 0, max: 90 * 86_400_000 };
const DEFAULT_OVERLAP_MS = 3_600_000;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addClientFlags(
    command.option(
      '--overlap <DURATION>',
      'how long the present key goes on signing (default: 1h); 0s revokes it, for one that somebody else may have',
    ),
  ).addHelpText(
    'after',
    `
Nodes are told of the next key at once, those that are away when they come back; the present key vouches for it. After the
overlap (${formatDuration(DEFAULT_OVERLAP_MS)} unless said otherwise) the next key signs orders. What the present one has signed stays good: orders until
they expire, credentials of nodes and jobs that run for ever.

With --overlap 0s all keys until now are revoked: a node takes no order of theirs from the moment that it hears of it, at once
where it is connected. Running jobs go on, and orders that are under way are signed anew.`,
  );
  command.action(async () => {
    const { overlap } = command.opts() as { overlap?: string };
    const overlapMs =
      overlap === undefined
        ? DEFAULT_OVERLAP_MS
        : readFlag('--overlap', overlap, (given) => parseDurationMs(given, OVERLAP, false));
    const client = await openClient(command, context);
    await writeLines(context.stdout, keyLines(await client.rotateKey(overlapMs)));
    finish(exitCode.ok);
  });
}
