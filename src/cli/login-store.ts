// The logins of a user: one file, readable by them alone, with a token for each scheduler by its URL, and the authorities
// that it was reached over.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import { userFolder } from '../config/file.ts';
import type { Environment } from '../config/keys.ts';

const MAX_FILE_BYTES = 4 * 1024 * 1024;

const loginSchema = z.object({
  user: z.string(),
  token: z.string(),
  schedulerId: z.string(),
  /** PEM; null for those of the system, or where there is no TLS. */
  authorities: z.array(z.string()).nullable(),
  /** When the scheduler was last asked for them (wall clock). */
  checkedAtMs: z.number(),
});
export type Login = z.output<typeof loginSchema>;

const fileSchema = z.object({
  version: z.literal(1),
  /** URL of the last login: what is asked where no scheduler is named and none runs here. */
  latest: z.string().nullable(),
  schedulers: z.record(z.string(), loginSchema),
});
export type Logins = z.output<typeof fileSchema>;

const noLogins: Logins = { version: 1, latest: null, schedulers: {} };

export function loginFile(environment: Environment): string {
  return join(userFolder(environment), 'credentials.json');
}

/** Throws Fault LOGIN_FILE_UNFIT for a file that cannot be read, is damaged, or may be read by others. */
export function readLogins(environment: Environment): Logins {
  const path = loginFile(environment);
  let text: string;
  try {
    const { mode, size } = statSync(path);
    if ((mode & 0o077) !== 0)
      throw unfit(
        path,
        'is open to other users',
        `run "chmod 600 ${path}"; log in again if others have read it`,
      );
    if (size > MAX_FILE_BYTES) throw unfit(path, 'is too long', again(path));
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return noLogins;
    if (error instanceof Fault) throw error;
    throw unfit(
      path,
      `cannot be read (${errno ?? 'unknown error'})`,
      'make it a plain file that this user owns',
    );
  }
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch {
    // The parser's own error might quote a token.
    throw unfit(path, 'is damaged', again(path));
  }
}

/** The login of this URL, or null. */
export function findLogin(environment: Environment, url: string): Login | null {
  const { schedulers } = readLogins(environment);
  return Object.hasOwn(schedulers, url) ? (schedulers[url] ?? null) : null;
}

/** The authorities of a login as its file has them at each call; the last ones while it has none. The same list while it is unchanged. */
export function followLogin(
  environment: Environment,
  url: string,
  { authorities }: Login,
): () => Login['authorities'] {
  let last = authorities;
  return () => {
    try {
      const now = findLogin(environment, url)?.authorities ?? last;
      if (now?.join('') !== last?.join('')) last = now;
    } catch {
      // It is being mended; the connection is made as before.
    }
    return last;
  };
}

/** The login of somebody who has just logged in. */
export function keepLogin(environment: Environment, url: string, login: Login): void {
  const { schedulers } = readLogins(environment);
  write(environment, { version: 1, latest: url, schedulers: { ...schedulers, [url]: login } });
}

/** What has become known of a scheduler's authorities. */
export function keepAuthorities(
  environment: Environment,
  url: string,
  authorities: readonly string[],
  checkedAtMs: number,
): void {
  const { schedulers, latest } = readLogins(environment);
  const login = Object.hasOwn(schedulers, url) ? schedulers[url] : undefined;
  if (login === undefined) return;
  const known = { ...login, authorities: [...authorities], checkedAtMs };
  write(environment, { version: 1, latest, schedulers: { ...schedulers, [url]: known } });
}

/** False where there was none. */
export function forgetLogin(environment: Environment, url: string): boolean {
  const { latest, schedulers } = readLogins(environment);
  const left = Object.entries(schedulers).filter(([known]) => known !== url);
  if (left.length === Object.keys(schedulers).length) return false;
  write(environment, {
    version: 1,
    latest: latest === url ? (left.at(-1)?.[0] ?? null) : latest,
    schedulers: Object.fromEntries(left),
  });
  return true;
}

function write(environment: Environment, logins: Logins): void {
  const path = loginFile(environment);
  try {
    makeFolder(userFolder(environment));
    writeFileAtomic(path, `${JSON.stringify(logins, null, 2)}\n`, 0o600);
  } catch (error) {
    throw unfit(path, `cannot be written (${errnoOf(error) ?? 'unknown error'})`, 'make its folder writable');
  }
}

function unfit(path: string, what: string, remedy: string): Fault {
  return new Fault('LOGIN_FILE_UNFIT', `the file of logins ${path} ${what}`, { remedy });
}

function again(path: string): string {
  return `remove ${path} and log in again`;
}
