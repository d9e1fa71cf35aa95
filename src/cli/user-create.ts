// `flopd user create`: somebody who may use this scheduler, and their first token.
import { type Command, Option } from 'commander';
import { type Role, roles } from '../protocol/role.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { usageFault } from './usage.ts';
import {
  addUserFlags,
  EXPIRES_HELP,
  openUsers,
  readLifetime,
  requireName,
  showToken,
} from './user-command.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<name>', 'a word by which jobs and records go: a-z, 0-9, ".", "_", "-"')
    .addOption(new Option('--role <ROLE>', 'what they may do (needed)').choices([...roles]))
    .option('--expires <DURATION>', EXPIRES_HELP);
  addUserFlags(command).addHelpText(
    'after',
    `
viewer      sees nodes, devices, and that there are jobs; no commands, no output
submitter   submits, and may do everything with its own jobs
operator    the same with everybody's jobs; drains and removes nodes
admin       users, join tokens, keys, audit

The token is shown once; the scheduler keeps only its hash.

Example:
  flopd user create mei --role submitter --expires 30d`,
  );
  command.action(async (name: string) => {
    const { role, expires } = command.opts() as { role?: Role; expires?: string };
    if (role === undefined) throw usageFault('--role: it is missing', `give one of ${roles.join(', ')}`);
    const lifetimeMs = readLifetime(expires);
    const users = await openUsers(command, context);
    const made = await users.create({
      name: requireName(name),
      role,
      ...(lifetimeMs === undefined ? {} : { lifetimeMs }),
    });
    await showToken(context, users.url, made);
    finish(exitCode.ok);
  });
}
