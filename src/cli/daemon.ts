// What the daemons share: a state directory that is theirs alone, the endpoint and ready files, and an orderly stop.
import { accessSync, constants, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { kill } from 'node:process';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { type ConfigKeyName, configKeys } from '../config/keys.ts';
import { formatAddress } from '../config/value.ts';
import type { Native } from '../native.ts';
import type { Endpoint } from '../protocol/api.ts';
import type { Context, StopSignal } from './context.ts';
import { dialerFor } from './dialling.ts';
import { endpointFile, readEndpoint } from './endpoint.ts';
import { pause } from './output.ts';

/** From the first signal to the end of the process. */
export const STOP_DEADLINE_MS = 5000;
const ANSWER_DEADLINE_MS = 1000;

/** Makes the state directory, 0700, or says which key named one that cannot be used. */
export function prepareStateDir(config: Config): void {
  try {
    makeFolder(config.stateDir);
    accessSync(config.stateDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new Fault(
      'STATE_DIR_UNWRITABLE',
      `${config.stateDir}${from(config, 'stateDir')} cannot be written: ${systemWords(error)}`,
      {
        field: 'stateDir',
        remedy: 'choose another with --state-dir DIR or FLOPD_STATE_DIR, or make it writable for this user',
        cause: error,
      },
    );
  }
}

const errnoWords: Readonly<Record<string, string>> = {
  EACCES: 'permission denied (EACCES)',
  EPERM: 'not permitted (EPERM)',
  EROFS: 'the file system is read-only (EROFS)',
  ENOSPC: 'no space left (ENOSPC)',
  EDQUOT: 'disk quota exceeded (EDQUOT)',
  ENOTDIR: 'a part of the path is not a folder (ENOTDIR)',
  EEXIST: 'it is not a folder (EEXIST)',
  ENOENT: 'its parent folder does not exist and cannot be made (ENOENT)',
};

export function systemWords(error: unknown): string {
  const errno = errnoOf(error);
  return errnoWords[errno ?? ''] ?? errno ?? (error instanceof Error ? error.message : String(error));
}

/** ` (from --state-dir)`, or nothing for a default. */
export function from(config: Config, key: ConfigKeyName): string {
  const { place } = config.sources[key];
  return place === '' ? ' (the default)' : ` (from ${place})`;
}

/** Makes sure that no second scheduler works on this state directory. Throws Fault STATE_DIR_BUSY. */
export async function claimScheduler(config: Config, native: Native | null): Promise<void> {
  const folder = join(config.stateDir, 'scheduler');
  try {
    makeFolder(folder);
    // The descriptor stays open, and with it the lock, until the process ends.
    if (native !== null && native.lockFile(join(folder, 'lock')) >= 0) return;
  } catch (error) {
    throw unwritable(folder, error);
  }
  const endpoint = readEndpoint(config.stateDir);
  if (
    native === null &&
    (endpoint === null || !isAlive(endpoint.pid) || !(await answers(endpoint.url, config)))
  )
    return;
  const who = endpoint === null ? '' : ` (pid ${endpoint.pid}, ${endpoint.url})`;
  throw new Fault('STATE_DIR_BUSY', `${config.stateDir} is in use by another flopd${who}`, {
    field: 'stateDir',
    remedy: 'use that one, stop it, or choose another directory with --state-dir DIR',
  });
}

function unwritable(path: string, error: unknown): Fault {
  const isFull = errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT';
  return new Fault('STATE_DIR_UNWRITABLE', `${path} cannot be written: ${systemWords(error)}`, {
    field: 'stateDir',
    remedy: `choose another with --state-dir DIR or FLOPD_STATE_DIR, or ${isFull ? 'free some space' : 'make it writable for this user'}`,
    cause: error,
  });
}

function isAlive(pid: number): boolean {
  try {
    return kill(pid, 0);
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

/** True when something answers at /healthz there within a second. */
export async function answers(url: string, config: Pick<Config, 'stateDir' | 'caFile'>): Promise<boolean> {
  const { request } = url.startsWith('https:') ? await import('node:https') : await import('node:http');
  try {
    const dialer = await dialerFor(config, { url, stateDir: config.stateDir, pin: null });
    return await new Promise<boolean>((resolve) => {
      const asked = request(new URL('/healthz', url), {
        agent: false,
        ...dialer.options(url),
        signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
      });
      asked.on('error', () => resolve(false));
      asked.on('response', (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      });
      asked.end();
    });
  } catch {
    return false;
  }
}

/** Turns a failed listen into one line that names the key; passes everything else on. */
export function explainListen(error: unknown, config: Config): unknown {
  const errno = errnoOf(error);
  if (
    error instanceof Fault ||
    (errno !== 'EADDRINUSE' && errno !== 'EACCES' && errno !== 'EADDRNOTAVAIL' && errno !== 'ENOTFOUND')
  )
    return error;
  const port = typeof error === 'object' && error !== null && 'port' in error ? error.port : null;
  const key = port === config.metricsListen.port && port !== config.listen.port ? 'metricsListen' : 'listen';
  const why =
    errno === 'EADDRINUSE'
      ? 'is occupied by another program (EADDRINUSE)'
      : errno === 'EACCES'
        ? 'may not be used by this user (EACCES)'
        : `is not an address of this host (${errno})`;
  return new Fault('ADDRESS_UNUSABLE', `${formatAddress(config[key])}${from(config, key)} ${why}`, {
    field: key,
    remedy: `choose another with ${configKeys[key].flag} HOST:PORT; port 0 picks a free one`,
    cause: error,
  });
}

/** Removes what an earlier process left, so that who waits for the file sees only this one. */
export function clearReadyFile(config: Config): void {
  if (config.readyFile === null) return;
  try {
    rmSync(config.readyFile, { force: true });
    accessSync(dirname(config.readyFile), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw readyFault(config, error);
  }
}

/** Tells the world: the ready file and, where a scheduler runs here, `endpoint.json`. */
export function announce(config: Config, endpoint: Endpoint, withScheduler: boolean): void {
  const text = `${JSON.stringify(endpoint)}\n`;
  if (withScheduler) {
    const path = endpointFile(config.stateDir);
    try {
      writeFileAtomic(path, text, 0o600);
    } catch (error) {
      throw unwritable(path, error);
    }
  }
  if (config.readyFile === null) return;
  try {
    writeFileAtomic(config.readyFile, text);
  } catch (error) {
    throw readyFault(config, error);
  }
}

/** Takes back what `announce` told, as far as it is still ours. */
export function withdraw(config: Config, pid: number): void {
  for (const path of [endpointFile(config.stateDir), config.readyFile]) {
    if (path === null) continue;
    try {
      if ((JSON.parse(readFileSync(path, 'utf8')) as Endpoint).pid === pid) rmSync(path, { force: true });
    } catch {
      // Gone, or somebody else's: either way not ours to remove.
    }
  }
}

function readyFault(config: Config, error: unknown): Fault {
  return new Fault(
    'READY_FILE_UNWRITABLE',
    `${config.readyFile}${from(config, 'readyFile')} cannot be written: ${systemWords(error)}`,
    {
      field: 'readyFile',
      remedy: 'name a file in a writable folder with --ready-file PATH',
      cause: error,
    },
  );
}

/** Resolves with the first SIGINT or SIGTERM. A second one while `stopInOrder` works ends the wait. */
export interface StopRequest {
  readonly first: Promise<StopSignal>;
  readonly second: Promise<StopSignal>;
}

export function awaitStop(context: Context): StopRequest {
  let onFirst = (_: StopSignal): void => {};
  let onSecond = (_: StopSignal): void => {};
  const first = new Promise<StopSignal>((resolve) => (onFirst = resolve));
  const second = new Promise<StopSignal>((resolve) => (onSecond = resolve));
  let seen = 0;
  context.onSignal(['SIGINT', 'SIGTERM'], (signal) => {
    seen += 1;
    if (seen === 1) onFirst(signal);
    else onSecond(signal);
  });
  return { first, second };
}

/** Keeps the process alive until the first stop signal; daemons' own timers need not. */
export async function untilStop(request: StopRequest): Promise<StopSignal> {
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    return await request.first;
  } finally {
    clearInterval(alive);
  }
}

/** Closes the parts one after another, all within STOP_DEADLINE_MS. Returns false when the time or the patience ran out. */
export async function stopInOrder(
  parts: readonly { close(): Promise<void> }[],
  request: StopRequest,
  log: Log,
): Promise<boolean> {
  const closed = (async () => {
    for (const part of parts) {
      try {
        await part.close();
      } catch (error) {
        log.error(
          { error: error instanceof Error ? error.message : String(error) },
          'a part did not close cleanly',
        );
      }
    }
    return true;
  })();
  return Promise.race([closed, pause(STOP_DEADLINE_MS).then(() => false), request.second.then(() => false)]);
}
