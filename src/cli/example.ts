// The example job of `flopd up --example`: a CPU matrix product of known FLOP count, submitted like any other job.
import { accessSync, constants } from 'node:fs';
import { waited } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import { nativePaths } from '../native.ts';
import type { Client } from './client.ts';
import type { Context } from './context.ts';
import { followJob } from './follow.ts';
import { describeEnd, describeUsage, say } from './message.ts';
import { writeOut } from './output.ts';
import { escapeText } from './text.ts';

const PREFIX = 'example:   ';
const TIME_LIMIT_MS = 60_000;
/** The node says what it has when it connects, soon after the start. */
const NODE_LOOKS = 50;
const NODE_LOOK_MS = 100;

/** Never rejects: a failed example is told, and the network goes on. */
export async function runExample(context: Context, client: Client): Promise<void> {
  const program = nativePaths(context.root).matmul;
  try {
    accessSync(program, constants.X_OK);
  } catch {
    say(context.stderr, `no example job: ${program} is missing; install g++ and run "npm run build"`);
    return;
  }
  try {
    const job = await client.submit({
      version: 1,
      name: 'example',
      command: [program],
      resources: { cpus: await readCpus(context, client) },
      timeLimitMs: TIME_LIMIT_MS,
    });
    const stdout = createLinePrefixer(PREFIX, (line) => writeOut(context.stdout, line));
    const stderr = createLinePrefixer(PREFIX, (line) => writeOut(context.stderr, line));
    await writeOut(context.stdout, `${PREFIX}job ${job.id} multiplies two matrices on the CPU\n`);
    const ended = await followJob({
      client,
      jobId: job.id,
      clock: context.clock,
      random: context.random,
      sink: { stdout: stdout.push, stderr: stderr.push, job() {}, link() {} },
    });
    await stdout.end();
    await stderr.end();
    await writeOut(
      context.stdout,
      `${PREFIX}${escapeText(`${describeEnd(ended)}; ${describeUsage(ended)}`)}\n`,
    );
  } catch (error) {
    say(context.stderr, `the example job could not be followed: ${describeError(error)}`);
  }
}

/** All that the node gives to jobs: the program has a thread for each, and its quota is what it asked for. */
async function readCpus({ clock }: Context, client: Client): Promise<number> {
  for (let look = 0; look < NODE_LOOKS; look += 1) {
    const { nodes } = await client.nodes();
    const totals = nodes.flatMap(({ resources }) => resources?.cpus.total ?? []);
    if (totals.length > 0) return Math.max(...totals);
    await waited(clock, NODE_LOOK_MS);
  }
  return 1;
}

const MAX_LINE = 4096;

/** Puts a prefix before each line; lines are made safe for the terminal and cut at 4096 bytes. */
function createLinePrefixer(
  prefix: string,
  write: (text: string) => Promise<void>,
): { push(bytes: Uint8Array): Promise<void>; end(): Promise<void> } {
  const decoder = new TextDecoder();
  let rest = '';
  return {
    async push(bytes) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
      rest = (lines.pop() ?? '').slice(0, MAX_LINE);
      for (const line of lines) await write(`${prefix}${escapeText(line)}\n`);
    },
    async end() {
      if (rest !== '') await write(`${prefix}${escapeText(rest)}\n`);
      rest = '';
    },
  };
}
