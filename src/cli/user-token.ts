// `flopd user token`: a new token in place of the one before; a revoked user is one again.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import {
  addUserFlags,
  EXPIRES_HELP,
  openUsers,
  readLifetime,
  requireName,
  showToken,
} from './user-command.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<name>', 'the user').option('--expires <DURATION>', EXPIRES_HELP);
  addUserFlags(command).addHelpText(
    'after',
    '\nThe token before is no good any more from this moment on. A revoked user may work again.',
  );
  command.action(async (name: string) => {
    const lifetimeMs = readLifetime((command.opts() as { expires?: string }).expires);
    const users = await openUsers(command, context);
    await showToken(context, users.url, await users.renew(requireName(name), lifetimeMs));
    finish(exitCode.ok);
  });
}
