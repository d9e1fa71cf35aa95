// `--input LOCAL[:PATH]`: local files and folders as inputs of a job. Each file is read once for its SHA-256; only what
// the scheduler does not have is brought to it, and a broken link is gone on with. Nothing is held in memory: the list
// of a folder stands in a temporary file.
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { describeError, Fault } from '../base/fault.ts';
import { openFolder } from '../files/beneath.ts';
import { bring, type Cargo } from '../files/exchange.ts';
import { piecesOf, piecesToEnd } from '../files/stream.ts';
import { walkTree } from '../files/walk.ts';
import { readEntries } from '../protocol/files.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import type { FileLink } from './file-link.ts';
import { usageFault } from './usage.ts';

type InputSpec = NonNullable<JobSpecInput['inputs']>[number];

/** An `--input` as it was written. */
interface Named {
  readonly text: string;
  /** Absolute. */
  readonly local: string;
  /** Below the workspace. */
  readonly path: string;
}

export interface PreparedInputs {
  readonly inputs: InputSpec[];
  /** Brings to the scheduler what it does not have. */
  bring(link: FileLink): Promise<void>;
  /** Removes temporary files. */
  close(): Promise<void>;
}

/** Where the flag's value points; the whole of it is a local name where such a file exists. */
function parseInput(text: string, folder: string): Named {
  const exists = (name: string): boolean =>
    name !== '' && statSync(resolve(folder, name), { throwIfNoEntry: false }) !== undefined;
  const at = exists(text) ? -1 : text.lastIndexOf(':');
  const name = at < 0 ? text : text.slice(0, at);
  const local = resolve(folder, name);
  if (!exists(name))
    throw usageFault(
      `--input: ${JSON.stringify(name)} does not exist`,
      'name a file or folder of this machine',
    );
  const path = at < 0 ? basename(local) : text.slice(at + 1).replace(/\/+$/, '');
  if (path === '')
    throw usageFault(`--input: ${JSON.stringify(text)} has no name of its own`, 'write LOCAL:PATH');
  return { text, local, path };
}

/** Reads all inputs once. Throws usage faults that name what cannot be an input. */
export async function prepareInputs(
  texts: readonly string[],
  folder: string,
  signal: AbortSignal,
): Promise<PreparedInputs> {
  const temporary = texts.length === 0 ? null : await mkdtemp(join(tmpdir(), 'flopd-input-'));
  const close = async (): Promise<void> => {
    if (temporary !== null) await rm(temporary, { recursive: true, force: true });
  };
  try {
    const inputs: InputSpec[] = [];
    const cargoes: Cargo[] = [];
    for (const [place, named] of texts.map((text) => parseInput(text, folder)).entries()) {
      const prepared = await prepare(named, join(temporary ?? '', `list-${place}`), signal);
      inputs.push(prepared.input);
      cargoes.push(prepared.cargo);
    }
    return { inputs, close, bring: (link) => bringAll(inputs, cargoes, link) };
  } catch (error) {
    await close();
    signal.throwIfAborted();
    throw error;
  }
}

async function prepare(
  { text, local, path }: Named,
  listPath: string,
  signal: AbortSignal,
): Promise<{ input: InputSpec; cargo: Cargo }> {
  try {
    const found = statSync(local);
    if (found.isDirectory()) return await prepareTree(local, path, listPath, signal);
    if (found.isFile()) return await prepareFile(local, path, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw usageFault(`--input: ${JSON.stringify(text)}: ${describeError(error)}`, 'leave it out or mend it');
  }
  throw usageFault(`--input: ${JSON.stringify(text)} is neither a file nor a folder`, 'name one of these');
}

async function digestOf(
  file: FileHandle,
  signal: AbortSignal,
): Promise<{ digest: string; sizeBytes: number }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const piece of piecesToEnd(file)) {
    signal.throwIfAborted();
    hash.update(piece);
    sizeBytes += piece.length;
  }
  return { digest: hash.digest('hex'), sizeBytes };
}

async function prepareFile(
  local: string,
  path: string,
  signal: AbortSignal,
): Promise<{ input: InputSpec; cargo: Cargo }> {
  const file = await open(local, 'r');
  try {
    const { digest, sizeBytes } = await digestOf(file, signal);
    const executable = ((await file.stat()).mode & 0o100) !== 0;
    const pieces = (offset: number) => piecesOfPath(local, offset, sizeBytes);
    return {
      input: { path, kind: 'file', digest, sizeBytes, executable },
      cargo: { digest, kind: 'file', sizeBytes, pieces, contents: () => pieces(0) },
    };
  } finally {
    await file.close();
  }
}

async function prepareTree(
  local: string,
  path: string,
  listPath: string,
  signal: AbortSignal,
): Promise<{ input: InputSpec; cargo: Cargo }> {
  const root = await openFolder(local);
  const list = await open(listPath, 'wx', 0o600);
  const hash = createHash('sha256');
  let listBytes = 0;
  try {
    const { sizeBytes } = await walkTree(root, {
      file: (file) => digestOf(file, signal),
      async lines(text) {
        const bytes = Buffer.from(text);
        await list.appendFile(bytes);
        hash.update(bytes);
        listBytes += bytes.length;
      },
      straying: 'refuse',
      ownerUid: null,
      signal,
    });
    const digest = hash.digest('hex');
    return {
      input: { path, kind: 'tree', digest, sizeBytes },
      cargo: {
        digest,
        kind: 'tree',
        sizeBytes: listBytes,
        pieces: (offset) => piecesOfPath(listPath, offset, listBytes),
        contents: (from, to, offset) => contentsOfFolder(local, listPath, from, to, offset),
      },
    };
  } finally {
    await list.close();
    await root.close();
  }
}

async function* piecesOfPath(path: string, from: number, to: number): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  try {
    yield* piecesOf(file, from, to);
  } finally {
    await file.close();
  }
}

async function* contentsOfFolder(
  folder: string,
  listPath: string,
  from: number,
  to: number,
  offset: number,
): AsyncGenerator<Uint8Array> {
  let place = 0;
  for await (const entries of readEntries(createReadStream(listPath)))
    for (const entry of entries) {
      if (entry.kind !== 'file') continue;
      if (place >= to) return;
      if (place >= from)
        yield* piecesOfPath(join(folder, entry.path), place === from ? offset : 0, entry.sizeBytes);
      place += 1;
    }
}

async function bringAll(
  inputs: readonly InputSpec[],
  cargoes: readonly Cargo[],
  link: FileLink,
): Promise<void> {
  const totalBytes = inputs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const progress = link.progress('bringing inputs', totalBytes);
  try {
    for (const [place, cargo] of cargoes.entries()) {
      try {
        await link.persist((moved) =>
          bring(link.transfer, cargo, (bytes) => {
            moved();
            progress.add(bytes);
          }),
        );
      } catch (error) {
        const changed = ['FILES_DIGEST', 'FILES_SHRANK', 'FILES_TOO_LONG'];
        if (!(error instanceof Fault) || !changed.includes(error.code)) throw error;
        throw new Fault(
          error.code,
          `input ${JSON.stringify(inputs[place]?.path)} changed while it was read`,
          {
            remedy: 'run it again when nobody writes there',
            cause: error,
          },
        );
      }
    }
  } finally {
    progress.end();
  }
}
