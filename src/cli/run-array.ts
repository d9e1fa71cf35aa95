// `flopd run --array`: what each job wrote, when it has ended, and how they ended.
import type { ArrayView } from '../protocol/api.ts';
import { followArray } from './array-follow.ts';
import { createEndTeller, printMember } from './array-output.ts';
import type { Client } from './client.ts';
import type { Context } from './context.ts';
import { exitCode, memberExitCode } from './exit-code.ts';
import { say } from './message.ts';

/** An array that waits longer than this says why. */
const WAIT_NOTICE_MS = 2000;

/** Prints what each job of the array wrote when it has ended; returns the highest exit code. */
export async function runArray(
  context: Context,
  client: Client,
  { id }: ArrayView,
  verbose: boolean,
  speak: (message: string) => void,
): Promise<number> {
  let highest: number = exitCode.ok;
  const tellEnd = createEndTeller(context, id, verbose);
  let told = false;
  const startedMs = context.clock.monotonicMs();
  const end = await followArray({
    client,
    id,
    clock: context.clock,
    sink: {
      async ended(member) {
        if (member.stdoutBytes + member.stderrBytes > 0)
          await printMember(context, client, member, { stdout: true, stderr: true, raw: false });
        highest = Math.max(highest, memberExitCode(member));
        tellEnd(member);
      },
      array(view) {
        const isWaiting = view.counts.PENDING === view.size;
        if (told || !isWaiting || context.clock.monotonicMs() - startedMs < WAIT_NOTICE_MS) return;
        told = true;
        speak(`array ${id} waits: ${view.reason}`);
      },
      link: (problem) =>
        speak(problem === null ? 'connected again' : `${problem}; the jobs go on, reconnecting`),
    },
  });
  if (end.counts.COMPLETED < end.size || verbose) say(context.stderr, `array ${id}: ${end.reason}`);
  return highest;
}
