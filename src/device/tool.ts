// Runs a vendor's command-line tool and lives through whatever it does: it may hang, flood, write to the wrong stream,
// end badly or vanish. One child at a time per tool, in a process group of its own that is killed as a whole at the
// deadline; a child that not even SIGKILL ends (a driver in state D) keeps its place, and nobody starts a second one.
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import type { ToolOutput, ToolRunner } from './accelerator.ts';

/** Longest output of a tool that is read; eight large accelerators take 200 kB. */
export const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;

type Environment = Readonly<Record<string, string | undefined>>;

export interface Tool {
  readonly path: string;
  readonly name: string;
  /** Runs `ask` with a runner whose calls end together within `budgetMs`. */
  query<Answer>(budgetMs: number, ask: (runner: ToolRunner) => Promise<Answer>): Promise<Answer>;
  /** Ends a child that is running. */
  close(): void;
}

export interface ToolOptions {
  readonly path: string;
  readonly name: string;
  /** Folder of the built program, where the scripts of `runScript` lie. */
  readonly scriptFolder: string;
  readonly environment: Environment;
  readonly clock: Clock;
}

export function createTool(options: ToolOptions): Tool {
  const { path, name, clock } = options;
  const notes = new Map<string, unknown>();
  let running: ChildProcess | null = null;

  function run(file: string, args: readonly string[], environment: Environment, deadlineMs: number) {
    return new Promise<ToolOutput>((resolve, reject) => {
      // A throw here rejects.
      if (running !== null)
        throw lateFault(name, 'an earlier call of it hangs, and no second one is started');
      if (deadlineMs <= 0) throw lateFault(name, 'the time for its calls is over');
      const child = spawn(file, args, {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...environment },
        cwd: '/',
      });
      running = child;
      const output = collect(child.stdout, MAX_OUTPUT_BYTES, () =>
        end(
          new Fault(
            'DEVICE_TOOL_OUTPUT_TOO_LONG',
            `${name} printed more than ${MAX_OUTPUT_BYTES / 1048576} MiB`,
          ),
        ),
      );
      const errors = collect(child.stderr, MAX_ERROR_BYTES, () => {});
      const timer = clock.after(deadlineMs, () =>
        end(lateFault(name, `no answer within ${Math.round(deadlineMs)} ms`)),
      );
      let isDone = false;

      /** Gives the call up: the group is killed, and what it still writes is not read. */
      function end(fault: Fault): void {
        if (isDone) return;
        isDone = true;
        timer.cancel();
        kill(child);
        child.stdout.destroy();
        child.stderr.destroy();
        reject(fault);
      }
      child.on('error', (error) => {
        if (running === child) running = null;
        end(startFault(name, error));
      });
      child.on('exit', () => {
        if (running === child) running = null;
        // Children of the tool must not outlive it, nor keep its pipes open.
        kill(child);
      });
      child.on('close', (exitCode, signal) => {
        if (isDone) return;
        isDone = true;
        timer.cancel();
        if (exitCode === null)
          reject(new Fault('DEVICE_TOOL_FAILED', `${name} was ended by ${signal ?? 'a signal'}`));
        else resolve({ stdout: output(), stderr: errors(), exitCode });
      });
    });
  }

  return {
    path,
    name,
    query(budgetMs, ask) {
      const endMs = clock.monotonicMs() + budgetMs;
      const remainingMs = (): number => Math.max(0, endMs - clock.monotonicMs());
      const { NODE_OPTIONS: _, ...environment } = options.environment;
      return ask({
        path,
        name,
        notes,
        remainingMs,
        run: (args) => run(path, args, { ...environment, LC_ALL: 'C' }, remainingMs()),
        runScript: (script, args) =>
          run(
            process.execPath,
            [join(options.scriptFolder, script), ...args],
            { ...environment, LC_ALL: 'C', PATH: [dirname(path), environment.PATH ?? ''].join(delimiter) },
            remainingMs(),
          ),
      });
    },
    close() {
      if (running !== null) kill(running);
    },
  };
}

/** Full path of a program on PATH, or null. */
export function findProgram(name: string, environment: Environment): string | null {
  for (const folder of (environment.PATH ?? '').split(delimiter)) {
    if (!isAbsolute(folder)) continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not in this folder.
    }
  }
  return null;
}

/** Reads a stream up to a limit; beyond it `overflow` is called and the rest is dropped. */
function collect(stream: NodeJS.ReadableStream, limit: number, overflow: () => void): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    const room = limit - size;
    if (room > 0) chunks.push(chunk.length > room ? chunk.subarray(0, room) : chunk);
    size += chunk.length;
    if (size > limit) overflow();
  });
  stream.on('error', () => {});
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Ends a child with all that it started. */
function kill({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The group is gone already.
  }
}

function lateFault(name: string, why: string): Fault {
  return new Fault('DEVICE_TOOL_LATE', `${name}: ${why}`, {
    remedy: `see whether ${name} answers on the command line; a driver that hangs may need a restart of the host`,
  });
}

function startFault(name: string, error: Error): Fault {
  const errno = errnoOf(error);
  if (errno === 'EACCES' || errno === 'EPERM')
    return new Fault('DEVICE_TOOL_DENIED', `${name} may not be run by this user`, { cause: error });
  if (errno === 'ENOENT' || errno === 'ENOTDIR')
    return new Fault('DEVICE_TOOL_MISSING', `${name} is gone`, {
      remedy: 'install the tools of its driver again, or restart the agent without them',
      cause: error,
    });
  return new Fault('DEVICE_TOOL_FAILED', `${name} could not be started: ${error.message}`, { cause: error });
}
