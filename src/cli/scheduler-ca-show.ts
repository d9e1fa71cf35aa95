// `flopd scheduler ca show`: the scheduler's private authority, and how its succession stands.
import type { Command } from 'commander';
import { authorityFields } from './authority-text.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { renderFields } from './table.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addClientFlags(command)).addHelpText(
    'after',
    `
The certificate itself is scheduler/ca.pem in the scheduler's state directory. Its pin is the end of every token that is
made for use on other hosts.`,
  );
  command.action(async () => {
    const { output } = command.opts() as { output: OutputFormat };
    const view = await (await openClient(command, context)).authority();
    await printValue(context, output, view, () => renderFields(authorityFields(view)));
    finish(exitCode.ok);
  });
}
