// Open files, bounded: the least recently used one that nobody uses at the moment is closed when there are more
// than HANDLES_OPEN.
import type { OutputFile } from './output-disk.ts';

export const HANDLES_OPEN = 256;

export interface HandleCache {
  /** The open file; `give` it back for each `take`. Concurrent takers of one path share one handle. */
  take(path: string, create: boolean): Promise<OutputFile>;
  give(path: string): void;
  /** Closes the file if it is open; whoever uses it at the moment must have given it back. */
  forget(path: string): Promise<void>;
  close(): Promise<void>;
}

interface Entry {
  readonly opening: Promise<OutputFile>;
  users: number;
}

export function createHandleCache(
  openFile: (path: string, create: boolean) => Promise<OutputFile>,
): HandleCache {
  /** In the order of last use. */
  const entries = new Map<string, Entry>();

  function closeIdle(limit: number): Promise<unknown> {
    const closing: Promise<void>[] = [];
    for (const [path, entry] of entries) {
      if (entries.size <= limit) break;
      if (entry.users > 0) continue;
      entries.delete(path);
      closing.push(entry.opening.then((handle) => handle.close()));
    }
    return Promise.allSettled(closing);
  }

  return {
    async take(path, create) {
      let entry = entries.get(path);
      if (entry === undefined) entry = { opening: openFile(path, create), users: 0 };
      else entries.delete(path);
      entries.set(path, entry);
      entry.users += 1;
      void closeIdle(HANDLES_OPEN);
      try {
        return await entry.opening;
      } catch (error) {
        if (entries.get(path) === entry) entries.delete(path);
        throw error;
      }
    },
    give(path) {
      const entry = entries.get(path);
      if (entry !== undefined) entry.users -= 1;
    },
    async forget(path) {
      const entry = entries.get(path);
      if (entry === undefined || entry.users > 0) return;
      entries.delete(path);
      await entry.opening.then((handle) => handle.close());
    },
    async close() {
      await closeIdle(0);
    },
  };
}
