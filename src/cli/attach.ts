// `flopd attach`: both outputs of a running job from now on, to its end. Leaving changes nothing for the job: signals
// are not passed on to it, on purpose. Whoever wants to stop it says "flopd cancel".
import type { Command } from 'commander';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context, StopSignal } from './context.ts';
import { jobExitCode, signalExitCode } from './exit-code.ts';
import { followJob } from './follow.ts';
import { describeEnd, say, sayGap, sayMissing } from './message.ts';
import { createShower } from './shower.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id>', 'id of the job, or the start of one')
    .option('--raw', 'every byte as it is, on a terminal as well');
  addClientFlags(command).addHelpText(
    'after',
    `
Ctrl-C leaves; the job goes on. Its standard input cannot be attached: it has none. See "flopd logs -f" for what came
before, "flopd exec -it ID -- sh" for a shell beside the job.

Exit code: that of the job when it ends, as for "flopd run"; 130 after Ctrl-C.`,
  );
  command.action(async (id: string) => finish(await attach(command, context, id)));
}

async function attach(command: Command, context: Context, id: string): Promise<number> {
  const { raw } = command.opts() as { raw?: boolean };
  const client = await openClient(command, context);
  const job = await client.job(id);
  let leave: (signal: StopSignal) => void = () => {};
  const left = new Promise<StopSignal>((resolve) => {
    leave = resolve;
  });
  const restore = context.onSignal(['SIGINT', 'SIGTERM'], (signal) => leave(signal));
  const shower = createShower(context, raw === true);
  let isAttached = false;
  try {
    const following = followJob({
      client,
      jobId: job.id,
      clock: context.clock,
      random: context.random,
      stdoutOffset: job.stdoutBytes,
      stderrOffset: job.stderrBytes,
      sink: {
        stdout: (bytes) => shower.write('stdout', bytes),
        stderr: (bytes) => shower.write('stderr', bytes),
        // Not before: the scheduler may still refuse it.
        job({ state }) {
          if (!isAttached)
            say(context.stderr, `attached to job ${job.id} (${state}); Ctrl-C leaves it alone`);
          isAttached = true;
        },
        gap: (gap, seenBytes) => sayGap(context.stderr, gap, seenBytes, job),
        link: (problem) =>
          say(
            context.stderr,
            problem === null ? 'connected again' : `${problem}; the job goes on, reconnecting`,
          ),
      },
    });
    const end = await Promise.race([following, left]);
    if (typeof end === 'string') {
      say(context.stderr, `left job ${job.id}, which goes on: stop it with "flopd cancel ${job.id}"`);
      following.catch(() => {});
      return signalExitCode(end);
    }
    sayMissing(context.stderr, end);
    say(context.stderr, describeEnd(end));
    return jobExitCode(end);
  } finally {
    restore();
    await shower.end();
  }
}
