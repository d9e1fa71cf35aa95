// Runs the built program as a child, against whatever the test started. Builds dist/ first when a source is newer.
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { TOKEN } from '../../fakes/api.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export const program = join(root, 'dist', 'flopd.js');
const CHILD_DEADLINE_MS = 50_000;

function newestMs(folder: string): number {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.md'))
    .reduce((newest, entry) => Math.max(newest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
}

function isStale(): boolean {
  const built = statSync(program, { throwIfNoEntry: false });
  return built === undefined || built.mtimeMs < newestMs(join(root, 'src'));
}

/** Test files run in processes of their own: one builds, the others wait for it. */
export async function buildIfStale(): Promise<void> {
  // Of this checkout: another one builds its own.
  const lock = join(root, 'test', '.cache', 'build.lock');
  mkdirSync(join(lock, '..'), { recursive: true });
  for (let waited = 0; isStale() && waited < 300; waited += 1) {
    try {
      mkdirSync(lock);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
      continue;
    }
    try {
      if (isStale()) execFileSync(process.execPath, [join(root, 'src', 'build.mjs')], { stdio: 'pipe' });
    } finally {
      rmdirSync(lock);
    }
  }
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly ended: Promise<Ended>;
  /** Resolves when standard error has this text. */
  said(text: string): Promise<void>;
}

export interface Place {
  readonly folder: string;
  readonly stateDir: string;
  readonly environment: Record<string, string>;
  remove(): void;
}

/** A home of its own: no configuration, an empty state directory, the fake's token where a local client looks. */
export function createPlace(url: string | null): Place {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-cli-'));
  const stateDir = join(folder, 'state');
  mkdirSync(join(stateDir, 'scheduler'), { recursive: true });
  writeFileSync(join(stateDir, 'scheduler', 'token'), `${TOKEN}\n`, { mode: 0o600 });
  return {
    folder,
    stateDir,
    environment: {
      PATH: process.env.PATH ?? '',
      HOME: folder,
      FLOPD_STATE_DIR: stateDir,
      ...(url === null ? {} : { FLOPD_SCHEDULER: url }),
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export function start(
  place: Place,
  args: readonly string[],
  environment: Record<string, string> = {},
): Running {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: place.folder,
    env: { ...place.environment, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  let stderr = '';
  const listeners = new Set<() => void>();
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    for (const listener of listeners) listener();
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), CHILD_DEADLINE_MS);
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout: Buffer.concat(stdout), stderr });
    });
  });
  return {
    child,
    ended,
    said: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!stderr.includes(text)) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        void ended.then(() => reject(new Error(`ended without saying ${text}: ${stderr}`)));
        look();
      }),
  };
}

export function flopd(
  place: Place,
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<Ended> {
  return start(place, args, environment).ended;
}
