// `flopd cancel`: asks for the end of jobs; returns when the scheduler has it on record, not when they have ended.
import type { Command } from 'commander';
import { describeError } from '../base/fault.ts';
import { isFinalState } from '../protocol/result.ts';
import { isArray } from './client.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { say } from './message.ts';
import { writeOut } from './output.ts';
import { escapeText } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id...>', 'ids of jobs or arrays, or starts of ids; arr-ID.N is one job of an array')
    .option('--reason <TEXT>', 'why, for the record');
  addClientFlags(command).addHelpText(
    'after',
    '\nExit code 1 when any of them is unknown or had already ended.',
  );
  command.action(async (ids: string[]) => {
    const { reason } = command.opts() as { reason?: string };
    const client = await openClient(command, context);
    let code: number = exitCode.ok;
    for (const id of ids) {
      try {
        const before = await client.find(id);
        if (isArray(before)) {
          if (before.ended) {
            say(context.stderr, `array ${before.id} has already ended`);
            code = exitCode.failed;
            continue;
          }
          const { reason: stand } = await client.cancelArray(before.id, reason ?? null);
          await writeOut(context.stdout, `${before.id} is being cancelled: ${escapeText(stand)}\n`);
          continue;
        }
        if (isFinalState(before.state)) {
          say(context.stderr, `job ${before.id} has already ended: ${before.state}`);
          code = exitCode.failed;
          continue;
        }
        const job = await client.cancel(before.id, reason ?? null);
        const note = isFinalState(job.state) ? job.state : 'is being cancelled';
        await writeOut(context.stdout, `${job.id} ${escapeText(note)}\n`);
      } catch (error) {
        if (ids.length === 1) throw error;
        say(context.stderr, `${id}: ${describeError(error)}`);
        code = exitCode.failed;
      }
    }
    finish(code);
  });
}
