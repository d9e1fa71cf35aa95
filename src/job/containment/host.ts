// What this host can wall a job in with, found out once at the agent's start. Here the world is touched; deciding is
// done elsewhere from these facts.
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { readText } from '../../base/text-file.ts';
import { bubblewrapArguments, isWithin, type SandboxPlan } from './bubblewrap.ts';
import { type CgroupHost, openCgroups } from './cgroup-host.ts';
import type { Disk } from './limits.ts';
import { whyNoUsers } from './user.ts';

/** What an operator says of jobs (configuration keys `jobs.*`). */
export interface JobRules {
  readonly sandbox: 'auto' | 'require' | 'off';
  readonly seccomp: 'auto' | 'off';
  readonly limits: 'auto' | 'require';
  readonly user: 'auto' | 'agent';
  readonly userRange: { readonly from: number; readonly to: number };
  readonly processes: number;
  readonly readPaths: readonly string[];
  readonly writePaths: readonly string[];
  readonly outputQuotaBytes: number;
}

export interface HostFacts {
  readonly uid: number;
  /** Why jobs cannot have users of their own, or null. */
  readonly usersProblem: string | null;
  /** What all sandboxes of this host have in common, or why there are none. */
  readonly sandbox: Omit<SandboxPlan, 'own' | 'deviceNodes' | 'network'> | { readonly problem: string };
  /** Why system calls of sandboxed jobs are not filtered, or null. */
  readonly filterProblem: string | null;
  readonly cgroups: CgroupHost;
  readonly disk: Disk;
}

export interface HostProbe {
  readonly rules: JobRules;
  readonly procRoot: string;
  readonly sysRoot: string;
  /** Of agent and scheduler; exists. */
  readonly stateDir: string;
  /** Files of secrets besides those in the state folder. */
  readonly secrets: readonly string[];
  /** Folder of the programs that run inside. */
  readonly build: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Looks only: nothing is moved or enabled. */
  readonly look?: boolean;
}

const TRIAL_DEADLINE_MS = 10_000;
const COMPLAINT_CHARACTERS_MAX = 300;
const INSTALL = 'install bubblewrap (Debian: apt install bubblewrap)';
/** Where people, other services and other jobs keep what is theirs. */
const HIDDEN = [
  '/tmp',
  '/var/tmp',
  '/home',
  '/root',
  '/run',
  '/etc/flopd',
  '/var/lib/flopd',
  '/var/lib/flopd-scheduler',
];

/** Never rejects; takes as long as bubblewrap takes to start, at most ten seconds. */
export async function probeHost(probe: HostProbe): Promise<HostFacts> {
  const uid = process.getuid?.() ?? 0;
  const isRoot = uid === 0;
  const usersProblem =
    probe.rules.user === 'agent'
      ? 'jobs.user is agent'
      : whyNoUsers(probe.rules.userRange, isRoot, probe.procRoot);
  const cgroups = openCgroups(
    {
      procRoot: probe.procRoot,
      sysRoot: probe.sysRoot,
      pid: process.pid,
      isRoot,
      isService: (probe.environment.NOTIFY_SOCKET ?? '') !== '',
    },
    probe.look === true,
  );
  const sandbox = await probeSandbox(probe, isRoot, usersProblem === null);
  const filterProblem = whyNoFilter(probe);
  return { uid, usersProblem, sandbox, filterProblem, cgroups, disk: diskOf(probe.stateDir, probe.sysRoot) };
}

/** Kernels that can answer a call with an errno say so; native/shim/filter.c knows two kinds of machines. */
function whyNoFilter({ rules, procRoot }: HostProbe): string | null {
  if (rules.seccomp === 'off') return 'jobs.seccomp is off';
  if (process.arch !== 'x64' && process.arch !== 'arm64') return `not for ${process.arch}`;
  const actions = readText(join(procRoot, 'sys', 'kernel', 'seccomp', 'actions_avail')) ?? '';
  return actions.split(/\s+/).includes('errno') ? null : 'this kernel has no seccomp filters';
}

async function probeSandbox(
  probe: HostProbe,
  isRoot: boolean,
  changesUser: boolean,
): Promise<HostFacts['sandbox']> {
  if (probe.rules.sandbox === 'off') return { problem: 'jobs.sandbox is off' };
  const program = findBubblewrap(probe.environment);
  if (program === null) return { problem: `bubblewrap is not here; ${INSTALL}` };
  const places = [realPath(probe.stateDir), realPath(probe.build)];
  const plan = {
    program,
    mode: isRoot ? ('root' as const) : ('user' as const),
    changesUser,
    hidden: hiddenFolders(changesUser ? places : []),
    masked: probe.secrets.filter((path) => existsSync(path)).map(realPath),
    readPaths: [...resolverFile(), ...probe.rules.readPaths.filter(existsSync).map(realPath)],
    writePaths: probe.rules.writePaths.filter(existsSync).map(realPath),
    stateDir: places[0] ?? probe.stateDir,
    build: places[1] ?? probe.build,
  };
  const words = bubblewrapArguments({ ...plan, own: null, deviceNodes: [], network: 'none' });
  const complaint = await complaintOf([...words, '/bin/sh', '-c', ':'], probe.clock);
  return complaint === null ? plan : { problem: `bubblewrap does not work here: ${complaint}` };
}

/** In the agent's own PATH, of absolute folders. */
function findBubblewrap({ PATH }: HostProbe['environment']): string | null {
  for (const folder of (PATH ?? '/usr/local/bin:/usr/bin:/bin').split(':')) {
    const path = join(folder, 'bwrap');
    if (!folder.startsWith('/')) continue;
    try {
      accessSync(path, constants.X_OK);
      return realpathSync(path);
    } catch {
      // Not in this one.
    }
  }
  return null;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Those that exist, each once, the outer ones alone; with them the folders that jobs' users could not pass. */
function hiddenFolders(places: readonly string[]): string[] {
  const closed = places.flatMap((place) => closedAbove(place));
  const all = [...HIDDEN.filter((path) => existsSync(path)).map(realPath), ...closed];
  const folders = [...new Set(all)].filter((path) => path !== '/' && statSync(path).isDirectory());
  return folders.filter((path) => !folders.some((other) => other !== path && isWithin(path, other)));
}

/** The outermost folder above `path` that other users may not pass, if there is one. */
function closedAbove(path: string): string[] {
  const above: string[] = [];
  for (let at = dirname(path); at !== dirname(at); at = dirname(at)) above.unshift(at);
  const closed = above.find((folder) => existsSync(folder) && (statSync(folder).mode & 0o001) === 0);
  return closed === undefined ? [] : [closed];
}

/** The resolver's configuration often is a link into /run, which jobs do not see. */
function resolverFile(): string[] {
  const path = realPath('/etc/resolv.conf');
  return path !== '/etc/resolv.conf' && existsSync(path) && isWithin(path, '/run') ? [path] : [];
}

/** Runs a program to its end: null for exit code 0, else what it said. */
function complaintOf(command: readonly string[], clock: Clock): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn(command[0] ?? '', command.slice(1), {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: '/usr/bin:/bin' },
      cwd: '/',
    });
    let words = '';
    const deadline = clock.after(TRIAL_DEADLINE_MS, () => {
      words = `no answer within ${TRIAL_DEADLINE_MS / 1000} s`;
      child.kill('SIGKILL');
    });
    const finish = (complaint: string | null): void => {
      deadline.cancel();
      resolve(complaint);
    };
    child.stderr.on('data', (bytes: Buffer) => {
      if (words.length < COMPLAINT_CHARACTERS_MAX) words += bytes.toString('utf8');
    });
    child.on('error', (error) => finish(error.message));
    child.on('close', (code, signal) =>
      finish(
        code === 0
          ? null
          : words.trim().split('\n')[0]?.slice(0, COMPLAINT_CHARACTERS_MAX) ||
              `it ended with ${signal ?? code}`,
      ),
    );
  });
}

/** The whole disk that a folder lies on: throttles of version 1 take no partitions. */
function diskOf(folder: string, sysRoot: string): Disk {
  try {
    const { dev } = statSync(folder, { bigint: true });
    const major = Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn));
    const minor = Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n));
    if (major === 0) return { problem: 'its file system is on no disk' };
    const place = join(sysRoot, 'dev', 'block', `${major}:${minor}`);
    if (!existsSync(join(place, 'partition'))) return { number: `${major}:${minor}` };
    return { number: readFileSync(join(realpathSync(place), '..', 'dev'), 'utf8').trim() };
  } catch {
    return { problem: 'its disk is not known' };
  }
}
