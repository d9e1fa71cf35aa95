// Outputs of a job to this machine: each is made beside its target and put there by one rename, so that there is either
// all of it or nothing. Files are streamed, checked against their digests, and gone on with after a broken link. A list
// cannot lead out of its folder (protocol/files.ts), and nothing is written through what lies there already.
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { createClock } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import { createSilentLog } from '../base/log.ts';
import { finishFile, openFolder } from '../files/beneath.ts';
import { fetchFile } from '../files/exchange.ts';
import { writeAll } from '../files/part.ts';
import { placeTree } from '../files/place.ts';
import { openFileStore } from '../files/store.ts';
import { createPieceReader, type PieceReader, piecesOf } from '../files/stream.ts';
import { type FileEntry, LIST_BYTES_MAX, readEntries } from '../protocol/files.ts';
import type { KeptOutput } from '../protocol/result.ts';
import type { FileLink, Progress } from './file-link.ts';
import { usageFault } from './usage.ts';

/** An `--output` as it was written. */
export interface WantedOutput {
  /** Below the workspace. */
  readonly path: string;
  /** Where it goes on this machine, absolute. */
  readonly target: string;
}

/** Where `PATH[:LOCAL]` goes: LOCAL itself, or into it where it is a folder; without LOCAL, to the same path here. */
export function parseOutput(text: string, folder: string): WantedOutput {
  const at = text.indexOf(':');
  const path = (at < 0 ? text : text.slice(0, at)).replace(/\/+$/, '');
  const local = at < 0 ? path : text.slice(at + 1);
  if (path === '' || local === '')
    throw usageFault(
      `--output: ${JSON.stringify(text)} is not PATH or PATH:LOCAL`,
      'write for example out/model.bin',
    );
  const there = resolve(folder, local);
  const isFolder =
    at >= 0 && (local.endsWith('/') || statSync(there, { throwIfNoEntry: false })?.isDirectory());
  return { path, target: isFolder === true ? join(there, basename(path)) : there };
}

/** Refuses a target that is a folder with something in it: it would have to go. */
export function requireFreeTarget({ path, target }: WantedOutput): void {
  const found = lstatSync(target, { throwIfNoEntry: false });
  if (found === undefined || !found.isDirectory() || readdirSync(target).length === 0) return;
  throw usageFault(
    `--output: ${JSON.stringify(target)} is a folder with something in it`,
    `name another place with --output ${path}:LOCAL, or --to DIR`,
  );
}

/** Fetches one output to its target; what waits for it to reach the scheduler waits `patienceMs`. */
export async function fetchOutput(
  link: FileLink,
  { kind, digest, sizeBytes, executable, path }: KeptOutput,
  target: string,
  patienceMs: number,
): Promise<void> {
  if (kind === null || digest === null) throw new Error('this output was not kept');
  const what = `output ${JSON.stringify(path)}`;
  const progress = link.progress(`fetching ${path}`, sizeBytes);
  try {
    mkdirSync(dirname(target), { recursive: true });
    const beside = await mkdtemp(join(dirname(target), '.flopd-fetch-'));
    try {
      const made = join(beside, 'made');
      const entry: FileEntry = { kind: 'file', path, digest, sizeBytes: sizeBytes ?? 0, executable };
      if (kind === 'file') await fetchSingle(link, entry, made, what, patienceMs, progress);
      else await fetchTreeTo(link, entry, made, what, patienceMs, progress);
      requireFreeTarget({ path, target });
      renameSync(made, target);
    } finally {
      await rm(beside, { recursive: true, force: true });
    }
  } catch (error) {
    link.signal.throwIfAborted();
    throw new Fault('OUTPUT_NOT_FETCHED', `${what} cannot be brought to ${target}: ${describeError(error)}`, {
      cause: error,
    });
  } finally {
    progress.end();
  }
}

async function fetchSingle(
  link: FileLink,
  entry: FileEntry,
  made: string,
  what: string,
  patienceMs: number,
  progress: Progress,
): Promise<void> {
  const file = await open(made, 'wx', 0o600);
  try {
    const openFrom = (offset: number) => link.transfer.getFile(entry.digest, offset);
    await fill(link, entry, file, what, patienceMs, progress, sourceOf(openFrom));
    await finishFile(file, entry.executable, null);
  } finally {
    await file.close();
  }
}

/** Bytes from an offset on; `broke`: the next call asks anew. */
interface Source {
  at(offset: number): Promise<PieceReader>;
  broke(): void;
}

function sourceOf(openFrom: (offset: number) => Promise<AsyncIterable<Uint8Array>>): Source {
  let reader: PieceReader | null = null;
  return {
    async at(offset) {
      reader ??= createPieceReader(await openFrom(offset));
      return reader;
    },
    broke() {
      reader = null;
    },
  };
}

async function fill(
  link: FileLink,
  { digest, sizeBytes }: FileEntry,
  target: FileHandle,
  what: string,
  patienceMs: number,
  progress: Progress,
  source: Source,
): Promise<void> {
  const hash = createHash('sha256');
  let offset = 0;
  await link.await(what, patienceMs, async (moved) => {
    try {
      // An empty file needs no bytes; but where the scheduler lacks it, that is to be found out.
      const reader = sizeBytes === 0 ? null : await source.at(offset);
      for await (const piece of reader?.take(sizeBytes - offset) ?? []) {
        await writeAll(target, piece, offset);
        hash.update(piece);
        offset += piece.length;
        moved();
        progress.add(piece.length);
      }
      if (offset < sizeBytes) throw new Fault('FILES_AWAY', 'the scheduler broke off in the middle');
    } catch (error) {
      source.broke();
      throw error;
    }
  });
  if (hash.digest('hex') !== digest)
    throw new Fault('FILES_DIGEST', 'what the scheduler sent has another SHA-256');
}

async function fetchTreeTo(
  link: FileLink,
  { digest, sizeBytes }: Pick<FileEntry, 'digest' | 'sizeBytes'>,
  made: string,
  what: string,
  patienceMs: number,
  progress: Progress,
): Promise<void> {
  const temporary = await mkdtemp(join(tmpdir(), 'flopd-list-'));
  const store = openFileStore({
    folder: temporary,
    quotaBytes: LIST_BYTES_MAX,
    keepMs: Number.MAX_SAFE_INTEGER,
    roots: () => [],
    clock: createClock(),
    log: createSilentLog(),
  });
  try {
    await link.await(what, patienceMs, (moved) => fetchFile(link.transfer, store, digest, null, moved));
    const list = await store.open(digest);
    if (list === null) throw new Error('the list has gone');
    mkdirSync(made, { mode: 0o755 });
    const root = await openFolder(made);
    let place = 0;
    const source = sourceOf((offset) =>
      link.transfer.getTree(digest, place, Number.MAX_SAFE_INTEGER, offset),
    );
    try {
      await placeTree(root, readEntries(piecesOf(list, 0, (await list.stat()).size)), {
        sizeBytes,
        owner: null,
        signal: link.signal,
        async contents(entry, target, now) {
          place = now;
          await fill(link, entry, target, what, patienceMs, progress, source);
        },
      });
    } finally {
      await root.close();
      await list.close();
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
