// Text from strangers into values, at a bounded cost: size and depth are checked before JSON.parse, which would
// take nested brackets by the million, and the one key that can change a prototype later is refused.
import { Fault } from '../base/fault.ts';

/** Deepest nesting of arrays and objects that is read. */
export const MAX_JSON_DEPTH = 32;

const OPEN = new Set([0x5b, 0x7b]);
const CLOSE = new Set([0x5d, 0x7d]);
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Throws Fault `${prefix}_JSON` with what is wrong, never with the input. */
export function parseJson(bytes: Uint8Array, prefix: 'API' | 'LINK' | 'EXEC'): unknown {
  const code = `${prefix}_JSON`;
  if (depthOf(bytes) > MAX_JSON_DEPTH)
    throw new Fault(code, `JSON is nested deeper than ${MAX_JSON_DEPTH} levels`);
  let text: string;
  try {
    // A byte order mark is no JSON, neither here nor at a node that gets the text as it was sent.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new Fault(code, 'text is not valid UTF-8', { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Fault(code, 'text is not valid JSON', { cause });
  }
  refusePrototypeKeys(value, code);
  return value;
}

/** Deepest nesting, counted on bytes outside of strings; stops as soon as it is too deep. */
function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (inString) {
      if (byte === BACKSLASH) at += 1;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (OPEN.has(byte)) {
      depth += 1;
      if (depth > deepest) deepest = depth;
      if (deepest > MAX_JSON_DEPTH) return deepest;
    } else if (CLOSE.has(byte)) {
      depth -= 1;
    }
  }
  return deepest;
}

/** Depth is bounded by now, so that recursion is safe. */
function refusePrototypeKeys(value: unknown, code: string): void {
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value) refusePrototypeKeys(item, code);
    return;
  }
  for (const [key, item] of Object.entries(value)) {
    if (key === '__proto__')
      throw new Fault(code, 'the key "__proto__" is not allowed', { field: '__proto__' });
    refusePrototypeKeys(item, code);
  }
}
