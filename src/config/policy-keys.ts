// The keys of what data a node takes at all, and between which places data may cross a border.
import {
  CORRIDORS_MAX,
  type Corridor,
  CorridorProblem,
  formatCorridor,
  parseCorridor,
} from '../protocol/corridor.ts';
import { type DataClass, dataClasses } from '../protocol/jurisdiction.ts';
import type { ConfigKey } from './keys.ts';
import { parseText, ValueProblem } from './value.ts';

const DEFAULT_CLASSES: readonly DataClass[] = ['public', 'internal'];

/** By name; null takes a built-in one away. */
export type OwnCorridors = ReadonlyMap<string, Corridor | null>;

const CORRIDOR_REMEDY =
  'write NAME=FROM > TO or NAME=FROM <> TO with commas between places and a semicolon and "without filing" where none is needed, for example "scc=DE, FR <> CH"; several with "|" between them, in the file one a line; "none" takes a built-in one away';

function parseClasses(value: unknown): readonly DataClass[] {
  const remedy = `write classes with commas between them from ${dataClasses.join(', ')}, or none`;
  const words = parseText(value, 'classes of data', 128)
    .split(',')
    .map((word) => word.trim());
  if (words.length === 1 && words[0] === 'none') return [];
  const found = dataClasses.filter((known) => words.includes(known));
  if (found.length !== words.length) throw new ValueProblem('not a list of classes of data', remedy);
  return found;
}

function parseCorridors(value: unknown): OwnCorridors {
  if (typeof value === 'string') {
    if (value.trim() === '') return new Map();
    return collect(
      value.split('|').map((part) => {
        const at = part.indexOf('=');
        if (at < 0) throw new ValueProblem('a corridor without an equals sign', CORRIDOR_REMEDY);
        return [part.slice(0, at).trim(), part.slice(at + 1)];
      }),
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ValueProblem('not corridors', CORRIDOR_REMEDY);
  return collect(Object.entries(value));
}

function collect(entries: readonly (readonly [string, unknown])[]): OwnCorridors {
  if (entries.length > CORRIDORS_MAX)
    throw new ValueProblem(`more than ${CORRIDORS_MAX} corridors`, CORRIDOR_REMEDY);
  const found = new Map<string, Corridor | null>();
  for (const [name, rule] of entries) {
    if (typeof rule !== 'string')
      throw new ValueProblem('a corridor that is no line of text', CORRIDOR_REMEDY);
    if (found.has(name)) throw new ValueProblem('a corridor that stands there twice', CORRIDOR_REMEDY);
    try {
      found.set(name, rule.trim() === 'none' ? null : parseCorridor(name, rule));
    } catch (error) {
      if (!(error instanceof CorridorProblem)) throw error;
      throw new ValueProblem(`not a list of corridors: ${error.message}`, CORRIDOR_REMEDY);
    }
  }
  return found;
}

const classes: ConfigKey<readonly DataClass[]> = {
  flag: '--policy-classes',
  argument: 'CLASSES',
  variable: 'FLOPD_POLICY_CLASSES',
  help: `classes of data whose jobs this node takes, of ${dataClasses.join(', ')}; each needs a place in its credential`,
  defaultText: DEFAULT_CLASSES.join(','),
  example: 'public,internal,personal',
  fallback: () => DEFAULT_CLASSES,
  parse: parseClasses,
  format: (value) => (value.length === 0 ? 'none' : value.join(',')),
};

const corridors: ConfigKey<OwnCorridors> = {
  flag: '--policy-corridors',
  argument: 'CORRIDORS',
  variable: 'FLOPD_POLICY_CORRIDORS',
  help: 'between which places personal data may cross a border besides the built-in ones; scheduler and node each ask their own',
  defaultText: 'none but gba-standard-contract',
  example: 'scc=DE, FR <> CH',
  fallback: () => new Map(),
  parse: parseCorridors,
  format: (value) =>
    [...value].map(([name, one]) => `${name}=${one === null ? 'none' : formatCorridor(one)}`).join(' | '),
};

export const policyKeys = { 'policy.classes': classes, 'policy.corridors': corridors };
