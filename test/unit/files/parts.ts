// Folders, stores and clocks for tests of files.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { type FileStore, type FileStoreOptions, openFileStore } from '../../../src/files/store.ts';

export function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-files-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

export function createStore(change: Partial<FileStoreOptions> = {}): FileStore & { readonly folder: string } {
  const folder = change.folder ?? freshFolder();
  const store = openFileStore({
    folder,
    quotaBytes: 1e9,
    keepMs: 1e9,
    roots: () => [],
    clock: createClock(),
    log: createSilentLog(),
    ...change,
  });
  return Object.defineProperty({ ...store, folder }, 'usedBytes', { value: store.usedBytes });
}

export const digestOf = (bytes: string | Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex');

export async function* pieces(...parts: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

/** Pieces that break off like a connection. */
export async function* broken(...parts: readonly string[]): AsyncGenerator<Uint8Array> {
  yield* pieces(...parts);
  throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
}
