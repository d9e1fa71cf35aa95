// An agent in a mount namespace of its own, whose state lies on a file system that a test may fill, freeze or turn
// read-only. Nothing of it is mounted outside.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Bed, type Daemon, root, until } from './bed.ts';

/** Whether this machine lets us mount and enter namespaces. */
export function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  return (
    spawnSync('unshare', [
      '-m',
      '--propagation',
      'private',
      'sh',
      '-c',
      'mount -t tmpfs none /mnt && nsenter --version',
    ]).status === 0
  );
}

export interface NamespacedAgent {
  readonly pid: number;
  /** A path of the agent's namespace as this process can reach it. */
  outside(path: string): string;
  /** Runs a command in its namespace; throws when it fails. */
  inside(...command: readonly string[]): string;
  stop(): Promise<void>;
}

export interface NamespacedOptions {
  /** Shell commands that mount what the agent needs, before it joins and starts. */
  readonly mounts: string;
  readonly stateDir: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Package root that holds dist/ and native/; default: this checkout. */
  readonly program?: string;
}

/** Joins `scheduler` and starts; resolves when its node takes jobs. */
export async function startNamespacedAgent(
  bed: Bed,
  scheduler: Daemon,
  { mounts, stateDir, environment = {}, program = root }: NamespacedOptions,
): Promise<NamespacedAgent> {
  const flopd = `${process.execPath} ${join(program, 'dist', 'flopd.js')}`;
  const token = join(bed.stateDir, 'scheduler', 'join-token');
  const script = join(bed.folder, 'agent.sh');
  writeFileSync(
    script,
    [
      'set -e',
      mounts,
      `${flopd} join ${scheduler.endpoint.url} --token "$(cat ${token})"`,
      `exec ${flopd} agent --metrics-listen 127.0.0.1:0`,
    ].join('\n'),
  );
  const child: ChildProcess = spawn('unshare', ['-m', '--propagation', 'private', 'sh', script], {
    cwd: bed.folder,
    env: {
      PATH: process.env.PATH ?? '',
      HOME: bed.folder,
      TMPDIR: bed.folder,
      FLOPD_STATE_DIR: stateDir,
      FLOPD_TEST_RUN: process.env.FLOPD_TEST_RUN ?? '',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let told = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      told += chunk.toString();
    });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const pid = child.pid ?? -1;
  await until('the node takes jobs', async () => {
    if (child.exitCode !== null) throw new Error(`the agent ended:\n${told}`);
    return (await bed.run(['nodes', '-o', 'json'])).stdout.includes('"ready"');
  });
  return {
    pid,
    outside: (path) => join('/proc', String(pid), 'root', path),
    inside: (...command) =>
      execFileSync('nsenter', ['-t', String(pid), '-m', ...command], { encoding: 'utf8' }),
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await gone;
      clearTimeout(timer);
    },
  };
}

/**
 * A copy of the program whose shim is the test build: it gives up on processes that cannot be killed after 2 s, not
 * after 30 s.
 */
export function impatientProgram(folder: string): string {
  const program = join(folder, 'program');
  const built = (path: string): string => join(root, 'native', 'build', path);
  mkdirSync(join(program, 'native', 'build'), { recursive: true });
  cpSync(join(root, 'dist'), join(program, 'dist'), { recursive: true });
  for (const name of readdirSync(built('.')))
    if (name.startsWith('flopd') && name !== 'flopd-shim')
      cpSync(built(name), join(program, 'native', 'build', name));
  cpSync(built('flopd-shim-faults'), join(program, 'native', 'build', 'flopd-shim'));
  cpSync(join(root, 'package.json'), join(program, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(program, 'node_modules'));
  return program;
}

/** Fills the file system of `path` to the last byte. */
export function fill(path: string): void {
  const fd = openSync(path, 'w');
  try {
    for (let size = 1 << 20; size >= 1; ) {
      try {
        writeSync(fd, Buffer.alloc(size));
      } catch {
        size >>= 1;
      }
    }
  } finally {
    closeSync(fd);
  }
}
