// `flopd logs`: a job's output, bytes unchanged, each stream to its own descriptor.
import type { Command } from 'commander';
import { parseBytes, ValueProblem } from '../config/value.ts';
import type { JobView } from '../protocol/api.ts';
import type { Client } from './client.ts';
import { isPassing, lost } from './client.ts';
import { addClientFlags, openClient } from './client-command.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { followJob } from './follow.ts';
import { say } from './message.ts';
import { pause, writeOut } from './output.ts';
import { usageFault } from './usage.ts';

const MAX_RETRIES = 10;
const RETRY_MS = 500;

interface LogsFlags {
  readonly follow?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly tail?: string;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id>', 'id of the job, or the start of one')
    .option('-f, --follow', 'go on until the job has ended')
    .option('--stdout', 'only standard output')
    .option('--stderr', 'only standard error')
    .option('--tail <SIZE>', 'only the last bytes of each stream, for example 4KiB');
  addClientFlags(command).addHelpText(
    'after',
    '\nWithout -f all of standard output comes first, then all of standard error.\nEnds with 0 however the job ended; "flopd wait" gives its code.',
  );
  command.action(async (id: string) => {
    const flags = command.opts() as LogsFlags;
    const tailBytes = parseTail(flags.tail);
    const client = await openClient(command, context);
    await printLogs(context, client, await client.job(id), flags, tailBytes);
    finish(exitCode.ok);
  });
}

function parseTail(text: string | undefined): number | null {
  if (text === undefined) return null;
  try {
    return parseBytes(text, { min: 0, max: Number.MAX_SAFE_INTEGER });
  } catch (error) {
    if (error instanceof ValueProblem)
      throw usageFault(`--tail: ${JSON.stringify(text)} is ${error.message}`, error.remedy);
    throw error;
  }
}

async function printLogs(
  context: Context,
  client: Client,
  job: JobView,
  flags: LogsFlags,
  tailBytes: number | null,
): Promise<void> {
  const both = flags.stdout !== true && flags.stderr !== true;
  const wanted = { stdout: both || flags.stdout === true, stderr: both || flags.stderr === true };
  const start = (held: number): number => (tailBytes === null ? 0 : Math.max(0, held - tailBytes));
  const offsets = { stdout: start(job.stdoutBytes), stderr: start(job.stderrBytes) };
  if (flags.follow !== true) {
    if (wanted.stdout) await copyStored(context, client, job, 'stdout', offsets.stdout);
    if (wanted.stderr) await copyStored(context, client, job, 'stderr', offsets.stderr);
    return;
  }
  await followJob({
    client,
    jobId: job.id,
    clock: context.clock,
    random: context.random,
    stdoutOffset: offsets.stdout,
    stderrOffset: offsets.stderr,
    sink: {
      stdout: async (bytes) => (wanted.stdout ? writeOut(context.stdout, bytes) : undefined),
      stderr: async (bytes) => (wanted.stderr ? writeOut(context.stderr, bytes) : undefined),
      job() {},
      link: (problem) =>
        say(context.stderr, problem === null ? 'connected again' : `${problem}; reconnecting`),
    },
  });
}

/** Copies what is stored now, going on by offset when the connection breaks. */
async function copyStored(
  context: Context,
  client: Client,
  job: JobView,
  stream: 'stdout' | 'stderr',
  from: number,
): Promise<void> {
  const held = stream === 'stdout' ? job.stdoutBytes : job.stderrBytes;
  let offset = from;
  for (let attempt = 0; offset < held; attempt += 1) {
    const before = offset;
    try {
      const response = await client.openOutput(job.id, stream, offset);
      try {
        const iterator = (response as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
        for (;;) {
          const next = await iterator.next().catch((error: unknown) => {
            throw lost(client, error);
          });
          if (next.done === true) break;
          await writeOut(context[stream], next.value);
          offset += next.value.length;
        }
      } finally {
        response.destroy();
      }
      if (offset === before) return;
    } catch (error) {
      if (!isPassing(error) || attempt >= MAX_RETRIES) throw error;
      await pause(RETRY_MS);
    }
  }
}
