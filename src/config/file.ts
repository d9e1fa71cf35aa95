// The configuration file: found, read and taken apart into scalars with their places. Knows YAML, not meanings.
import { lstatSync, readFileSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type * as Yaml from 'yaml';
import { errnoOf, Fault } from '../base/fault.ts';
import type { Environment } from './keys.ts';
import { homeFolder } from './path.ts';

/** Far above any real file; a log or a disk image named by mistake is refused before it is parsed. */
const MAX_FILE_BYTES = 1024 * 1024;

const MAX_VALUE_DEPTH = 2;

/** One scalar of the file: its path (`node.cpus`), what YAML made of it, and where it stands. */
export interface FileEntry {
  readonly path: string;
  readonly value: unknown;
  /** `file:line:column`, counted from 1; columns in UTF-16 units as editors do. */
  readonly place: string;
  readonly keyPlace: string;
}

/** Where a user keeps what concerns flopd: configuration, logins, the key that submissions are signed with. */
export function userFolder(environment: Environment): string {
  const configured = environment.XDG_CONFIG_HOME;
  const all =
    configured !== undefined && isAbsolute(configured)
      ? configured
      : join(homeFolder(environment), '.config');
  return join(all, 'flopd');
}

/** The places that are searched when no file is named, first one first. */
export function searchedFiles(environment: Environment): string[] {
  return [join(userFolder(environment), 'flopd.yaml'), '/etc/flopd/flopd.yaml'];
}

/** The first searched file that exists, or null. */
export function findFile(environment: Environment): string | null {
  for (const path of searchedFiles(environment)) {
    try {
      lstatSync(path);
      return path;
    } catch (error) {
      const errno = errnoOf(error);
      // A folder above that this user may not enter holds nothing for this user.
      if (errno !== 'ENOENT' && errno !== 'ENOTDIR' && errno !== 'EACCES') throw unreadable(path, error);
    }
  }
  return null;
}

/** All scalars of a file. Throws Fault CONFIG_FILE_UNREADABLE or CONFIG_FILE_INVALID. */
export async function readConfigFile(path: string): Promise<FileEntry[]> {
  const source = readSource(path);
  if (source.trim() === '') return [];
  const yaml = await import('yaml');
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const problem = document.errors[0];
  if (problem !== undefined) {
    const message = problem.message.split('\n')[0] ?? problem.code;
    throw new Fault('CONFIG_FILE_INVALID', `${place(problem.pos[0])}: not valid YAML: ${message}`, {
      remedy: 'mend that line, or compare with "flopd config init --print"',
    });
  }
  const entries: FileEntry[] = [];
  // `---` alone is a document that says nothing.
  const isEmpty =
    document.contents === null || (yaml.isScalar(document.contents) && document.contents.value === null);
  if (!isEmpty) collect(yaml, document.contents, '', place, entries);
  return entries;
}

function readSource(path: string): string {
  let bytes: Buffer;
  try {
    const stat = statSync(path);
    // Reading a pipe or a device could wait for ever.
    if (!stat.isFile()) {
      throw new Fault('CONFIG_FILE_UNREADABLE', `configuration file ${path} is not a regular file`, {
        remedy: 'name a YAML file',
      });
    }
    if (stat.size > MAX_FILE_BYTES) {
      throw new Fault(
        'CONFIG_FILE_UNREADABLE',
        `configuration file ${path} is larger than ${MAX_FILE_BYTES} bytes`,
        { remedy: 'name a YAML file' },
      );
    }
    bytes = readFileSync(path);
  } catch (error) {
    throw error instanceof Fault ? error : unreadable(path, error);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Fault('CONFIG_FILE_INVALID', `configuration file ${path} is not UTF-8 text`, {
      remedy: 'save it as UTF-8',
    });
  }
}

function collect(
  yaml: typeof Yaml,
  node: unknown,
  prefix: string,
  place: (offset: number) => string,
  entries: FileEntry[],
): void {
  if (!yaml.isMap(node)) {
    const at = yaml.isNode(node) && node.range ? place(node.range[0]) : place(0);
    throw new Fault('CONFIG_FILE_INVALID', `${at}: expected "key: value" lines`, {
      remedy: 'compare with "flopd config init --print"',
    });
  }
  for (const { key, value } of node.items) {
    const name = yaml.isScalar(key) ? String(key.value) : '';
    const keyOffset = yaml.isNode(key) && key.range ? key.range[0] : 0;
    if (!yaml.isScalar(key) || typeof key.value !== 'string') {
      throw new Fault('CONFIG_FILE_INVALID', `${place(keyOffset)}: a key must be a plain word`, {
        remedy: 'compare with "flopd config init --print"',
      });
    }
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (yaml.isMap(value)) {
      // A section of unknown name is reported as itself, not key by key.
      if (prefix === '') collectSection(yaml, value, path, place, entries, place(keyOffset));
      else
        entries.push({
          path,
          value: plainOf(yaml, value, 0),
          place: place(keyOffset),
          keyPlace: place(keyOffset),
        });
      continue;
    }
    const offset = yaml.isNode(value) && value.range ? value.range[0] : keyOffset;
    if (yaml.isAlias(value)) {
      throw new Fault('CONFIG_FILE_INVALID', `${place(offset)}: ${path}: aliases are not supported`, {
        remedy: 'write the value itself',
      });
    }
    const plain = yaml.isScalar(value) ? value.value : yaml.isSeq(value) ? [] : null;
    // `telemetry:` with everything below it commented out is an empty section, not an empty value.
    entries.push({ path, value: plain, place: place(offset), keyPlace: place(keyOffset) });
  }
}

/** A map below a key as an object, for keys whose value is one. Deeper than any of those it is not followed. */
function plainOf(yaml: typeof Yaml, node: unknown, depth: number): unknown {
  if (yaml.isScalar(node)) return node.value;
  if (!yaml.isMap(node) || depth > MAX_VALUE_DEPTH) return yaml.isMap(node) ? {} : [];
  return Object.fromEntries(
    node.items.map(({ key, value }) => [
      String(yaml.isScalar(key) ? key.value : key),
      plainOf(yaml, value, depth + 1),
    ]),
  );
}

function collectSection(
  yaml: typeof Yaml,
  section: Yaml.YAMLMap,
  path: string,
  place: (offset: number) => string,
  entries: FileEntry[],
  keyPlace: string,
): void {
  entries.push({ path, value: {}, place: keyPlace, keyPlace });
  collect(yaml, section, path, place, entries);
}

function unreadable(path: string, error: unknown): Fault {
  const errno = errnoOf(error);
  const why =
    errno === 'ENOENT'
      ? 'does not exist'
      : errno === 'EACCES'
        ? 'may not be read by this user (EACCES)'
        : `cannot be read (${errno ?? String(error)})`;
  return new Fault('CONFIG_FILE_UNREADABLE', `configuration file ${path} ${why}`, {
    remedy: 'correct --config or FLOPD_CONFIG, or write one with "flopd config init"',
    cause: error,
  });
}
