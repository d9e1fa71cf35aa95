// `flopd scheduler ca rotate`: a next private authority in the place of the present one, without any node losing its way.
import type { Command } from 'commander';
import { authorityFields } from './authority-text.ts';
import { createClient } from './client.ts';
import { addClientFlags } from './client-command.ts';
import type { Context } from './context.ts';
import { findAccess, followAuthorities } from './endpoint.ts';
import { exitCode } from './exit-code.ts';
import { readConfig } from './flags.ts';
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
authority signs, and a second --now ends the trust in the last one, whose tokens and pins end with it. Sessions go on.
A login asks once an hour in use who signs next: users that a --now leaves behind log in again, with the pin that
"flopd scheduler ca show" names in the place of the last one (TOKEN.PIN).`,
  );
  command.action(async () => {
    const { now } = command.opts() as { now?: boolean };
    const config = await readConfig(command, context);
    const access = await findAccess(config, context.environment);
    const view = await createClient(access).rotateAuthority(now === true);
    // Whoever takes one step after the other must not lock himself out of the next.
    if (config.caFile === null) await followAuthorities(context.environment, access);
    await writeLines(context.stdout, renderFields(authorityFields(view)).map(escapeText));
    finish(exitCode.ok);
  });
}
