// The files of `flopd run`: `--input` before the job is submitted, `--output` when it has ended.
import type { Command } from 'commander';
import { describeError, Fault } from '../base/fault.ts';
import type { JobView } from '../protocol/api.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import type { Context } from './context.ts';
import type { Access } from './endpoint.ts';
import { type PreparedInputs, prepareInputs } from './file-inputs.ts';
import { type FileLink, openFileLink } from './file-link.ts';
import { fetchOutput, parseOutput, requireFreeTarget, type WantedOutput } from './file-outputs.ts';

export interface FileFlags {
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly detach?: boolean;
  readonly quiet?: boolean;
}

export function addFileOptions(command: Command): Command {
  const collect = (value: string, before: readonly string[]): string[] => [...before, value];
  return command
    .option(
      '--input <LOCAL[:PATH]>',
      "file or folder of this machine to lie in the job's workspace (repeatable)",
      collect,
      [],
    )
    .option(
      '--output <PATH[:LOCAL]>',
      'file or folder of the workspace to keep, and to bring here at the end (repeatable)',
      collect,
      [],
    );
}

export interface RunFiles {
  /** The specification with what the flags ask for. */
  readonly spec: JobSpecInput;
  /** Brings the inputs to the scheduler. */
  bring(access: Access): Promise<void>;
  /** Brings the outputs here; false when one of them could not be, which has been said then. */
  bringBack(access: Access, job: JobView): Promise<boolean>;
  close(): Promise<void>;
}

/** Reads the inputs, and looks whether the outputs have a place. Throws usage faults. */
export async function openRunFiles(
  context: Context,
  flags: FileFlags,
  spec: JobSpecInput,
  signal: AbortSignal,
  speak: (message: string) => void,
): Promise<RunFiles> {
  const wanted: readonly WantedOutput[] = flags.output.map((text) => parseOutput(text, context.folder));
  if (flags.detach !== true) for (const output of wanted) requireFreeTarget(output);
  const prepared: PreparedInputs = await prepareInputs(flags.input, context.folder, signal);

  async function withLink<T>(
    access: Access,
    stop: AbortSignal,
    work: (link: FileLink) => Promise<T>,
  ): Promise<T> {
    const link = openFileLink({ context, access, signal: stop, speak, quiet: flags.quiet === true });
    try {
      return await work(link);
    } finally {
      link.close();
    }
  }

  async function bringOne(link: FileLink, job: JobView, { path, target }: WantedOutput): Promise<boolean> {
    const output = job.result?.outputs.find((one) => one.path === path);
    const what = `output ${JSON.stringify(path)}`;
    if (output === undefined || output.digest === null) {
      speak(`${what} was not kept: ${output?.problem ?? 'the job did not run'}`);
      return false;
    }
    try {
      // Its node may take long; Ctrl-C ends the waiting.
      await fetchOutput(link, output, target, Number.POSITIVE_INFINITY);
      if (output.problem !== null) speak(`${what}: ${output.problem}`);
      return true;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      speak(`${describeError(error)}; try again with "flopd fetch ${job.id}"`);
      return false;
    }
  }

  return {
    spec: {
      ...spec,
      ...(prepared.inputs.length === 0 ? {} : { inputs: prepared.inputs }),
      ...(wanted.length === 0 ? {} : { outputs: wanted.map(({ path }) => path) }),
    },
    async bring(access) {
      if (prepared.inputs.length > 0) await withLink(access, signal, (link) => prepared.bring(link));
    },
    async bringBack(access, job) {
      if (wanted.length === 0) return true;
      const stopped = new AbortController();
      const restore = context.onSignal(['SIGINT', 'SIGTERM'], () => stopped.abort());
      try {
        return await withLink(access, stopped.signal, async (link) => {
          let all = true;
          for (const output of wanted) all = (await bringOne(link, job, output)) && all;
          return all;
        });
      } catch (error) {
        if (!stopped.signal.aborted) throw error;
        speak(`outputs are left with the scheduler: get them with "flopd fetch ${job.id}"`);
        return false;
      } finally {
        restore();
      }
    },
    close: () => prepared.close(),
  };
}
