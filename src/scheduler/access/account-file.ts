// Users and join tokens beside the job store, so that a store that is lost or restored from a copy loses none and brings
// none back: `accounts.jsonl`, for its owner alone, replaced as a whole and synced. Of tokens it has hashes only.
//
//   {"version":1,"entries":2}
//   {"kind":"user","id":"mei","value":{…}}           the documents of the queue (queue.ts)
//   {"kind":"joinToken","id":"token-…","value":{…}}
//
// Changes that come while one writing is under way share the next. One that fails is tried again until it has worked.
import { readFileSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as z from 'zod';
import type { Clock, Timer } from '../../base/clock.ts';
import { describeError, errnoOf, Fault } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { DocumentKind } from '../queue/queue.ts';

/** Kinds of documents that it holds. */
export const accountKinds = ['user', 'joinToken'] as const satisfies readonly DocumentKind[];
export type AccountKind = (typeof accountKinds)[number];
/** After a failure. */
export const ACCOUNTS_RETRY_MS = 5000;

const headSchema = z.object({ version: z.literal(1), entries: z.number().int().nonnegative() });
const entrySchema = z.object({
  kind: z.enum(accountKinds),
  id: z.string().min(1).max(128),
  value: z.record(z.string(), z.unknown()),
});
export type Account = z.output<typeof entrySchema>;

export interface AccountFile {
  /** As it was opened; none where there was no file. */
  readonly opened: readonly Account[];
  /** Resolves when it is on disk; without a value it is taken out. Rejects with Fault ACCOUNTS_UNWRITTEN. */
  put(kind: AccountKind, id: string, value: unknown): Promise<void>;
  /** Writes what waits, where that works at once. */
  close(): Promise<void>;
}

export interface AccountFileOptions {
  readonly path: string;
  readonly clock: Pick<Clock, 'after'>;
  readonly log: Log;
  /** Whole or not at all, and synced; a seam for disks that fail. */
  readonly replace?: (path: string, text: string) => Promise<void>;
}

/** Throws Fault SCHEDULER_ACCOUNTS_DAMAGED. */
export function openAccountFile({
  path,
  clock,
  log,
  replace = replaceFile,
}: AccountFileOptions): AccountFile {
  const opened = readAccounts(path);
  /** Lines by kind and id. */
  const lines = new Map(opened.map((account) => [keyOf(account.kind, account.id), JSON.stringify(account)]));
  let writing: Promise<void> | null = null;
  let next: Promise<void> | null = null;
  let retry: Timer | null = null;
  let problem: string | null = null;
  let closed = false;

  async function write(): Promise<void> {
    retry?.cancel();
    retry = null;
    const head = JSON.stringify({ version: 1, entries: lines.size });
    try {
      await replace(path, `${[head, ...lines.values()].join('\n')}\n`);
      if (problem !== null) log.warn({ path }, 'users and join tokens can be written again');
      problem = null;
    } catch (cause) {
      const fault = unwritten(path, cause);
      if (problem === null) log.error({ code: fault.code, cause: describeError(cause), path }, fault.message);
      problem = fault.message;
      if (!closed) retry = clock.after(ACCOUNTS_RETRY_MS, () => void flush().catch(() => {}));
      throw fault;
    }
  }

  /** Writes everything that was put until its turn has come. */
  function flush(): Promise<void> {
    if (next !== null) return next;
    const before = writing ?? Promise.resolve();
    const mine = before
      .catch(() => {})
      .then(() => {
        next = null;
        writing = mine;
        return write();
      })
      .finally(() => {
        if (writing === mine) writing = null;
      });
    next = mine;
    return mine;
  }

  return {
    opened,
    put(kind, id, value) {
      if (value === undefined) lines.delete(keyOf(kind, id));
      else lines.set(keyOf(kind, id), JSON.stringify({ kind, id, value }));
      return flush();
    },
    async close() {
      closed = true;
      const isBehind = retry !== null;
      retry?.cancel();
      await (isBehind ? flush() : (next ?? writing))?.catch(() => {});
    },
  };
}

const keyOf = (kind: AccountKind, id: string): string => `${kind} ${id}`;

function readAccounts(path: string): readonly Account[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
  const [head, ...lines] = text.split('\n').slice(0, -1);
  const entries = headSchema.safeParse(parseJson(head ?? '')).data?.entries;
  if (entries === undefined) throw damaged(path, 'its first line is not what this scheduler wrote');
  if (entries !== lines.length) throw damaged(path, `it has ${lines.length} entries of ${entries}`);
  return lines.map((line, at) => {
    const account = entrySchema.safeParse(parseJson(line)).data;
    if (account === undefined) throw damaged(path, `line ${at + 2} is neither a user nor a join token`);
    return account;
  });
}

async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  // What a crash left, or somebody put there, has its own mode, or leads elsewhere.
  await rm(temporary, { force: true });
  await withFile(await open(temporary, 'wx', 0o600), async (file) => {
    await file.writeFile(text);
    await file.datasync();
  });
  await rename(temporary, path);
  await withFile(await open(dirname(path), 'r'), (folder) => folder.sync());
}

async function withFile(file: FileHandle, use: (file: FileHandle) => Promise<void>): Promise<void> {
  await use(file).finally(() => file.close());
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function unwritten(path: string, cause: unknown): Fault {
  return new Fault('ACCOUNTS_UNWRITTEN', `${path} cannot be written (${describeError(cause)})`, {
    remedy:
      'free space on the disk of the state directory; the change holds, and is written as soon as it can be',
    cause,
  });
}

function damaged(path: string, why: string): Fault {
  return new Fault('SCHEDULER_ACCOUNTS_DAMAGED', `${path} cannot be used: ${why}`, {
    field: 'stateDir',
    remedy:
      'restore it; where the job store is whole and not a copy, delete it, and it is written anew from there',
  });
}
