// Output of a job made safe for a terminal: what it prints may colour its text, but not move the cursor, change the
// title, answer as a keyboard, or turn the writing around. Only for people who look; a pipe gets every byte as it is.
//
//   kept      printable text in UTF-8, tab, line feed, carriage return, backspace, colours (ESC [ … m)
//   shown     every other control character as `\x1b`, marks of direction as `\u202e`, bytes that are no text as `\xff`
//
// A character or a colour that is cut by the end of a chunk waits for the next one, at most PENDING_BYTES_MAX bytes.
import { escapeText } from './text.ts';

/** A longer sequence of colours than any that makes sense is shown instead. */
const PENDING_BYTES_MAX = 64;
const ESCAPE = 0x1b;
/** What follows ESC. */
const COLOUR = /^\[[0-9;:]*m/;
const PARTIAL_COLOUR = /^(?:\[[0-9;:]*)?$/;
const RESET_COLOUR = '\u001b[0m';

export interface TerminalFilter {
  /** The chunk as it may be shown; what is incomplete is kept for the next one. */
  push(bytes: Uint8Array): string;
  /** What is left, and the end of any colour. */
  end(): string;
}

export function createTerminalFilter(): TerminalFilter {
  let rest: Uint8Array = new Uint8Array(0);
  let isColoured = false;

  function take(bytes: Uint8Array, isLast: boolean): string {
    const shown: string[] = [];
    let at = 0;
    while (at < bytes.length) {
      const byte = bytes[at] ?? 0;
      if (byte === ESCAPE) {
        const text = latin1(bytes.subarray(at + 1, at + PENDING_BYTES_MAX));
        const colour = COLOUR.exec(text)?.[0];
        if (colour !== undefined) {
          isColoured = true;
          shown.push(`\u001b${colour}`);
          at += 1 + colour.length;
          continue;
        }
        if (!isLast && PARTIAL_COLOUR.test(text) && text.length < PENDING_BYTES_MAX - 1) break;
        shown.push('\\x1b');
        at += 1;
      } else if (byte < 0x80) {
        const end = endOfPlain(bytes, at);
        shown.push(plain(latin1(bytes.subarray(at, end))));
        at = end;
      } else {
        const length = characterLength(bytes, at);
        if (length === null && !isLast) break;
        const isText = length !== null && length > 0;
        shown.push(isText ? plain(utf8(bytes.subarray(at, at + length))) : `\\x${byte.toString(16)}`);
        at += isText ? length : 1;
      }
    }
    rest = bytes.slice(at);
    return shown.join('');
  }

  return {
    push: (bytes) => take(rest.length === 0 ? bytes : Buffer.concat([rest, bytes]), false),
    end() {
      const left = take(rest, true);
      const reset = isColoured ? RESET_COLOUR : '';
      isColoured = false;
      return left + reset;
    },
  };
}

/** Where a run of ASCII without ESC ends. */
function endOfPlain(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && (bytes[at] ?? 0) < 0x80 && bytes[at] !== ESCAPE) at += 1;
  return at;
}

/** Bytes of the character there; 0 where there is none, null where its end has not come yet (RFC 3629). */
function characterLength(bytes: Uint8Array, at: number): number | null {
  const first = bytes[at] ?? 0;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (let place = 1; place < length; place += 1) {
    const next = bytes[at + place];
    if (next === undefined) return null;
    const least = place > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
    const most = place > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
    if (next < least || next > most) return 0;
  }
  return length;
}

function plain(text: string): string {
  return text
    .split(/([\t\n\r\b]+)/)
    .map((part, place) => (place % 2 === 1 ? part : escapeText(part)))
    .join('');
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}
