// The list of a tree of files: what an input or output folder holds, as bytes of which the SHA-256 names the tree.
//
//   ["flopd-tree",1]                          the head; one JSON array a line, each line ends with "\n"
//   ["d","data"]                              a folder
//   ["f","data/a.bin",1024,"<sha256>"]        a file: size in bytes, SHA-256 of its contents in lower-case hex
//   ["x","data/run.sh",12,"<sha256>"]         a file that may be executed; of modes nothing else is kept
//   ["l","data/last","a.bin"]                 a symbolic link and its target
//
// Canonical: a line is what JSON.stringify makes of its array; each folder stands before what it holds; entries are in
// the order of their paths with "/" taken as the least character, by UTF-16 code units; so one tree has one list.
// INVARIANTS that a reader may trust once a line is out of the parser: names are no "", "." or ".." and hold neither
// "/" nor NUL; what lies above an entry is a folder of the list, never a link; a link stays inside of the tree: its
// target is relative, and ".." stands only in front, at most as often as the link lies deep (behind a name, ".." could
// lead anywhere, as the name may be a link itself).
// A list may be long: it is read and written in pieces, never held as a whole.
import * as z from 'zod';
import { Fault } from '../base/fault.ts';
import { digestSchema } from './spec.ts';

export const TREE_ENTRIES_MAX = 1_000_000;
export const TREE_DEPTH_MAX = 100;
export const LIST_BYTES_MAX = 512 * 1024 * 1024;
/** The longest path, escaped, with its digest. */
const LINE_BYTES_MAX = 64 * 1024;
const PATH_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 255;

export type TreeEntry =
  | { readonly kind: 'folder'; readonly path: string }
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly sizeBytes: number;
      readonly digest: string;
      readonly executable: boolean;
    }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };
export type FileEntry = Extract<TreeEntry, { kind: 'file' }>;

export const TREE_HEAD = `${JSON.stringify(['flopd-tree', 1])}\n`;

const size = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const lineSchema = z.union([
  z.tuple([z.literal('d'), z.string()]),
  z.tuple([z.enum(['f', 'x']), z.string(), size, digestSchema]),
  z.tuple([z.literal('l'), z.string(), z.string()]),
]);

/** One line of a list. */
export function encodeEntry(entry: TreeEntry): string {
  switch (entry.kind) {
    case 'folder':
      return `${JSON.stringify(['d', entry.path])}\n`;
    case 'file':
      return `${JSON.stringify([entry.executable ? 'x' : 'f', entry.path, entry.sizeBytes, entry.digest])}\n`;
    case 'link':
      return `${JSON.stringify(['l', entry.path, entry.target])}\n`;
  }
}

/** Sorts siblings, and compares paths, in the order of a list. */
export function comparePaths(a: string, b: string): number {
  if (a === b) return 0;
  return a.replaceAll('/', '\0') < b.replaceAll('/', '\0') ? -1 : 1;
}

/** Why no file of a tree may have this name, or null. */
export function nameProblem(name: string): string | null {
  if (name === '' || name === '.' || name === '..') return 'is not a name';
  if (name.includes('/') || name.includes('\0')) return 'holds a slash or NUL';
  if (!name.isWellFormed()) return 'is not well-formed Unicode';
  return Buffer.byteLength(name) > NAME_BYTES_MAX ? `is longer than ${NAME_BYTES_MAX} bytes` : null;
}

/** Why a link at `path` of a tree may not lead to `target`, or null. */
export function linkProblem(path: string, target: string): string | null {
  if (target === '') return 'leads nowhere';
  if (target.includes('\0') || !target.isWellFormed()) return 'has a target that is not text';
  if (Buffer.byteLength(target) >= PATH_BYTES_MAX) return 'has a target that is too long';
  if (target.startsWith('/')) return 'leads out of the folder: its target is absolute';
  const steps = target.split('/');
  const down = steps.findIndex((step) => step !== '..');
  const ups = down < 0 ? steps.length : down;
  if (ups > path.split('/').length - 1) return 'leads out of the folder';
  return steps.includes('..', ups) ? 'goes up behind a name, which may lead out of the folder' : null;
}

function invalid(line: number, what: string): Fault {
  return new Fault('FILES_LIST_INVALID', `line ${line} of the list of a tree ${what}`);
}

/** Checks entries in their order; for readers of lists and for their writers. */
export interface EntryCheck {
  /** Throws FILES_LIST_INVALID. */
  take(entry: TreeEntry): void;
}

export function createEntryCheck(): EntryCheck {
  let line = 1;
  let last = '';
  /** Names of the folder that the last entry lies in, or is. */
  let open: readonly string[] = [];
  return {
    take(entry) {
      line += 1;
      if (line - 1 > TREE_ENTRIES_MAX)
        throw invalid(line, `is one too many: ${TREE_ENTRIES_MAX} are allowed`);
      const steps = entry.path.split('/');
      if (steps.length > TREE_DEPTH_MAX) throw invalid(line, `lies deeper than ${TREE_DEPTH_MAX} folders`);
      if (Buffer.byteLength(entry.path) > PATH_BYTES_MAX)
        throw invalid(line, `has a path of more than ${PATH_BYTES_MAX} bytes`);
      for (const step of steps) {
        const problem = nameProblem(step);
        if (problem !== null) throw invalid(line, `has a path of which a part ${problem}`);
      }
      if (line > 2 && comparePaths(last, entry.path) >= 0) throw invalid(line, 'is not in order');
      const above = steps.slice(0, -1);
      if (above.length > open.length || above.some((name, depth) => open[depth] !== name))
        throw invalid(line, 'lies in a folder that the list does not name');
      const problem = entry.kind === 'link' ? linkProblem(entry.path, entry.target) : null;
      if (problem !== null) throw invalid(line, `is a link that ${problem}`);
      open = entry.kind === 'folder' ? steps : above;
      last = entry.path;
    },
  };
}

function parseLine(text: string, line: number): TreeEntry {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(line, 'is not JSON');
  }
  const parsed = lineSchema.safeParse(value);
  if (!parsed.success || JSON.stringify(value) !== text) throw invalid(line, 'is not an entry');
  const data = parsed.data;
  if (data[0] === 'd') return { kind: 'folder', path: data[1] };
  if (data[0] === 'l') return { kind: 'link', path: data[1], target: data[2] };
  return { kind: 'file', path: data[1], sizeBytes: data[2], digest: data[3], executable: data[0] === 'x' };
}

/** Entries of a list as its bytes come, in pieces. Throws FILES_LIST_INVALID at the first line that is wrong. */
export async function* readEntries(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<TreeEntry[]> {
  const check = createEntryCheck();
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest = '';
  let line = 0;
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > LIST_BYTES_MAX)
      throw invalid(line, `is too much: a list has at most ${LIST_BYTES_MAX} bytes`);
    let text: string;
    try {
      text = rest + decoder.decode(piece, { stream: true });
    } catch {
      throw invalid(line + 1, 'is not UTF-8');
    }
    const lines = text.split('\n');
    rest = lines.pop() ?? '';
    const entries: TreeEntry[] = [];
    for (const one of lines) {
      line += 1;
      if (one.length > LINE_BYTES_MAX) throw invalid(line, 'is too long');
      if (line === 1) {
        if (`${one}\n` !== TREE_HEAD) throw invalid(line, 'does not begin a list of this version');
        continue;
      }
      const entry = parseLine(one, line);
      check.take(entry);
      entries.push(entry);
    }
    if (rest.length > LINE_BYTES_MAX) throw invalid(line + 1, 'is too long');
    if (entries.length > 0) yield entries;
  }
  if (line === 0) throw invalid(1, 'is missing');
  try {
    rest += decoder.decode();
  } catch {
    throw invalid(line + 1, 'is not UTF-8');
  }
  if (rest !== '') throw invalid(line + 1, 'is cut off');
}
