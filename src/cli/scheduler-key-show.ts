// `flopd scheduler key show`: the keys that the scheduler signs orders with.
import type { Command } from 'commander';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { keyLines } from './key-text.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(addClientFlags(command));
  command.action(async () => {
    const { output } = command.opts() as { output: OutputFormat };
    const view = await (await openClient(command, context)).schedulerKeys();
    await printValue(context, output, view, () => keyLines(view));
    finish(exitCode.ok);
  });
}
