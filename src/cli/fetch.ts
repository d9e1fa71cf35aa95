// `flopd fetch`: outputs of a job to this machine, at any time while the scheduler keeps them.
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { Fault } from '../base/fault.ts';
import type { KeptOutput } from '../protocol/result.ts';
import { isFinalState } from '../protocol/result.ts';
import { createClient } from './client.ts';
import { addClientFlags } from './client-command.ts';
import type { Context } from './context.ts';
import { findAccess } from './endpoint.ts';
import { exitCode, signalExitCode } from './exit-code.ts';
import { openFileLink } from './file-link.ts';
import { fetchOutput } from './file-outputs.ts';
import { readConfig } from './flags.ts';
import { say } from './message.ts';
import { writeOut } from './output.ts';
import { escapeText, formatBytes } from './text.ts';

/** An output that has not reached the scheduler is waited for so long. */
const PATIENCE_MS = 60_000;

interface FetchFlags {
  readonly to?: string;
  readonly quiet?: boolean;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id>', 'id of the job, or the start of one')
    .argument('[path]', 'one of its outputs; without it all of them')
    .option('--to <DIR>', 'folder that they are put into (default: this one)')
    .option('-q, --quiet', 'show no progress');
  addClientFlags(command).addHelpText(
    'after',
    `
All outputs keep their paths below DIR; a single one is put there under its own name. Files replace files of their name; a folder that has something in it is left alone, and that is an error.
Exit code 1 when an output was not kept or cannot be fetched.`,
  );
  command.action(async (id: string, path: string | undefined) =>
    finish(await fetchJob(command, context, id, path)),
  );
}

async function fetchJob(
  command: Command,
  context: Context,
  id: string,
  path: string | undefined,
): Promise<number> {
  const flags = command.opts() as FetchFlags;
  const access = await findAccess(await readConfig(command, context), context.environment);
  const job = await createClient(access).job(id);
  const { result } = job;
  if (result === null)
    throw new Fault(
      'OUTPUT_MISSING',
      `job ${job.id} ${isFinalState(job.state) ? 'never ran' : 'has not ended'}`,
      {
        remedy: `wait for it with "flopd wait ${job.id}"`,
      },
    );
  const outputs = result.outputs.filter(
    (output) => path === undefined || output.path === path.replace(/\/+$/, ''),
  );
  if (outputs.length === 0)
    throw new Fault(
      'OUTPUT_MISSING',
      path === undefined
        ? `job ${job.id} keeps no outputs`
        : `job ${job.id} keeps no output ${JSON.stringify(path)}`,
      { remedy: 'outputs are named when a job is submitted: flopd run --output PATH' },
    );
  const stopped = new AbortController();
  const restore = context.onSignal(['SIGINT', 'SIGTERM'], (signal) => stopped.abort(signal));
  const speak = (message: string): void => say(context.stderr, message);
  const quiet = flags.quiet === true;
  const link = openFileLink({ context, access, signal: stopped.signal, speak, quiet });
  try {
    let code: number = exitCode.ok;
    for (const output of outputs) {
      // All of them keep their paths, so that none lands on another.
      const name = path === undefined ? output.path : basename(output.path);
      const target = resolve(context.folder, flags.to ?? '.', name);
      if (output.digest === null) {
        speak(`output ${JSON.stringify(output.path)} was not kept: ${output.problem ?? 'nobody says why'}`);
        code = exitCode.failed;
        continue;
      }
      await fetchOutput(link, output, target, PATIENCE_MS);
      if (output.problem !== null) speak(`output ${JSON.stringify(output.path)}: ${output.problem}`);
      await writeOut(context.stdout, `${escapeText(target)} ${describe(output)}\n`);
    }
    return code;
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
    return signalExitCode(stopped.signal.reason);
  } finally {
    link.close();
    restore();
  }
}

function describe({ kind, sizeBytes }: KeptOutput): string {
  return `${kind === 'tree' ? 'folder' : 'file'}, ${formatBytes(sizeBytes)}`;
}
