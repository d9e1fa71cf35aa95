// One text becomes another, by dice alone: bytes changed anywhere, lines moved, and for JSON values put where none
// belongs. Results stay below MUTANT_BYTES_MAX.
import type { Dice } from '../simulation/seed.ts';

export const MUTANT_BYTES_MAX = 192 * 1024;

const oddNumbers = [
  '0',
  '-0',
  '-1',
  '1e999',
  '-1e308',
  '1e-400',
  '9007199254740993',
  '4294967296',
  '2147483648',
  '0.1',
  '256',
  '65536',
  'NaN',
  '00',
];
const oddTexts = [
  '',
  ' ',
  '\0',
  '\n',
  '\r\n',
  '\u2028',
  '\ufeff',
  '\u202e',
  '\ud800',
  '../',
  '/etc/passwd',
  '__proto__',
  'constructor',
  'toString',
  '$HOME',
  '%s%n',
  '-',
  '--',
  '\u001b[2J',
  'a'.repeat(300),
  '漢字',
  '"',
  '\\',
  '{',
  '[',
  '<!ENTITY',
  ',',
  '|',
  'N/A',
];
const oddKeys = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'critical',
  'optional',
  'type',
  'version',
  '',
  '0',
  'length',
];

/** `pool`: other texts of the same target, for parts of them. */
export function mutate(dice: Dice, input: Uint8Array, pool: readonly Uint8Array[]): Uint8Array {
  let bytes: Buffer = Buffer.from(input);
  for (let times = dice.between(1, 4); times > 0; times -= 1) {
    const parsed = dice.chance(0.6) ? parseOrNothing(bytes) : undefined;
    if (parsed !== undefined) bytes = Buffer.from(JSON.stringify(mutateValue(dice, parsed)) ?? 'null');
    else if (dice.chance(0.25) && bytes.includes(0x0a)) bytes = mutateLines(dice, bytes);
    else bytes = mutateBytes(dice, bytes, pool);
    if (bytes.length > MUTANT_BYTES_MAX) bytes = bytes.subarray(0, MUTANT_BYTES_MAX);
  }
  return bytes;
}

function parseOrNothing(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

function mutateBytes(dice: Dice, bytes: Buffer, pool: readonly Uint8Array[]): Buffer {
  const at = dice.between(0, bytes.length);
  const length = dice.between(0, Math.min(bytes.length - at, dice.chance(0.8) ? 16 : 4096));
  const insert = (middle: Uint8Array, drop = 0): Buffer =>
    Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(at + drop)]);
  switch (dice.between(0, 9)) {
    case 0: {
      if (bytes.length === 0) return Buffer.from([dice.between(0, 255)]);
      const copy = Buffer.from(bytes);
      const place = Math.min(at, bytes.length - 1);
      copy[place] = (copy[place] ?? 0) ^ (1 << dice.between(0, 7));
      return copy;
    }
    case 1:
      return insert(Buffer.from([dice.pick([0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x22, 0x5b, 0x7b])]), 1);
    case 2:
      return insert(Buffer.alloc(0), length);
    case 3:
      return insert(bytes.subarray(at, at + length));
    case 4:
      return Buffer.from(bytes.subarray(0, at));
    case 5:
      return insert(Buffer.from(dice.pick(oddTexts)), dice.chance(0.5) ? length : 0);
    case 6: {
      const other = dice.pick(pool);
      const from = dice.between(0, other.length);
      return insert(other.subarray(from, from + dice.between(0, 4096)), length);
    }
    case 7:
      return replaceNumber(dice, bytes);
    case 8: {
      const times = dice.chance(0.1) ? 20_000 : dice.between(2, 64);
      const piece = bytes.subarray(at, at + Math.min(length, 8));
      return insert(Buffer.concat(Array.from({ length: times }, () => piece)));
    }
    default:
      return insert(
        Buffer.from(Array.from({ length: dice.between(1, 12) }, () => dice.between(0, 255))),
        length,
      );
  }
}

function replaceNumber(dice: Dice, bytes: Buffer): Buffer {
  const text = bytes.toString('latin1');
  const numbers = [...text.matchAll(/\d+(?:\.\d+)?/g)];
  if (numbers.length === 0) return bytes;
  const { index, 0: old } = dice.pick(numbers);
  return Buffer.from(text.slice(0, index) + dice.pick(oddNumbers) + text.slice(index + old.length), 'latin1');
}

function mutateLines(dice: Dice, bytes: Buffer): Buffer {
  const lines = bytes.toString('latin1').split('\n');
  const from = dice.between(0, lines.length - 1);
  const [line = ''] = dice.chance(0.5) ? lines.splice(from, 1) : [lines[from]];
  if (dice.chance(0.7)) lines.splice(dice.between(0, lines.length), 0, line);
  return Buffer.from(lines.join('\n'), 'latin1');
}

type Container = Record<string, unknown> | unknown[];
const isContainer = (value: unknown): value is Container => typeof value === 'object' && value !== null;

/** A copy in which something deep inside is another thing. */
function mutateValue(dice: Dice, value: unknown): unknown {
  const root = { value: structuredClone(value) };
  let holder: Container = root as Record<string, unknown>;
  let key = 'value';
  for (;;) {
    const inner: unknown = (holder as Record<string, unknown>)[key];
    if (!isContainer(inner) || Object.keys(inner).length === 0 || dice.chance(0.15)) break;
    holder = inner;
    key = dice.pick(Object.keys(inner));
  }
  const inner: unknown = (holder as Record<string, unknown>)[key];
  put(holder, key, changed(dice, inner, root.value));
  if (isContainer(inner) && dice.chance(0.5)) {
    if (Array.isArray(inner)) inner.push(...inner.slice(0, dice.between(0, 8)));
    else put(inner, dice.pick(oddKeys), dice.chance(0.5) ? { polluted: true } : oddValue(dice));
    put(holder, key, inner);
  } else if (dice.chance(0.15)) delete (holder as Record<string, unknown>)[key];
  return root.value;
}

function changed(dice: Dice, value: unknown, whole: unknown): unknown {
  if (typeof value === 'number' && dice.chance(0.5))
    return value + dice.pick([-1, 1, 0.5, 2 ** 31, 2 ** 53, -value, Number.NaN]);
  if (typeof value === 'string' && dice.chance(0.6)) {
    // JSON within a text is a text that is parsed once more.
    const inside =
      value.length > 1 && '{['.includes(value[0] ?? '-') ? parseOrNothing(Buffer.from(value)) : undefined;
    if (inside !== undefined) return JSON.stringify(mutateValue(dice, inside));
    const at = dice.between(0, value.length);
    return value.slice(0, at) + dice.pick(oddTexts) + value.slice(at + dice.between(0, 3));
  }
  if (dice.chance(0.1)) return nested(dice.between(5, 60), dice.chance(0.5));
  if (dice.chance(0.1)) return structuredClone(whole);
  return oddValue(dice);
}

function oddValue(dice: Dice): unknown {
  return dice.pick([
    null,
    true,
    false,
    0,
    -1,
    1.5,
    1e308,
    2 ** 53,
    '',
    [],
    {},
    [[]],
    { a: 1 },
    '1',
    ...oddTexts,
  ]);
}

function nested(depth: number, asObject: boolean): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = asObject ? { a: value } : [value];
  return value;
}

/** As an own field, whatever its name. */
function put(holder: Container, key: string, value: unknown): void {
  Object.defineProperty(holder, key, { value, enumerable: true, writable: true, configurable: true });
}
