// A bed for the built program: a folder of its own, daemons with fresh ports, client verbs against them, and an end
// that leaves nothing behind. Nothing of src/ is imported: these tests see only what a user sees.
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeGroupsOf } from '../fakes/groups.ts';
import { ownPort } from '../fakes/own-port.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const READY_DEADLINE_MS = 60_000;
const RUN_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 15_000;

export interface Endpoint {
  readonly url: string;
  readonly metricsUrl: string | null;
  readonly pid: number;
  readonly stateDir: string;
}

export interface Finished {
  /** Exit code, or null after a signal. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

export interface Running {
  readonly pid: number;
  readonly process: ChildProcess;
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Ends with how it ended, or rejects (and kills it) after `deadlineMs`. */
  finished(deadlineMs?: number): Promise<Finished>;
}

export interface Daemon extends Running {
  readonly endpoint: Endpoint;
}

export interface StartOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Package root that holds dist/ and native/; default: this checkout. */
  readonly program?: string;
  readonly cwd?: string;
  /** Runs as this user; only root may ask for it. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Network namespace that it runs in, by its path; without it, that of the tests. */
  readonly network?: string;
}

export interface Bed {
  readonly folder: string;
  readonly stateDir: string;
  /** An empty file in it that every job may write to, whoever writes first; its path. */
  shared(name: string): string;
  /** Starts a client verb, or anything else that ends by itself. */
  spawn(args: readonly string[], options?: StartOptions): Running;
  /** The same, to its end. */
  run(args: readonly string[], options?: StartOptions): Promise<Finished>;
  /** Starts `up`, `agent` or `scheduler` with fresh ports and waits until it is ready. */
  start(args: readonly string[], options?: StartOptions): Promise<Daemon>;
  /** Starts a daemon without waiting; for tests of what happens when it cannot become ready. */
  launch(args: readonly string[], options?: StartOptions): Running;
  close(): Promise<void>;
}

export function createBed(): Bed {
  if (!existsSync(join(root, 'dist', 'flopd.js')))
    throw new Error('dist/flopd.js is missing: run "npm run build" first');
  const folder = mkdtempSync(join(tmpdir(), 'flopd-bed-'));
  // Jobs are users of their own, in a sandbox: what they write for a test to see goes here.
  chmodSync(folder, 0o777);
  const stateDir = join(folder, 'state');
  const started: Running[] = [];
  let readyFiles = 0;

  function environment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
    const own: Record<string, string> = {};
    for (const name of ['PATH', 'LANG', 'FLOPD_TEST_RUN', 'CI']) {
      const value = process.env[name];
      if (value !== undefined) own[name] = value;
    }
    return {
      ...own,
      HOME: folder,
      TMPDIR: folder,
      FLOPD_STATE_DIR: stateDir,
      FLOPD_JOBS_WRITE_PATHS: folder,
      // A client of the host's own would keep images where no test cleans up.
      FLOPD_JOBS_CONTAINER_RUNTIME: 'none',
      ...extra,
    };
  }

  function launchRaw(args: readonly string[], options: StartOptions = {}): Running {
    const command = [process.execPath, join(options.program ?? root, 'dist', 'flopd.js'), ...args];
    // nsenter becomes what it starts, so that the process is still the child.
    if (options.network !== undefined) command.unshift('nsenter', `--net=${options.network}`);
    const [file = '', ...rest] = command;
    const running = watch(
      spawn(file, rest, {
        cwd: options.cwd ?? folder,
        env: environment(options.environment),
        stdio: ['ignore', 'pipe', 'pipe'],
        ...options.user,
      }),
    );
    started.push(running);
    return running;
  }

  function daemonArgs(args: readonly string[]): string[] {
    const [verb] = args;
    const given = new Set(args.map((argument) => argument.split('=')[0]));
    const add: string[] = [];
    if (verb === 'runner') return [...args];
    if (verb !== 'agent' && !given.has('--listen')) add.push('--listen', '127.0.0.1:0');
    if (verb !== 'scheduler' && !given.has('--metrics-listen')) add.push('--metrics-listen', '127.0.0.1:0');
    return [...args, ...add];
  }

  return {
    folder,
    stateDir,
    shared(name) {
      const path = join(folder, name);
      writeFileSync(path, '');
      chmodSync(path, 0o666);
      return path;
    },
    spawn: launchRaw,
    run: (args, options) => launchRaw(args, options).finished(),
    launch: (args, options) => launchRaw(daemonArgs(args), options),
    async start(args, options) {
      readyFiles += 1;
      const readyFile = join(folder, `ready-${readyFiles}.json`);
      const startedAt = performance.now();
      // A scheduler is often started again where it was.
      const isGiven = args[0] !== 'scheduler' || args.some((word) => word.startsWith('--listen'));
      const listen = isGiven ? [] : ['--listen', `127.0.0.1:${await ownPort()}`];
      const running = launchRaw([...daemonArgs([...args, ...listen]), '--ready-file', readyFile], options);
      for (;;) {
        if (existsSync(readyFile)) {
          const endpoint = JSON.parse(readFileSync(readyFile, 'utf8')) as Endpoint;
          // What it said before lies in its pipes by now; one turn of the loop reads it.
          await new Promise((resolve) => setImmediate(resolve));
          return { ...running, endpoint };
        }
        if (running.process.exitCode !== null || running.process.signalCode !== null)
          throw new Error(
            `${args.join(' ')} ended before it was ready:\n${running.stdout()}\n${running.stderr()}`,
          );
        if (performance.now() - startedAt > READY_DEADLINE_MS)
          throw new Error(
            `${args.join(' ')} was not ready in time:\n${running.stdout()}\n${running.stderr()}`,
          );
        await pause(5);
      }
    },
    async close() {
      // Agents first ask nobody; jobs that a test left running are ended with everything else of this folder.
      for (const running of started) running.kill('SIGTERM');
      await Promise.all(
        started.map((running) =>
          running.finished(STOP_DEADLINE_MS).catch(() => {
            running.kill('SIGKILL');
          }),
        ),
      );
      for (let round = 0; round < 50; round++) {
        const left = processesOf(folder);
        if (left.length === 0) break;
        for (const pid of left) killQuietly(pid);
        await pause(20);
      }
      await removeGroupsOf(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function watch(child: ChildProcess): Running {
  const startedAt = performance.now();
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
  const ended = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({
        code,
        signal,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
        durationMs: performance.now() - startedAt,
      }),
    );
  });
  ended.catch(() => {});
  return {
    pid: child.pid ?? -1,
    process: child,
    stdout: () => Buffer.concat(out).toString(),
    stderr: () => Buffer.concat(err).toString(),
    kill: (signal) => void (child.exitCode === null && child.signalCode === null && child.kill(signal)),
    async finished(deadlineMs = RUN_DEADLINE_MS) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          child.kill('SIGKILL');
          const told = `${Buffer.concat(out)}\n${Buffer.concat(err)}`;
          reject(
            new Error(`${child.spawnargs.slice(1).join(' ')} did not end within ${deadlineMs} ms:\n${told}`),
          );
        }, deadlineMs);
      });
      return Promise.race([ended, late]).finally(() => clearTimeout(timer));
    },
  };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A page of the agent's own server; the ready file names that server by any address on it. */
export function agentUrl({ endpoint }: Daemon, path: string): string {
  if (endpoint.metricsUrl === null) throw new Error('this daemon serves no metrics');
  return new URL(`/${path}`, endpoint.metricsUrl).href;
}

/** Asks `read` every 20 ms, for a minute unless told otherwise, until it gives something other than null or false. */
export async function until<T>(
  what: string,
  read: () => Promise<T | null | false> | T | null | false,
  deadlineMs = 60_000,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await read();
    if (value !== null && value !== false) return value;
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms for: ${what}`);
    await pause(20);
  }
}

/** Processes of a job as the host numbers them; those that it starts see other numbers in a sandbox. */
export function processesOfJob(jobId: string): readonly number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const environment = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0');
      if (environment.includes(`FLOPD_JOB_ID=${jobId}`)) found.push(Number(name));
    } catch {
      // It has ended meanwhile, or is another user's.
    }
  }
  return found;
}

/** Processes that work in a folder or name it on their command line; not this one. */
export function processesOf(folder: string): readonly number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const isZombie = /^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
      if (!isZombie && (cwd === folder || cwd.startsWith(`${folder}/`) || command.includes(folder)))
        found.push(pid);
    } catch {
      // It has ended meanwhile, or is none of ours.
    }
  }
  return found;
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
