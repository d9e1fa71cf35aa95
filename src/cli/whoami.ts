// `flopd whoami`: as whom this user talks to a scheduler.
import type { Command } from 'commander';
import type { MeView } from '../protocol/user-api.ts';
import { addClientFlags } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { renderFields } from './table.ts';
import { ABSENT } from './text.ts';
import { openUsers } from './user-command.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addClientFlags(command)).addHelpText(
    'after',
    '\nJSON: {"url", "schedulerId", "user", "role", "tokenExpiresAt", "keys": [{"id", "publicKey", "addedAt"}, …]}.',
  );
  command.action(async () => {
    const { output } = command.opts() as { output: OutputFormat };
    const users = await openUsers(command, context);
    const me = await users.me();
    await printValue(context, output, { url: users.url, ...me }, () => renderFields(fields(users.url, me)));
    finish(exitCode.ok);
  });
}

function fields(url: string, me: MeView): (readonly [string, string])[] {
  return [
    ['user', me.user],
    ['role', me.role],
    ['scheduler', `${url} (${me.schedulerId})`],
    ['token expires', me.tokenExpiresAt ?? 'never: it is good on this machine only'],
    ['signs with', me.keys.map(({ id }) => id).join(', ') || ABSENT],
  ];
}
