// Which keys of nodes are good for nothing any more: a file of lines beside key.pem, not in the job store, so that a store
// that is lost or restored from a copy brings none of them back. Lines are only ever added, and synced before anything
// else is done; the last one of a key counts.
//
//   {"atMs":…,"node":"node-…","key":"SHA-256 of the public key","what":"revoked"|"removed"|"readmitted","by":"…"}
//   {"atMs":…,"node":"node-…","leastSerial":3}       an earlier credential of this node says what is not true any more
//
// `revoked`: never again. `removed`: its credential alone is not enough, a join token is. `readmitted`: one was shown.
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import * as z from 'zod';
import type { Clock } from '../base/clock.ts';
import { describeError, errnoOf, Fault } from '../base/fault.ts';

const node = z.string().regex(/^node-[0-9a-z]{1,32}$/);
const lineSchema = z.union([
  z.strictObject({
    atMs: z.number(),
    node,
    key: z.string().regex(/^[0-9a-f]{64}$/),
    what: z.enum(['revoked', 'removed', 'readmitted']),
    by: z.string().max(128),
  }),
  z.strictObject({ atMs: z.number(), node, leastSerial: z.number().int().positive() }),
]);
type Line = z.output<typeof lineSchema>;

export type KeyStanding = 'good' | 'removed' | 'revoked';

export interface Revocations {
  /** Of a public key (DER, base64). */
  standing(publicKey: string): KeyStanding;
  /** A node of this id was revoked or removed: whoever asks for its name must be allowed to have it. */
  isReserved(nodeId: string): boolean;
  /** Credentials of this node below this serial are out of date. */
  leastSerial(nodeId: string): number;
  /** Each of these is on disk when it returns. Throws Fault REVOCATIONS_UNWRITTEN. */
  revoke(nodeId: string, publicKey: string, by: string): void;
  remove(nodeId: string, publicKey: string, by: string): void;
  readmit(nodeId: string, publicKey: string, by: string): void;
  outdate(nodeId: string, leastSerial: number): void;
}

/** Where the lines are kept; a simulation keeps them in memory. */
export interface RevocationDisk {
  readonly lines: readonly Line[];
  append(line: Line): void;
}

/** Opens the file, or begins without one. Throws Fault SCHEDULER_REVOCATIONS_DAMAGED. */
export function openRevocations(path: string, clock: Pick<Clock, 'wallMs'>): Revocations {
  return createRevocations(openDisk(path), clock);
}

export function createRevocations(disk: RevocationDisk, clock: Pick<Clock, 'wallMs'>): Revocations {
  const standings = new Map<string, KeyStanding>();
  const reserved = new Set<string>();
  const serials = new Map<string, number>();
  for (const line of disk.lines) take(line);

  function take(line: Line): void {
    if ('leastSerial' in line) {
      serials.set(line.node, Math.max(line.leastSerial, serials.get(line.node) ?? 0));
      return;
    }
    if (line.what === 'readmitted') standings.delete(line.key);
    // Nothing undoes a revocation of a key.
    else if (standings.get(line.key) !== 'revoked') standings.set(line.key, line.what);
    if (line.what !== 'readmitted') reserved.add(line.node);
  }

  function write(line: Line): void {
    disk.append(line);
    take(line);
  }

  const mark = (what: 'revoked' | 'removed' | 'readmitted') => (nodeId: string, key: string, by: string) =>
    write({ atMs: clock.wallMs(), node: nodeId, key: digest(key), what, by: by.slice(0, 128) });

  return {
    standing: (publicKey) => standings.get(digest(publicKey)) ?? 'good',
    isReserved: (nodeId) => reserved.has(nodeId),
    leastSerial: (nodeId) => serials.get(nodeId) ?? 0,
    revoke: mark('revoked'),
    remove: mark('removed'),
    readmit: mark('readmitted'),
    outdate: (nodeId, leastSerial) => write({ atMs: clock.wallMs(), node: nodeId, leastSerial }),
  };
}

function digest(publicKey: string): string {
  return createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('hex');
}

function openDisk(path: string): RevocationDisk {
  const { lines, length } = readLines(path);
  let end = length;
  return {
    lines,
    append(line) {
      const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
      try {
        const fd = openSync(path, end === 0 ? 'a' : 'r+', 0o600);
        try {
          // Over what a write that failed has left behind.
          ftruncateSync(fd, end);
          for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, end + at);
          fsyncSync(fd);
        } finally {
          closeSync(fd);
        }
        if (end === 0) syncFolder(dirname(path));
      } catch (cause) {
        throw new Fault('REVOCATIONS_UNWRITTEN', `${path} cannot be written (${describeError(cause)})`, {
          remedy: 'free space on the disk of the state directory, then ask again; nothing was changed',
          cause,
        });
      }
      end += bytes.length;
    },
  };
}

/** All whole lines. A last one without its end was never acknowledged to anybody. */
function readLines(path: string): { readonly lines: readonly Line[]; readonly length: number } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { lines: [], length: 0 };
    throw error;
  }
  const length = bytes.lastIndexOf(0x0a) + 1;
  const texts = bytes.subarray(0, length).toString('utf8').split('\n').slice(0, -1);
  const lines = texts.map((text, at) => {
    const line = parse(text);
    if (line !== null) return line;
    throw new Fault('SCHEDULER_REVOCATIONS_DAMAGED', `line ${at + 1} of ${path} is no revocation`, {
      field: 'stateDir',
      remedy: 'restore the file; without it, keys that were revoked would be good again',
    });
  });
  return { lines, length };
}

function parse(text: string): Line | null {
  try {
    return lineSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
