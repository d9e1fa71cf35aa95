// What must hold of every reader, whatever it is given: it answers or refuses with a fault of its own, soon, without
// touching what all objects share, and what it makes is not out of proportion to what it was given.
import { isFault } from '../../src/base/fault.ts';
import type { Target } from './target.ts';

/** CPU time that no reader takes for less than MUTANT_BYTES_MAX; one that does is asked again. */
export const SLOW_MS = 400;
const ASKED_AGAIN = 4;
const SIZE_FACTOR = 128;
const SIZE_BASE = 256 * 1024;
const MESSAGE_CHARACTERS_MAX = 4096;

/** Why it is a find, or null. */
export async function judge(target: Target, input: Uint8Array): Promise<string | null> {
  let leastMs = Number.POSITIVE_INFINITY;
  let problem: string | null = null;
  for (let times = 0; times < ASKED_AGAIN && (times === 0 || leastMs > SLOW_MS); times += 1) {
    const before = process.cpuUsage();
    problem = await once(target, input);
    const { user, system } = process.cpuUsage(before);
    leastMs = Math.min(leastMs, (user + system) / 1000);
    if (problem !== null) return problem;
  }
  return leastMs > SLOW_MS ? `took ${Math.round(leastMs)} ms of CPU at least` : null;
}

async function once(target: Target, input: Uint8Array): Promise<string | null> {
  // What the reader does to its input must not be seen by the next one.
  const given = Uint8Array.from(input);
  let made: unknown;
  try {
    made = await target.read(given);
  } catch (error) {
    return faultProblem(target, error) ?? sharedProblem();
  }
  const shared = sharedProblem();
  if (shared !== null) return shared;
  const size = sizeOf(made);
  if (size > SIZE_BASE + SIZE_FACTOR * input.length) return `made ${size} bytes of ${input.length}`;
  try {
    target.check?.(made, input);
  } catch (error) {
    return `made what cannot be: ${error instanceof Error ? error.message : String(error)}`;
  }
  return null;
}

function faultProblem({ faults }: Target, error: unknown): string | null {
  if (!isFault(error))
    return `threw ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  if (!faults.test(error.code)) return `refused with the code ${error.code}, which is none of its own`;
  return error.message.length > MESSAGE_CHARACTERS_MAX
    ? `refused with ${error.message.length} characters`
    : null;
}

const shared = [Object.prototype, Array.prototype, Function.prototype, String.prototype, Map.prototype].map(
  (prototype) => ({ prototype, names: Object.getOwnPropertyNames(prototype).length }),
);

function sharedProblem(): string | null {
  const probe: Record<string, unknown> = {};
  if (probe.polluted !== undefined) return 'changed the prototype of all objects';
  for (const { prototype, names } of shared)
    if (Object.getOwnPropertyNames(prototype).length !== names) return 'changed a prototype';
  return null;
}

/** Roughly how much memory a value takes. Stops counting where it is too much anyway. */
function sizeOf(value: unknown): number {
  let size = 0;
  const open: unknown[] = [value];
  const seen = new Set<unknown>();
  while (open.length > 0 && size < 1e9) {
    const one = open.pop();
    size += 8;
    if (typeof one === 'string') size += one.length;
    if (typeof one !== 'object' || one === null || seen.has(one)) continue;
    seen.add(one);
    if (ArrayBuffer.isView(one)) size += one.byteLength;
    else if (one instanceof Map || one instanceof Set) for (const each of one) open.push(each);
    else for (const each of Object.values(one)) open.push(each);
  }
  return size;
}
