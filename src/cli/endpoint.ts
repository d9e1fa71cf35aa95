// Which scheduler, and with which token: flag, environment, file, else the login of that scheduler, else what `flopd up`
// left in its state directory.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createClock, every } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import { isLoopbackName } from '../base/loopback.ts';
import { splitPin } from '../base/token-text.ts';
import type { Config } from '../config/config.ts';
import { type Environment, SERVICE_STATE_DIRS } from '../config/keys.ts';
import { parseSchedulerUrl } from '../config/value.ts';
import type { Dialer } from '../dial/dialer.ts';
import type { AuthoritiesView, Endpoint } from '../protocol/api.ts';
import { dialerFor, openFollowingDialer } from './dialling.ts';
import { requireOwnListener } from './listener-owner.ts';
import { findLogin, followLogin, keepAuthorities, type Login, loginFile, readLogins } from './login-store.ts';
import { localSigner, type Signer, userSigner } from './submitter-key.ts';

const MAX_SMALL_FILE_BYTES = 64 * 1024;
/** Far below the time that an authority is made known before it signs, also where an operator makes that short. */
const AUTHORITIES_CHECK_MS = 3600_000;

/** Where a client talks to, and as whom. */
export interface Access {
  readonly url: string;
  readonly token: string;
  /** File that the token was read from, for messages. */
  readonly tokenFile: string;
  /** The way there. */
  readonly dialer: Dialer;
  /** Signs what is submitted; null where there is no key for it. */
  readonly signer: Signer | null;
}

/** Reads `endpoint.json` of a state directory; null where there is none or it is not one. */
export function readEndpoint(stateDir: string): Endpoint | null {
  let value: unknown;
  try {
    value = JSON.parse(readSmallFile(endpointFile(stateDir)));
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { url, metricsUrl, pid } = value as Partial<Record<keyof Endpoint, unknown>>;
  if (typeof url !== 'string' || typeof pid !== 'number') return null;
  try {
    return {
      url: parseSchedulerUrl(url),
      metricsUrl: typeof metricsUrl === 'string' ? metricsUrl : null,
      pid,
      stateDir,
    };
  } catch {
    return null;
  }
}

export function endpointFile(stateDir: string): string {
  return join(stateDir, 'endpoint.json');
}

/** State directories where a local scheduler may have left its endpoint, the likeliest first. */
function candidateStateDirs(config: Config): string[] {
  if (config.sources.stateDir.kind !== 'default') return [config.stateDir];
  return [...new Set([config.stateDir, ...SERVICE_STATE_DIRS])];
}

/** Rejects with SCHEDULER_UNKNOWN, TOKEN_UNKNOWN, TOKEN_UNREADABLE or TOKEN_STRANGER, and as `dialerFor` does. */
export async function findAccess(config: Config, environment: Environment): Promise<Access> {
  const { url, stateDir } = findScheduler(config, environment);
  const login = config.tokenFile === null ? findLogin(environment, url) : null;
  if (login !== null) {
    const { token, schedulerId } = login;
    const dialer =
      config.caFile === null
        ? openFollowingDialer(followLogin(environment, url, login))
        : await dialerFor(config, { url, stateDir, pin: null });
    const signer = userSigner(environment, schedulerId);
    const access = { url, token, tokenFile: loginFile(environment), dialer, signer };
    if (config.caFile === null) {
      await renewAuthorities(environment, access, login);
      // The command may follow a job for weeks: what succeeds the authority is asked for while this one still vouches.
      every(createClock(), AUTHORITIES_CHECK_MS, () => void followAuthorities(environment, access));
    }
    return access;
  }
  const localFile = config.tokenFile === null ? localTokenFile(config, url, stateDir) : null;
  const tokenFile = config.tokenFile ?? localFile ?? '';
  const { token, pin } = splitPin(
    readToken(tokenFile, config.tokenFile === null ? undefined : 'check the path'),
  );
  if (localFile !== null) requireOwnListener(url, localFile);
  const signer = localFile === null ? null : localSigner(stateDir ?? config.stateDir);
  return { url, token, tokenFile, dialer: await dialerFor(config, { url, stateDir, pin }), signer };
}

async function renewAuthorities(environment: Environment, access: Access, login: Login): Promise<void> {
  if (Math.abs(Date.now() - login.checkedAtMs) >= AUTHORITIES_CHECK_MS)
    await followAuthorities(environment, access);
}

/**
 * A login by a pin believes one authority: what succeeds it is asked for in time, over a connection that the present one
 * still vouches for. Does nothing without such a login; never a reason to fail.
 */
export async function followAuthorities(environment: Environment, access: Access): Promise<void> {
  try {
    const login = findLogin(environment, access.url);
    if (login === null || login.authorities === null || access.tokenFile !== loginFile(environment)) return;
    const { askJson } = await import('./client.ts');
    const { authorities } = await askJson<AuthoritiesView>(access, 'GET', '/v1/authorities', null);
    if (authorities.length > 0) keepAuthorities(environment, access.url, authorities, Date.now());
  } catch {
    // The verb itself will tell what is wrong.
  }
}

/** URL of the scheduler, and the state directory that named it, if one did. */
export function findScheduler(
  config: Config,
  environment: Environment,
): { url: string; stateDir: string | null } {
  const dirs = candidateStateDirs(config);
  for (const dir of dirs) {
    const endpoint = readEndpoint(dir);
    if (endpoint === null) continue;
    if (config.scheduler === null || config.scheduler === endpoint.url)
      return { url: endpoint.url, stateDir: dir };
  }
  if (config.scheduler !== null) return { url: config.scheduler, stateDir: null };
  const { latest } = readLogins(environment);
  if (latest !== null) return { url: latest, stateDir: null };
  throw new Fault(
    'SCHEDULER_UNKNOWN',
    `no scheduler is named, and none runs here (no ${endpointFile(config.stateDir)})`,
    {
      field: 'scheduler',
      remedy:
        'start one with "flopd up", log in to one with "flopd login URL", or name one with --scheduler URL or FLOPD_SCHEDULER',
    },
  );
}

/** The token of a local scheduler goes to this machine only: never to a host that merely was named. */
function localTokenFile(config: Config, url: string, stateDir: string | null): string {
  if (stateDir === null && !isLoopbackName(new URL(url).hostname)) {
    throw new Fault('TOKEN_UNKNOWN', `no token is named for ${url}`, {
      field: 'tokenFile',
      remedy: `log in with "flopd login ${url}", or name its file with --token-file PATH or FLOPD_TOKEN_FILE`,
    });
  }
  return join(stateDir ?? config.stateDir, 'scheduler', 'token');
}

/** The token in a file: one line of printable ASCII. `remedy`: where there is no such file. */
export function readToken(
  path: string,
  remedy = 'start a scheduler with "flopd up", log in to one with "flopd login URL", or name the file with --token-file PATH or FLOPD_TOKEN_FILE',
): string {
  let text: string;
  try {
    text = readSmallFile(path).trim();
  } catch (error) {
    const errno = errnoOf(error);
    const why =
      errno === 'ENOENT'
        ? 'does not exist'
        : errno === 'EACCES'
          ? 'may not be read by this user (EACCES)'
          : `cannot be read (${errno ?? (error instanceof Error ? error.message : String(error))})`;
    throw new Fault('TOKEN_UNREADABLE', `token file ${path} ${why}`, {
      field: 'tokenFile',
      remedy:
        errno === 'EACCES'
          ? 'run as the user who started the scheduler, or name another with --token-file PATH'
          : remedy,
      cause: error,
    });
  }
  if (!/^[\x21-\x7e]{1,4096}$/.test(text)) {
    throw new Fault(
      'TOKEN_UNREADABLE',
      `token file ${path} holds no token (one line of printable characters is expected)`,
      {
        field: 'tokenFile',
        remedy: 'name the right file with --token-file PATH',
      },
    );
  }
  return text;
}

function readSmallFile(path: string): string {
  const stat = statSync(path);
  if (!stat.isFile()) throw new Error('not a regular file');
  if (stat.size > MAX_SMALL_FILE_BYTES) throw new Error('too large');
  return readFileSync(path, 'utf8');
}
