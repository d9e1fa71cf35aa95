// Looks through the folder of a store: how much is in it, what nobody refers to, and what of that may go.

import { createReadStream } from 'node:fs';
import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isFault } from '../base/fault.ts';
import { readEntries } from '../protocol/files.ts';
import { removeFile } from './part.ts';

/** An upload that nobody goes on with. */
const PART_MS = 24 * 3600_000;

export interface Root {
  readonly digest: string;
  readonly kind: 'file' | 'tree';
}

export interface SweepOptions {
  readonly folder: string;
  readonly roots: Iterable<Root>;
  readonly nowMs: number;
  readonly keepMs: number;
  readonly inUseMs: number;
  /** Removes the longest unused until no more than this is left; null removes only what is older than `keepMs`. */
  readonly targetBytes: number | null;
  /** Names that this process writes at present; other `new-…` are left over. */
  isBusy(name: string): boolean;
}

export interface SweepResult {
  readonly usedBytes: number;
  readonly removed: number;
  readonly freedBytes: number;
}

interface Candidate {
  readonly name: string;
  readonly sizeBytes: number;
  readonly usedAtMs: number;
}

export async function sweepFolder(options: SweepOptions): Promise<SweepResult> {
  const { folder, nowMs, keepMs, targetBytes } = options;
  const kept = await referencedBy(folder, options.roots);
  const candidates: Candidate[] = [];
  let usedBytes = 0;
  for await (const { name } of await opendir(folder, { bufferSize: 256 })) {
    const found = await stat(join(folder, name)).catch(() => null);
    if (found === null || !found.isFile()) continue;
    usedBytes += found.size;
    const ageMs = nowMs - found.mtimeMs;
    const isBroken = name.startsWith('new-') || (name.endsWith('.part') && ageMs > PART_MS);
    if (isBroken && !options.isBusy(name)) candidates.push({ name, sizeBytes: found.size, usedAtMs: 0 });
    if (name.length !== 64 || kept.has(keyOf(name)) || ageMs < options.inUseMs || options.isBusy(name))
      continue;
    candidates.push({ name, sizeBytes: found.size, usedAtMs: found.mtimeMs });
  }
  candidates.sort((a, b) => a.usedAtMs - b.usedAtMs);
  let removed = 0;
  let freedBytes = 0;
  for (const { name, sizeBytes, usedAtMs } of candidates) {
    const isOld = nowMs - usedAtMs > keepMs;
    if (!isOld && (targetBytes === null || usedBytes <= targetBytes)) break;
    await removeFile(join(folder, name));
    usedBytes -= sizeBytes;
    freedBytes += sizeBytes;
    removed += 1;
  }
  return { usedBytes, removed, freedBytes };
}

/** Half the size of its text. */
const keyOf = (digest: string): string => Buffer.from(digest, 'hex').toString('latin1');

async function referencedBy(folder: string, roots: Iterable<Root>): Promise<Set<string>> {
  const kept = new Set<string>();
  const lists = new Set<string>();
  for (const { digest, kind } of roots) {
    kept.add(keyOf(digest));
    if (kind === 'tree') lists.add(digest);
  }
  for (const digest of lists) {
    try {
      for await (const entries of readEntries(createReadStream(join(folder, digest))))
        for (const entry of entries) if (entry.kind === 'file') kept.add(keyOf(entry.digest));
    } catch (error) {
      // Not here, or not a list: then it refers to nothing more.
      if (isFault(error, 'FILES_LIST_INVALID')) continue;
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return kept;
}
