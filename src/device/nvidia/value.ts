// How nvidia-smi writes values, and the words that it puts where there is none.
import type { AbsentReason } from '../../protocol/columns.ts';
import type { Measured } from '../accelerator.ts';

const unsupported =
  /^\[?(n\/a|not supported|not available|not found|not active|none|requested functionality has been deprecated|unknown)\]?$/i;

/** Why a text is no value; null when it may be one. */
export function absenceOf(text: string | null | undefined): AbsentReason | null {
  if (text === null || text === undefined) return 'unsupported';
  const plain = text.trim();
  if (plain === '' || unsupported.test(plain)) return 'unsupported';
  if (/insufficient permissions|no permission/i.test(plain)) return 'denied';
  if (/gpu is lost|requires reset|reset required/i.test(plain)) return 'lost';
  if (/^\[?(err!?|unknown error|error)\b/i.test(plain)) return 'error';
  return null;
}

/** `81559 MiB` with the unit `MiB`: its number times `scale`. Another unit or form is an error, never a number. */
export function measure(text: string | null | undefined, units: string, scale = 1): Measured {
  const absent = absenceOf(text);
  if (absent !== null) return absent;
  const match = /^(-?\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z%/]*)$/.exec(text?.trim() ?? '');
  if (match === null || !units.split('|').includes(match[2] ?? '')) return 'error';
  return scaled(Number(match[1]), scale);
}

/** A share in percent; one above 100 is an error. */
export function percent(text: string | null | undefined): Measured {
  const value = measure(text, '%', 0.01);
  return typeof value === 'number' && (value < 0 || value > 1) ? 'error' : value;
}

/** The product without the dust of binary fractions: 32 % is 0.32. */
function scaled(value: number, scale: number): number {
  return scale < 1 ? value / Math.round(1 / scale) : value * scale;
}

/** A text that is a value, or null. */
export function word(text: string | null | undefined): string | null {
  return absenceOf(text) === null ? (text?.trim() ?? null) : null;
}

export function whole(text: string | null | undefined): number | null {
  const value = measure(text, '');
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : null;
}
