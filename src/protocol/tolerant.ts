// Reading what a newer peer or build wrote. The schemas are closed; here a value that fits but for fields that this
// build does not know is taken without them, and what was left out is told. Two things are never left out:
//   - a field that its sender names in `critical` (a list beside it): who does not know it must refuse the whole;
//   - a field below one of `whole`, paths whose meaning is lost by halves (a job's specification).
// Names that mean something to every JavaScript object are refused, not ignored.
import type * as z from 'zod';

/** Levels of unknown fields that one value may hide behind each other (unions report theirs one at a time). */
const MAX_PASSES = 4;
const NEVER_IGNORED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype', 'toString']);
/** Fields for the receiver of an unknown message or field, not for its meaning. */
const MARKS: ReadonlySet<string> = new Set(['critical', 'optional']);

export type Tolerated<T> =
  | {
      readonly success: true;
      readonly data: T /** Paths of the fields left out. */;
      readonly ignored: readonly string[];
    }
  | { readonly success: false; readonly issue: Issue };

export interface Issue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** Parses strictly, then without fields that are unknown. `whole` are top-level fields that must fit completely. */
export function parseTolerant<T>(
  schema: z.ZodType<T>,
  value: unknown,
  whole: readonly string[] = [],
): Tolerated<T> {
  const ignored: string[] = [];
  let present = value;
  for (let pass = 0; ; pass += 1) {
    const parsed = schema.safeParse(present);
    if (parsed.success) return { success: true, data: parsed.data, ignored };
    const issues = parsed.error.issues;
    const first = issues[0] as Issue;
    if (pass === MAX_PASSES) return { success: false, issue: first };
    for (const issue of issues) {
      const problem = issue.code === 'unrecognized_keys' ? whyKept(issue, present, whole) : issue.code;
      if (problem !== null) return { success: false, issue: { ...issue, code: problem } as Issue };
    }
    for (const issue of issues) {
      if (issue.code !== 'unrecognized_keys') continue;
      present = without(present, issue.path, issue.keys);
      for (const key of issue.keys) ignored.push([...issue.path, key].join('.'));
    }
  }
}

/** Why these unknown keys cannot be left out, or null. */
function whyKept(
  { path, keys }: { readonly path: readonly PropertyKey[]; readonly keys: readonly string[] },
  value: unknown,
  whole: readonly string[],
): string | null {
  if (keys.some((key) => NEVER_IGNORED.has(key))) return 'unrecognized_keys';
  if (whole.includes(String(path[0]))) return 'unrecognized_keys';
  const critical = criticalOf(path.reduce<unknown>((at, step) => stepInto(at, step), value));
  return keys.some((key) => critical.has(key) && !MARKS.has(key)) ? 'critical_key' : null;
}

function criticalOf(value: unknown): ReadonlySet<unknown> {
  const list = stepInto(value, 'critical');
  return new Set(Array.isArray(list) ? list : []);
}

function stepInto(value: unknown, step: PropertyKey): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
  return (value as Record<PropertyKey, unknown>)[step];
}

/** A copy of what leads there; the caller's value stays as it is. */
function without(value: unknown, path: readonly PropertyKey[], keys: readonly string[]): unknown {
  const [step, ...rest] = path;
  if (step !== undefined) {
    const inner = without(stepInto(value, step), rest, keys);
    if (Array.isArray(value)) return value.map((item, place) => (place === step ? inner : item));
    return { ...(value as object), [step]: inner };
  }
  return Object.fromEntries(Object.entries(value as object).filter(([key]) => !keys.includes(key)));
}

/** Whether a message of an unknown type says of itself that it may be ignored. */
export function isOptional(value: unknown): boolean {
  return stepInto(value, 'optional') === true;
}
