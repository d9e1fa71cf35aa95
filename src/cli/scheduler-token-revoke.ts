// `flopd scheduler token revoke ID`: a join token is good for nothing any more; nodes that have joined with it stay.
import type { Command } from 'commander';
import { parseToken, splitPin } from '../base/token-text.ts';
import type { JoinTokenView } from '../protocol/join-token.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeOut } from './output.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('<id>', 'id of the token, as "flopd scheduler token list" shows it');
  addClientFlags(command);
  command.action(async (text: string) => {
    const client = await openClient(command, context);
    // Of a whole token that somebody has found, only the id is sent.
    const id = parseToken(splitPin(text).token)?.id ?? text;
    const target = `/v1/join-tokens/${encodeURIComponent(id)}/revoke`;
    const { uses, usesLeft } = await client.call<JoinTokenView>('POST', target, {});
    const joined = uses - usesLeft;
    const stay = joined === 0 ? 'no host has joined with it' : `${joined} joined with it and stay`;
    await writeOut(context.stdout, `${escapeText(`${id} is revoked; ${stay}`)}\n`);
    finish(exitCode.ok);
  });
}
