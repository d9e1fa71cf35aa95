// `flopd user list`: who may use this scheduler.
import type { Command } from 'commander';
import type { UserView } from '../protocol/user-api.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { renderTable, type TableColumn } from './table.ts';
import { ABSENT } from './text.ts';
import { addUserFlags, openUsers } from './user-command.ts';

const columns: readonly TableColumn<UserView>[] = [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'ROLE', cell: ({ role }) => role },
  { title: 'STATE', cell: ({ state }) => state, colour: ({ state }) => (state === 'active' ? '32' : '33') },
  { title: 'TOKEN', wide: true, cell: ({ token }) => token?.id ?? ABSENT },
  { title: 'EXPIRES', cell: ({ token }) => token?.expiresAt ?? ABSENT },
  { title: 'KEYS', align: 'right', cell: ({ keys }) => String(keys.length) },
  { title: 'CREATED', wide: true, cell: ({ createdAt }) => createdAt },
  { title: 'BY', cell: ({ createdBy }) => createdBy },
];

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addUserFlags(command)).addHelpText(
    'after',
    '\nJSON: {"users": [{"name", "role", "state", "createdAt", "createdBy", "revokedAt", "token", "keys"}, …]}. Secrets are kept nowhere.',
  );
  command.action(async () => {
    const { output } = command.opts() as { output: OutputFormat };
    const { users } = await (await openUsers(command, context)).list();
    await printValue(context, output, { users }, (style) =>
      users.length === 0
        ? ['no users: the local token of the state directory is the only one']
        : renderTable(columns, users, style),
    );
    finish(exitCode.ok);
  });
}
