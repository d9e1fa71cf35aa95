#!/usr/bin/env node
// The process entry: argv, environment and streams in, exit code out. The only file that ends the process.
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClock } from '../base/clock.ts';
import type { Context, StopSignal } from '../cli/context.ts';
import { runCommandLine } from '../cli/program.ts';

/** How long the last output may take to reach a slow reader once everything else is done. */
const FLUSH_DEADLINE_MS = 60_000;

/** Folder of package.json, seen from src/bin/ and from dist/ alike; `import.meta.url` has symbolic links resolved. */
function findRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    try {
      const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
      if (name === 'flopd') {
        packageVersion = String(version);
        return folder;
      }
    } catch {
      // Not here: one up.
    }
    if (folder === dirname(folder))
      throw new Error('flopd is not installed completely: its package.json is missing');
  }
}

let packageVersion = '';

/** False where Node had to replace bytes of an argument by U+FFFD: what would run is not what was asked for. */
function argumentsAreText(): boolean {
  if (!process.argv.some((argument) => argument.includes('\ufffd'))) return true;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(readFileSync('/proc/self/cmdline'));
    return true;
  } catch {
    return false;
  }
}

/** Another script of the same build, or null where this one runs from its source. */
function builtBeside(name: string): URL | null {
  const script = new URL(name, import.meta.url);
  return existsSync(script) ? script : null;
}

function onSignal(signals: readonly StopSignal[], fn: (signal: StopSignal) => void): () => void {
  const listener = (signal: NodeJS.Signals): void => fn(signal as StopSignal);
  for (const signal of signals) process.on(signal, listener);
  return () => {
    for (const signal of signals) process.off(signal, listener);
  };
}

/** The working directory may have been removed under us. */
function presentFolder(): string {
  try {
    return process.cwd();
  } catch {
    return process.env.PWD ?? '/';
  }
}

function onKey(fn: (key: string) => void): (() => void) | null {
  const { stdin } = process;
  if (stdin.isTTY !== true) return null;
  const listener = (bytes: Buffer): void => {
    for (const key of bytes.toString()) fn(key);
  };
  stdin.setRawMode(true);
  stdin.on('data', listener);
  stdin.on('error', () => {});
  return () => {
    stdin.off('data', listener);
    stdin.setRawMode(false);
    stdin.pause();
  };
}

/** A bug: one line, with the stack at debug level. Jobs live on in their shims; systemd restarts the daemon. */
function crash(error: unknown): never {
  const { FLOPD_LOG_LEVEL, NODE_DEBUG } = process.env;
  const verbose =
    FLOPD_LOG_LEVEL === 'debug' || NODE_DEBUG !== undefined || process.argv.includes('--log-level=debug');
  const text =
    error instanceof Error
      ? verbose
        ? (error.stack ?? error.message)
        : `${error.name}: ${error.message}`
      : String(error);
  const hint = verbose ? '' : '; set FLOPD_LOG_LEVEL=debug for the stack';
  try {
    process.stderr.write(
      `flopd: internal error: ${verbose ? text : text.replace(/\s*\n\s*/g, ' ')}${hint}\n`,
    );
  } finally {
    process.exit(1);
  }
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableEnded) return resolve();
    stream.write('', () => resolve());
  });
}

async function main(): Promise<void> {
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  // A reader that went away reaches whoever writes, through the callback of the write.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const root = findRoot();
  const context: Context = {
    environment: process.env,
    folder: presentFolder(),
    // Made when it is first looked at: most verbs leave it alone.
    get stdin() {
      return process.stdin;
    },
    stdout: process.stdout,
    stderr: process.stderr,
    clock: createClock(),
    random: Math.random,
    root,
    version: packageVersion,
    script: process.argv[1] ?? '',
    pid: process.pid,
    onSignal,
    onKey,
    daemons: {
      startScheduler: async (options) =>
        (await import('../scheduler/scheduler.ts')).startScheduler({
          ...options,
          writerScript: builtBeside('store-writer.js'),
          issuerScript: builtBeside('certificate-issuer.js'),
        }),
      startAgent: async (options) => (await import('../agent/agent.ts')).startAgent(options),
      startRunner: async (options) => (await import('../runner/runner.ts')).startRunner(options),
      enrol: async ({ runner, ...options }) =>
        runner === null
          ? (await import('../agent/enrolment.ts')).enrol({ ...options, withRunner: false })
          : (await import('../agent/runner-trust.ts')).enrolWithRunner(options, runner),
      readEnrolment: async (stateDir) => (await import('../agent/enrolment.ts')).readEnrolment(stateDir),
    },
  };
  if (!argumentsAreText()) {
    process.stderr.write(
      'flopd: an argument is not valid UTF-8 and would reach the job changed; pass it in a file\n',
    );
    process.exit(2);
  }
  const code = await runCommandLine(context, process.argv.slice(2));
  process.exitCode = code;
  const deadline = new Promise<void>((resolve) => setTimeout(resolve, FLUSH_DEADLINE_MS).unref());
  await Promise.race([Promise.all([flushed(process.stdout), flushed(process.stderr)]), deadline]);
  process.exit(code);
}

main().catch(crash);
