// The outputs of an array's jobs, one job after the other, each line behind the index of its job: `[3] text`. Lines of
// different jobs never mix. `flopd logs arr-ID.3` has the bytes of one as they are.
import type { ArrayView, JobView, MemberView } from '../protocol/api.ts';
import { memberName } from '../protocol/array.ts';
import { endedIndices, followArray, forEachMember } from './array-follow.ts';
import type { Client } from './client.ts';
import type { Context } from './context.ts';
import { followJob } from './follow.ts';
import { say, sayGap, sayMissing } from './message.ts';
import { createShower } from './shower.ts';
import { usageFault } from './usage.ts';

const NEWLINE = 0x0a;
const ENDS_TOLD = 20;

export interface MemberOutput {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly raw: boolean;
}

/** Writes both outputs of a job that has ended, or is followed to its end. */
export async function printMember(
  context: Context,
  client: Client,
  member: Pick<MemberView, 'id' | 'index'>,
  wanted: MemberOutput,
): Promise<void> {
  const shower = createShower(context, wanted.raw);
  const prefix = `[${member.index}] `;
  const writers = {
    stdout: createLinePrefixer(prefix, (bytes) => shower.write('stdout', bytes)),
    stderr: createLinePrefixer(prefix, (bytes) => shower.write('stderr', bytes)),
  };
  let latest: JobView | null = null;
  try {
    const job = await followJob({
      client,
      jobId: member.id,
      clock: context.clock,
      random: context.random,
      sink: {
        stdout: async (bytes) => (wanted.stdout ? writers.stdout.push(bytes) : undefined),
        stderr: async (bytes) => (wanted.stderr ? writers.stderr.push(bytes) : undefined),
        job(view) {
          latest = view;
        },
        gap(gap, seenBytes) {
          if (wanted[gap.stream] && latest !== null) sayGap(context.stderr, gap, seenBytes, latest);
        },
        link: (problem) =>
          say(context.stderr, problem === null ? 'connected again' : `${problem}; reconnecting`),
      },
    });
    sayMissing(context.stderr, job);
    await writers.stdout.end();
    await writers.stderr.end();
  } finally {
    await shower.end();
  }
}

/** Tells on stderr how jobs of an array ended, the first so many of those that did not complete; `all` tells all. */
export function createEndTeller(
  context: Context,
  arrayId: string,
  all: boolean,
): (member: MemberView) => void {
  let told = 0;
  return ({ index, state, reason }) => {
    if (!all && (state === 'COMPLETED' || told > ENDS_TOLD)) return;
    told += 1;
    const name = memberName(arrayId, index);
    if (!all && told > ENDS_TOLD)
      say(context.stderr, `${arrayId}: what more of its jobs do not complete is not told one by one`);
    else say(context.stderr, `${name} ${state}${reason === '' ? '' : `: ${reason}`}`);
  };
}

export interface LinePrefixer {
  push(bytes: Uint8Array): Promise<void>;
  /** Ends a last line that has no end. */
  end(): Promise<void>;
}

export function createLinePrefixer(
  prefix: string,
  write: (bytes: Uint8Array) => Promise<void>,
): LinePrefixer {
  const head = Buffer.from(prefix);
  let atStart = true;
  return {
    async push(bytes) {
      const pieces: Uint8Array[] = [];
      for (let from = 0; from < bytes.length; ) {
        if (atStart) pieces.push(head);
        const newline = bytes.indexOf(NEWLINE, from);
        const to = newline < 0 ? bytes.length : newline + 1;
        pieces.push(bytes.subarray(from, to));
        atStart = newline >= 0;
        from = to;
      }
      if (pieces.length > 0) await write(Buffer.concat(pieces));
    },
    async end() {
      if (!atStart) await write(Buffer.from('\n'));
      atStart = true;
    },
  };
}

/** `flopd logs` of an array: of the jobs that have ended, with `follow` of all as they end. */
export async function printArrayLogs(
  context: Context,
  client: Client,
  array: ArrayView,
  flags: {
    readonly follow?: boolean;
    readonly stdout?: boolean;
    readonly stderr?: boolean;
    readonly raw?: boolean;
    readonly tail?: string;
    readonly since?: string;
    readonly attempt?: string;
  },
): Promise<void> {
  for (const flag of ['tail', 'since', 'attempt'] as const) {
    if (flags[flag] !== undefined)
      throw usageFault(
        `--${flag}: ${array.id} is an array`,
        `name one of its jobs, for example ${array.id}.${array.spec.array?.first}`,
      );
  }
  const both = flags.stdout !== true && flags.stderr !== true;
  const wanted = {
    stdout: both || flags.stdout === true,
    stderr: both || flags.stderr === true,
    raw: flags.raw === true,
  };
  const print = async (member: MemberView): Promise<void> => {
    if (member.stdoutBytes + member.stderrBytes > 0) await printMember(context, client, member, wanted);
  };
  if (flags.follow !== true) {
    await forEachMember(client, array.id, endedIndices(array), print);
    const open = array.size - endedIndices(array).length;
    if (open > 0) say(context.stderr, `${open} of ${array.size} jobs of ${array.id} have not ended`);
    return;
  }
  await followArray({
    client,
    id: array.id,
    clock: context.clock,
    sink: {
      ended: print,
      array() {},
      link: (problem) =>
        say(context.stderr, problem === null ? 'connected again' : `${problem}; reconnecting`),
    },
  });
}
