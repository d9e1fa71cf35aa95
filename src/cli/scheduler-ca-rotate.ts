// `flopd scheduler ca rotate`: a next private authority in the place of the present one, without any node losing its way.
import type { Command } from 'commander';
import { authorityFields } from './authority-text.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeLines } from './output.ts';
import { renderFields } from './table.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addClientFlags(
    command.option('--now', 'take the next step at once, without waiting for the overlap'),
  ).addHelpText(
    'after',
    `
Nodes are told of the next authority over their sessions; after the overlap (--tls-overlap of the scheduler, 7 days) it
signs, and after another one the last is trusted no more. With --now the next step is taken at once: first the next
authority signs, and a second --now ends the trust in the last one, whose tokens and pins end with it. Sessions go on.`,
  );
  command.action(async () => {
    const { now } = command.opts() as { now?: boolean };
    const client = await openClient(command, context);
    const view = await client.rotateAuthority(now === true);
    await writeLines(context.stdout, renderFields(authorityFields(view)).map(escapeText));
    finish(exitCode.ok);
  });
}
