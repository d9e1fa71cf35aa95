// What a stranger makes of a valid message: the same JSON with one place of it made wrong, as text, since much of it no
// JSON.stringify would write. All of them, in a fixed order.

export interface Mutant {
  readonly text: string;
  /** Path of what was changed, and to what. */
  readonly what: string;
}

const MARK = '"@mutant@"';
/** Deeper than any message is read. */
const DEEP = `${'['.repeat(64)}${']'.repeat(64)}`;
const REPLACEMENTS = [
  'null',
  'true',
  '7',
  '-1',
  '0.5',
  '-0',
  '1e999',
  '9007199254740993',
  '""',
  '"7"',
  '"x\\u0000y"',
  '"\\ud800"',
  '[]',
  '[[]]',
  '{}',
  '{"x":1}',
  DEEP,
];
const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', 'nobody knows this'];

export function* mutantsOf(value: unknown): Generator<Mutant> {
  for (const path of pathsOf(value, [])) {
    const name = path.join('.') || '(all)';
    for (const replacement of REPLACEMENTS) {
      const text = textWith(value, path, replacement);
      if (text !== JSON.stringify(value)) yield { text, what: `${name} = ${replacement.slice(0, 20)}` };
    }
    const inner = path.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], value);
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) continue;
    for (const key of KEYS) {
      const own = JSON.stringify(inner).slice(1);
      const text = `{${JSON.stringify(key)}:{"x":1}${own === '}' ? '' : ','}${own}`;
      yield { text: textWith(value, path, text), what: `${name} with ${key}` };
    }
    for (const key of Object.keys(inner)) {
      const { [key]: _, ...rest } = inner as Record<string, unknown>;
      yield { text: textWith(value, path, JSON.stringify(rest)), what: `${name} without ${key}` };
    }
  }
}

/** A part of them, the same for the same seed. */
export function someMutants(value: unknown, count: number, seed: number): Mutant[] {
  const all = [...mutantsOf(value)];
  if (all.length <= count) return all;
  let state = seed;
  const chosen = new Set<number>();
  while (chosen.size < count) {
    state = (state * 48_271) % 0x7fff_ffff;
    chosen.add(state % all.length);
  }
  return [...chosen].map((at) => all[at] as Mutant);
}

function* pathsOf(value: unknown, path: readonly string[]): Generator<readonly string[]> {
  yield path;
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* pathsOf(inner, [...path, key]);
}

function textWith(value: unknown, path: readonly string[], replacement: string): string {
  return JSON.stringify(marked(value, path)).replace(MARK, () => replacement);
}

function marked(value: unknown, [step, ...rest]: readonly string[]): unknown {
  if (step === undefined) return JSON.parse(MARK);
  if (Array.isArray(value)) return value.map((item, at) => (String(at) === step ? marked(item, rest) : item));
  const object = value as Record<string, unknown>;
  return { ...object, [step]: marked(object[step], rest) };
}
