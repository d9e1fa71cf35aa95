// A network of real processes for a campaign: one scheduler, some agents, each of which may be killed at any time and is
// started again on the same state; and a client of the scheduler's API that outlives its restarts.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { removeGroupsOf } from '../fakes/groups.ts';

const READY_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 15_000;

export interface Daemon {
  readonly name: string;
  /** Kills it with SIGKILL; false when it is not running. */
  kill(): Promise<boolean>;
  /** Starts it again; resolves when it is ready. */
  start(): Promise<void>;
  stop(): Promise<void>;
  isRunning(): boolean;
}

export interface CampaignNetwork {
  readonly scheduler: Daemon;
  readonly agents: readonly Daemon[];
  readonly stateDirs: { readonly scheduler: string; readonly agents: readonly string[] };
  /** Asks the scheduler; null when it cannot be reached or is not well just now. */
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Buffer } | null>;
  /** Kills the shim of an attempt (`job.epoch`) that runs now, chosen by `pick`; null when there is none. */
  killShim(
    pick: (names: readonly string[]) => string,
  ): { agent: number; jobId: string; epoch: number } | null;
  /** Processes and folders of attempts that are still there, in words. */
  residue(): readonly string[];
  close(): Promise<void>;
}

export interface NetworkOptions {
  /** Folder of the checkout with `dist/` and `native/build/`. */
  readonly root: string;
  readonly folder: string;
  readonly agents: number;
  readonly cpus: number;
  /** Folder that jobs may write to. */
  readonly writable: string;
}

export async function startNetwork(options: NetworkOptions): Promise<CampaignNetwork> {
  const { root, folder } = options;
  const flopd = join(root, 'dist', 'flopd.js');
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const schedulerState = join(folder, 'scheduler');
  const agentState = (at: number): string => join(folder, `agent-${at}`);
  const environment = (state: string): Record<string, string> => ({
    PATH: process.env.PATH ?? '',
    HOME: folder,
    TMPDIR: folder,
    FLOPD_STATE_DIR: state,
    FLOPD_NODE_CPUS: String(options.cpus),
    FLOPD_JOBS_WRITE_PATHS: options.writable,
    ...(process.env.FLOPD_TEST_RUN === undefined ? {} : { FLOPD_TEST_RUN: process.env.FLOPD_TEST_RUN }),
  });

  function daemon(name: string, args: readonly string[], state: string): Daemon {
    let child: ChildProcess | null = null;
    let gone: Promise<void> = Promise.resolve();
    const ready = join(folder, `${name}.ready`);
    const isRunning = (): boolean => child !== null && child.exitCode === null && child.signalCode === null;
    return {
      name,
      isRunning,
      async start() {
        rmSync(ready, { force: true });
        const started = spawn(process.execPath, [flopd, ...args, '--ready-file', ready], {
          cwd: folder,
          env: environment(state),
          stdio: ['ignore', 'ignore', 'pipe'],
        });
        child = started;
        let errors = '';
        started.stderr?.on('data', (chunk: Buffer) => {
          errors = (errors + chunk.toString()).slice(-4000);
        });
        gone = new Promise((resolve) => started.once('close', () => resolve()));
        const deadline = performance.now() + READY_DEADLINE_MS;
        while (!existsSync(ready)) {
          if (started.exitCode !== null) throw new Error(`${name} ended before it was ready:\n${errors}`);
          if (started.signalCode !== null) return; // killed while it started
          if (performance.now() > deadline) throw new Error(`${name} was not ready in time:\n${errors}`);
          await pause(10);
        }
      },
      async kill() {
        if (!isRunning()) return false;
        child?.kill('SIGKILL');
        await gone;
        return true;
      },
      async stop() {
        if (!isRunning()) return;
        child?.kill('SIGTERM');
        const timer = setTimeout(() => child?.kill('SIGKILL'), STOP_DEADLINE_MS);
        await gone;
        clearTimeout(timer);
      },
    };
  }

  mkdirSync(schedulerState, { recursive: true });
  const scheduler = daemon('scheduler', ['scheduler', '--listen', `127.0.0.1:${port}`], schedulerState);
  await scheduler.start();
  const tokenOf = (file: string): string =>
    readFileSync(join(schedulerState, 'scheduler', file), 'utf8').trim();
  const token = tokenOf('token');
  const agents: Daemon[] = [];
  for (let at = 0; at < options.agents; at += 1) {
    const state = agentState(at);
    await run([flopd, 'join', url, '--token', tokenOf('join-token')], {
      ...environment(state),
      FLOPD_NODE_NAME: `host-${at}`,
    });
    const agent = daemon(`agent-${at}`, ['agent', '--metrics-listen', '127.0.0.1:0'], state);
    await agent.start();
    agents.push(agent);
  }

  const jobsFolder = (at: number): string => join(agentState(at), 'agent', 'jobs');

  /** Pids of the shims of attempts, by `job.epoch`. */
  function shims(): Map<string, { pid: number; agent: number }> {
    const found = new Map<string, { pid: number; agent: number }>();
    for (const entry of readdirSync('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid)) continue;
      try {
        const cwd = readlinkSync(`/proc/${pid}/cwd`);
        // The shim itself, not the child that is on its way to become the job, or the first process of its sandbox.
        if (cwd === readlinkSync(`/proc/${parentOf(pid)}/cwd`)) continue;
        const agent = agents.findIndex((_, at) => dirname(cwd) === jobsFolder(at));
        if (agent < 0 || !readlinkSync(`/proc/${pid}/exe`).endsWith('/flopd-shim')) continue;
        found.set(basename(cwd), { pid, agent });
      } catch {
        // It has ended meanwhile, or is none of ours.
      }
    }
    return found;
  }

  return {
    scheduler,
    agents,
    stateDirs: { scheduler: schedulerState, agents: agents.map((_, at) => agentState(at)) },
    async call(method, path, body) {
      try {
        const response = await fetch(`${url}${path}`, {
          method,
          headers: { authorization: `Bearer ${token}` },
          body: body === undefined ? null : JSON.stringify(body),
          signal: AbortSignal.timeout(60_000),
        });
        return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
      } catch {
        return null;
      }
    },
    killShim(pick) {
      const running = shims();
      if (running.size === 0) return null;
      const name = pick([...running.keys()].sort());
      const shim = running.get(name);
      if (shim === undefined) return null;
      // Told before it happens: the truth may be lost from here on.
      const at = name.lastIndexOf('.');
      try {
        process.kill(shim.pid, 'SIGKILL');
      } catch {
        return null;
      }
      return { agent: shim.agent, jobId: name.slice(0, at), epoch: Number(name.slice(at + 1)) };
    },
    residue() {
      const left: string[] = [...shims().keys()].map((name) => `the shim of ${name}`);
      for (const [at] of agents.entries())
        for (const name of readdirSync(jobsFolder(at)))
          if (
            /^job-/.test(name) &&
            statSync(join(jobsFolder(at), name), { throwIfNoEntry: false })?.isDirectory() === true
          )
            left.push(`the folder of ${name}`);
      return left;
    },
    async close() {
      await Promise.all([...agents, scheduler].map((one) => one.stop()));
      for (const [, { pid }] of shims()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended meanwhile.
        }
      }
      await removeGroupsOf(folder);
    },
  };
}

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function run(args: readonly string[], environment: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(errors))));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
