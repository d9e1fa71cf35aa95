// `flopd user role`: what a user may do from now on.
import type { Command } from 'commander';
import { type Role, roles } from '../protocol/role.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeLines } from './output.ts';
import { escapeText } from './text.ts';
import { usageFault } from './usage.ts';
import { addUserFlags, openUsers, requireName } from './user-command.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<name>', 'the user').argument('<role>', roles.join(', '));
  addUserFlags(command);
  command.action(async (name: string, role: string) => {
    if (!roles.includes(role as Role))
      throw usageFault(`role: ${JSON.stringify(role)} is no role`, `give one of ${roles.join(', ')}`);
    const users = await openUsers(command, context);
    const user = await users.setRole(requireName(name), role);
    await writeLines(context.stdout, [escapeText(`${user.name} is ${user.role} now`)]);
    finish(exitCode.ok);
  });
}
