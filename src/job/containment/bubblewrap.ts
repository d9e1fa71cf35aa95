// The arguments of bubblewrap that make a job's sandbox. Pure. Order matters: what comes later lies above.
//
//   the system           read-only, no devices, no setuid
//   hidden folders       empty and private: /tmp, /home, /root, /run, …; a job sees of them what is named below
//   the build            what runs inside (native/build), read-only
//   the operator's paths
//   the state folder     hidden whole: keys, tokens, journals, other jobs
//   workspace, meter     the job's own
//   /proc, /dev          of its own process namespace; /dev with the granted nodes alone
//
// INVARIANT: no value of a job reaches an option: paths are the agent's and the operator's, each after its own flag.
import { dirname } from 'node:path';

export interface SandboxPlan {
  /** Bubblewrap itself. */
  readonly program: string;
  /** root: it may make namespaces by itself; user: through a user namespace. */
  readonly mode: 'root' | 'user';
  /** The job runs as another user than bubblewrap, and changes to it inside. */
  readonly changesUser: boolean;
  /** Folders that exist and are shown empty. */
  readonly hidden: readonly string[];
  /** Files that exist and cannot be opened. */
  readonly masked: readonly string[];
  readonly readPaths: readonly string[];
  readonly writePaths: readonly string[];
  /** Folder of the agent's and the scheduler's state. */
  readonly stateDir: string;
  /** Folder of the programs that run inside. */
  readonly build: string;
  /** The attempt's; null for a trial. */
  readonly own: { readonly workspace: string; readonly meter: string } | null;
  /** The nodes that the job may open, or `all` where nobody knows which those are. */
  readonly deviceNodes: readonly string[] | 'all';
  readonly network: 'host' | 'none';
}

/** Private, as big as memory allows, open to the job's user. */
const SHARED_FOLDERS = ['/tmp', '/var/tmp', '/dev/shm'];

/** True when `path` is `folder` or lies below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}

/** Program and arguments up to and including `--`. */
export function bubblewrapArguments(plan: SandboxPlan): string[] {
  const words = [
    plan.program,
    '--die-with-parent',
    '--as-pid-1',
    '--unshare-pid',
    '--unshare-ipc',
    '--unshare-uts',
  ];
  if (plan.mode === 'user') words.push('--unshare-user', '--unshare-cgroup-try');
  else words.push('--unshare-cgroup-try', ...capabilities(plan.changesUser));
  if (plan.network === 'none') words.push('--unshare-net');

  words.push('--ro-bind', '/', '/');
  const covered: string[] = [];
  const made = new Set<string>();
  const cover = (folder: string): void => {
    makeAbove(folder);
    words.push('--perms', SHARED_FOLDERS.includes(folder) ? '1777' : '0755', '--tmpfs', folder);
    covered.push(folder);
  };
  /** Folders between a hidden one and `path`: bubblewrap would close those that it makes by itself. */
  function makeAbove(path: string): void {
    const above: string[] = [];
    for (let at = dirname(path); covered.some((folder) => isWithin(at, folder)); at = dirname(at))
      above.unshift(at);
    for (const folder of above)
      if (!covered.includes(folder) && !made.has(folder)) {
        made.add(folder);
        words.push('--perms', '0755', '--dir', folder);
      }
  }
  const bind = (option: string, path: string): void => {
    makeAbove(path);
    words.push(option, path, path);
  };

  for (const folder of plan.hidden) cover(folder);
  bind('--ro-bind', plan.build);
  words.push('--proc', '/proc');
  // Root of the host owns these files, whatever capabilities it has lost.
  if (plan.mode === 'root') words.push('--ro-bind', '/proc/sys', '/proc/sys');
  words.push(...(plan.deviceNodes === 'all' ? ['--dev-bind', '/dev', '/dev'] : ['--dev', '/dev']));
  covered.push('/dev');
  cover('/dev/shm');
  for (const path of plan.readPaths) bind(isDevice(path) ? '--dev-bind-try' : '--ro-bind-try', path);
  for (const path of plan.writePaths) bind(isDevice(path) ? '--dev-bind-try' : '--bind-try', path);
  for (const node of plan.deviceNodes === 'all' ? [] : plan.deviceNodes) bind('--dev-bind-try', node);
  made.clear();
  cover(plan.stateDir);
  for (const file of plan.masked)
    if (!covered.some((folder) => isWithin(file, folder))) words.push('--ro-bind', '/dev/null', file);
  if (plan.own !== null) {
    bind('--bind', plan.own.workspace);
    bind('--bind', plan.own.meter);
  }
  words.push('--chdir', '/', '--');
  return words;
}

const isDevice = (path: string): boolean => isWithin(path, '/dev');

/** Only what changing to the job's user takes; the program inside gives these up too. */
function capabilities(changesUser: boolean): string[] {
  const kept = changesUser ? ['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'] : [];
  return ['--cap-drop', 'ALL', ...kept.flatMap((name) => ['--cap-add', name])];
}
