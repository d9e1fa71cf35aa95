// `flopd scheduler token list`: the join tokens; never their secrets, of which only hashes are kept.
import type { Command } from 'commander';
import { describePlace } from '../protocol/credential.ts';
import type { JoinTokenView } from '../protocol/join-token.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { labelText } from './node-table.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { renderTable, type TableColumn } from './table.ts';
import { ABSENT } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addClientFlags(command));
  command.action(async () => {
    const { output } = command.opts() as { output: OutputFormat };
    const client = await openClient(command, context);
    const answer = await client.call<{ tokens: JoinTokenView[] }>('GET', '/v1/join-tokens', null);
    await printValue(context, output, answer, (style) =>
      answer.tokens.length === 0
        ? ['no join tokens: make one with "flopd scheduler token create"']
        : renderTable(columns, answer.tokens, style),
    );
    finish(exitCode.ok);
  });
}

const columns: readonly TableColumn<JoinTokenView>[] = [
  { title: 'ID', cell: ({ id }) => id },
  {
    title: 'STATE',
    cell: ({ state }) => state,
    colour: ({ state }) => (state === 'good' ? '32' : null),
  },
  { title: 'LEFT', align: 'right', cell: ({ usesLeft, uses }) => `${usesLeft}/${uses}` },
  { title: 'EXPIRES', cell: ({ expiresAt }) => expiresAt },
  { title: 'PLACE', cell: ({ place }) => describePlace(place) ?? ABSENT },
  { title: 'FOR', wide: true, cell: ({ nodeId }) => nodeId ?? ABSENT },
  { title: 'BY', cell: ({ createdBy }) => createdBy },
  {
    title: 'LABELS',
    cell: ({ labels }) => labelText(labels),
  },
];
