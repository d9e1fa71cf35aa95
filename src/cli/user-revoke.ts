// `flopd user revoke`: from this moment on the user's token opens nothing; what is open to them is cut. Jobs go on.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeLines } from './output.ts';
import { escapeText } from './text.ts';
import { addUserFlags, openUsers, requireName } from './user-command.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<name>', 'the user');
  addUserFlags(command).addHelpText(
    'after',
    '\nJobs of the user go on; cancel them with "flopd cancel". "flopd user token NAME" lets the user in again.',
  );
  command.action(async (name: string) => {
    const users = await openUsers(command, context);
    const user = await users.revoke(requireName(name));
    await writeLines(context.stdout, [escapeText(`${user.name} is revoked; jobs of theirs go on`)]);
    finish(exitCode.ok);
  });
}
