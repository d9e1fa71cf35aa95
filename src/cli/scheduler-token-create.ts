// `flopd scheduler token create`: a join token, shown this once.

import type { Command } from 'commander';
import { isLoopbackName } from '../base/loopback.ts';
import { parseDurationMs, parseInteger } from '../config/value.ts';
import { describePlace } from '../protocol/credential.ts';
import { MAX_TOKEN_LIFE_MS, MAX_TOKEN_USES, type NewJoinToken } from '../protocol/join-token.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { addPlaceFlags, type PlaceFlags, readLabels, readPlace } from './place-options.ts';
import { shellQuote } from './text.ts';
import { readGivenFlag } from './usage.ts';

interface Flags extends PlaceFlags {
  readonly uses?: string;
  readonly expires?: string;
  readonly label: readonly string[];
  readonly forNode?: string;
  readonly output: OutputFormat;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .option('--uses <N>', 'how many hosts may join with it (default: 1)')
    .option('--expires <DURATION>', 'how long it is good: 30m, 1h, 7d (default: 1h; at most 366d)')
    .option(
      '--label <K=V>',
      'label of the nodes (repeatable)',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option('--for-node <ID>', 'for a host that takes the name of this node, with a new key');
  addPlaceFlags(command);
  addOutputFlag(addClientFlags(command)).addHelpText(
    'after',
    `
For admins. A node stands where its token says: jobs with data go only where that is allowed. The token is shown this
once; what is kept is its hash.

Examples:
  flopd scheduler token create --jurisdiction CN-GD --city Shenzhen
  flopd scheduler token create --uses 40 --expires 7d --label rack=b7`,
  );
  command.action(async () => {
    const flags = command.opts() as Flags;
    const place = readPlace(flags);
    const uses = readGivenFlag('--uses', flags.uses, (text) =>
      parseInteger(text, { min: 1, max: MAX_TOKEN_USES }, '3'),
    );
    const forMs = readGivenFlag('--expires', flags.expires, (text) =>
      parseDurationMs(text, { min: 1000, max: MAX_TOKEN_LIFE_MS }, false),
    );
    const labels = readLabels('--label', flags.label);
    const client = await openClient(command, context);
    const token = await client.call<NewJoinToken>('POST', '/v1/join-tokens', {
      labels,
      ...(uses === undefined ? {} : { uses }),
      ...(forMs === undefined ? {} : { forMs }),
      ...(place === null ? {} : { place }),
      ...(flags.forNode === undefined ? {} : { nodeId: flags.forNode }),
    });
    await printValue(context, flags.output, token, () => describeToken(token, token.url ?? client.url));
    finish(exitCode.ok);
  });
}

function describeToken(token: NewJoinToken, url: string): string[] {
  const hosts = token.uses === 1 ? 'one host' : `${token.uses} hosts`;
  const where = describePlace(token.place);
  const stand = where === null ? 'nowhere: no jobs with data that may not leave a place' : where;
  const renewed = token.nodeId === null ? '' : ` --new-key`;
  return [
    `token:  ${token.token}`,
    `good:   for ${hosts} until ${token.expiresAt}${token.nodeId === null ? '' : `, as ${token.nodeId}`}`,
    `place:  ${stand}`,
    `join:   flopd join ${shellQuote(url)} --token ${token.token}${renewed}`,
    ...(isLoopbackName(new URL(url).hostname)
      ? [`        on other hosts with the address that they reach this scheduler by`]
      : []),
  ];
}
