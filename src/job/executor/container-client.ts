// The command-line client of a container runtime: which one is here, whether it answers, and calls of it that end by
// a deadline. Whether it works is looked at in the background and kept, so that nobody waits for a daemon that hangs:
//
//   unknown -> works | broken     the first look, at once
//   broken  -> works              looked at again every LOOK_AGAIN_MS, and on demand
//   works   -> broken             on demand only: `doubt` is called when a call failed that should not
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { basename, delimiter, isAbsolute, join } from 'node:path';
import { type Clock, every, type Timer } from '../../base/clock.ts';
import { errnoOf } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import { type RuntimeLimit, type RuntimeName, runtimeLimits, runtimeNames } from './container-command.ts';
import { clientWords } from './container-end.ts';

const LOOK_TIMEOUT_MS = 15_000;
const LOOK_AGAIN_MS = 60_000;
const KILL_AFTER_MS = 5000;
/** Most that is kept of each stream of a call. */
const OUTPUT_BYTES_MAX = 1024 * 1024;

/** What of the agent's environment a client is started with: where its daemon, its storage and its proxies are. */
const PASSED = [
  'PATH',
  'HOME',
  'TMPDIR',
  'XDG_RUNTIME_DIR',
  'XDG_CONFIG_HOME',
  'XDG_DATA_HOME',
  'DBUS_SESSION_BUS_ADDRESS',
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CONFIG',
  'DOCKER_CERT_PATH',
  'DOCKER_TLS_VERIFY',
  'CONTAINER_HOST',
  'CONTAINERS_CONF',
  'CONTAINERS_STORAGE_CONF',
  'CONTAINERS_REGISTRIES_CONF',
  'REGISTRY_AUTH_FILE',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
];

export interface CallResult {
  /** Null when it was ended by a signal, its deadline or `abort`. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Call {
  readonly result: Promise<CallResult>;
  /** Ends it: SIGTERM, later SIGKILL. */
  abort(): void;
}

/** A client that was found. */
export interface FoundClient {
  readonly runtime: RuntimeName;
  readonly path: string;
  /** Limits that it cannot hold for this user. */
  readonly lacks: readonly RuntimeLimit[];
}

export interface ContainerClient {
  /** Why there is none that works, with the remedy; null when there is one. */
  problem(): string | null;
  /** The client that works, or the one that was found; null where there is none. */
  found(): FoundClient | null;
  /** Resolves when the first look is over. */
  looked(): Promise<void>;
  /** A call failed that should not have: looks again. */
  doubt(): void;
  /** Its environment, complete. */
  readonly environment: Readonly<Record<string, string>>;
  /** Runs the client. Never rejects; one that cannot be started has exit code null and says why on stderr. */
  call(
    args: readonly string[],
    timeoutMs: number,
    onLine?: (line: string) => void,
    /** Added to its environment. */
    more?: Readonly<Record<string, string>>,
  ): Call;
  close(): void;
}

export interface ContainerClientOptions {
  /** `auto`, the name of a runtime, `none`, or the absolute path of a client. */
  readonly choice: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The answer of `problem` has changed. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export function createContainerClient(options: ContainerClientOptions): ContainerClient {
  const { choice, clock, log } = options;
  const environment: Record<string, string> = { LC_ALL: 'C' };
  for (const name of PASSED) {
    const value = options.environment[name];
    if (value !== undefined) environment[name] = value;
  }
  const running = new Set<() => void>();
  let client: FoundClient | null = null;
  let problem: string | null = 'the container runtime is still being looked at';
  let looking: Promise<void> | null = null;
  let again: Timer | null = null;
  let closed = false;

  function call(...[args, timeoutMs, onLine, more]: Parameters<ContainerClient['call']>): Call {
    return client === null
      ? { result: Promise.resolve({ exitCode: null, stdout: '', stderr: problem ?? '' }), abort() {} }
      : callOf(client.path, args, timeoutMs, onLine, more);
  }

  function callOf(
    path: string,
    args: readonly string[],
    timeoutMs: number,
    onLine?: (line: string) => void,
    more: Readonly<Record<string, string>> = {},
  ): Call {
    const child = spawn(path, args, {
      // A group of its own, so that helpers of the client end with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...environment, ...more },
      cwd: '/',
    });
    let kill: Timer | null = null;
    const abort = (): void => {
      signalGroup(child, 'SIGTERM');
      kill ??= clock.after(KILL_AFTER_MS, () => signalGroup(child, 'SIGKILL'));
    };
    const deadline = clock.after(timeoutMs, abort);
    running.add(abort);
    const stdout = collect(child.stdout, onLine);
    const stderr = collect(child.stderr, onLine);
    const result = new Promise<CallResult>((resolve) => {
      const end = (exitCode: number | null, more: string): void => {
        deadline.cancel();
        kill?.cancel();
        running.delete(abort);
        resolve({ exitCode, stdout: stdout(), stderr: stderr() + more });
      };
      child.on('error', (error) => end(null, `${path}: ${errnoOf(error) ?? error.message}`));
      child.on('close', (code) => end(code, ''));
    });
    return { result, abort };
  }

  /** The first of the wanted clients that answers; else the last problem. */
  async function look(): Promise<void> {
    await Promise.resolve(); // nobody is told before this part is made
    const candidates = findClients(choice, environment);
    let told = missing(choice);
    let best: FoundClient | null = null;
    for (const candidate of candidates) {
      best ??= candidate;
      const { result } = callOf(candidate.path, versionArguments[candidate.runtime], LOOK_TIMEOUT_MS);
      const { exitCode, stdout, stderr } = await result;
      if (closed) return;
      if (exitCode === 0) {
        conclude({ ...candidate, lacks: lackingLimits(stdout) }, null);
        return;
      }
      const said = clientWords(stderr);
      const words = exitCode === null && said === '' ? `no answer within ${LOOK_TIMEOUT_MS / 1000} s` : said;
      told = `${candidate.runtime} does not answer: ${words}; ${remedies[candidate.runtime]}`;
    }
    conclude(best, told);
  }

  function conclude(found: FoundClient | null, told: string | null): void {
    const changed = told !== problem;
    client = found;
    problem = told;
    if (told === null) again?.cancel();
    if (told === null) again = null;
    else if (!closed && choice !== 'none') again ??= every(clock, LOOK_AGAIN_MS, start);
    // A problem is told, once, by who offers the executor.
    if (changed && found !== null && told === null) log.info({ ...found }, 'container runtime');
    if (changed) options.onChange();
  }

  function start(): void {
    if (closed) return;
    looking ??= look().finally(() => {
      looking = null;
    });
  }

  start();
  const first = looking ?? Promise.resolve();
  return {
    problem: () => problem,
    found: () => client,
    looked: () => first,
    doubt: start,
    environment,
    call,
    close() {
      closed = true;
      again?.cancel();
      for (const abort of running) abort();
    },
  };
}

const versionArguments: Readonly<Record<RuntimeName, readonly string[]>> = {
  // Not `version`, which says nothing of its storage.
  podman: ['--log-level=error', 'info', '--format={{json .Host.CgroupControllers}}'],
  // The client's own version needs no daemon; the server's does.
  docker: ['--log-level=error', 'version', '--format={{.Server.Version}}'],
};

/** From the list of controllers that act for this user; a runtime that prints none is believed to hold all limits. */
export function lackingLimits(text: string): RuntimeLimit[] {
  const names = /^\[([^\]]*)\]\s*$/.exec(text)?.[1];
  if (names === undefined) return [];
  const present = new Set(names.split(',').map((name) => name.replace(/[" ]/g, '')));
  return runtimeLimits.filter((name) => !present.has(name));
}

const remedies: Readonly<Record<RuntimeName, string>> = {
  podman: 'run "podman info" as the user of the agent to see why',
  docker: 'start it ("systemctl start docker"), or let the user of the agent use it (group docker)',
};

function missing(choice: string): string {
  if (choice === 'none') return 'containers are switched off (jobs.containerRuntime is "none")';
  if (isAbsolute(choice)) return `${choice} is no program that can be run; mend jobs.containerRuntime`;
  const wanted = choice === 'auto' ? 'podman or docker' : choice;
  return `no container runtime: ${wanted} is not on PATH; install it (apt-get install podman)`;
}

function findClients(choice: string, environment: Readonly<Record<string, string>>): FoundClient[] {
  if (choice === 'none') return [];
  if (isAbsolute(choice)) {
    const runtime = basename(choice).includes('docker') ? 'docker' : 'podman';
    return isProgram(choice) ? [{ runtime, path: choice, lacks: [] }] : [];
  }
  const found: FoundClient[] = [];
  for (const runtime of runtimeNames) {
    if (choice !== 'auto' && choice !== runtime) continue;
    const path = (environment.PATH ?? '')
      .split(delimiter)
      .filter((folder) => isAbsolute(folder))
      .map((folder) => join(folder, runtime))
      .find(isProgram);
    if (path !== undefined) found.push({ runtime, path, lacks: [] });
  }
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/** Keeps the end of a stream, and tells its lines. */
function collect(stream: NodeJS.ReadableStream, onLine: ((line: string) => void) | undefined): () => string {
  let text = '';
  let line = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text = (text + chunk).slice(-OUTPUT_BYTES_MAX);
    if (onLine === undefined) return;
    const lines = (line + chunk).split(/[\r\n]+/);
    line = (lines.pop() ?? '').slice(-OUTPUT_BYTES_MAX);
    for (const one of lines) if (one.trim() !== '') onLine(one.trim());
  });
  stream.on('error', () => {});
  return () => text;
}
