// What a job says about its own work: the file named by FLOPD_METER_FILE. Lines of `flop=<n> seconds=<n>
// precision=<p>`, `seconds` being compute time and, like `precision`, optional; several lines add up. The file is the
// job's: it may hold anything.

/** Longer files are read up to here. */
export const METER_BYTES_MAX = 64 * 1024;

export interface MeterReading {
  /** Sum over all good lines; null without one. */
  readonly flop: number | null;
  /** Compute time, null unless every good line states it. */
  readonly seconds: number | null;
  /** Lines or bytes that were left out and why, in words; null when none were. */
  readonly problem: string | null;
}

const NUMBER = /^\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?$/i;
const PRECISION = /^[a-z0-9]{1,16}$/;

function parseLine(line: string): { flop: number; seconds: number | null } | null {
  const fields = new Map<string, string>();
  for (const part of line.trim().split(/\s+/)) {
    const at = part.indexOf('=');
    if (at < 1 || fields.has(part.slice(0, at))) return null;
    fields.set(part.slice(0, at), part.slice(at + 1));
  }
  const number = (key: string): number | null => {
    const text = fields.get(key) ?? '';
    const value = NUMBER.test(text) ? Number(text) : Number.NaN;
    return Number.isFinite(value) ? value : null;
  };
  const flop = number('flop');
  const seconds = number('seconds');
  if (flop === null || (fields.has('seconds') && seconds === null)) return null;
  const precision = fields.get('precision');
  if (precision !== undefined && !PRECISION.test(precision)) return null;
  return { flop, seconds };
}

/** `text` is the start of the file; `truncated` when the file is longer. Never throws. */
export function parseMeter(text: string, truncated: boolean): MeterReading {
  const lines = text.split('\n');
  if (truncated) lines.pop(); // cut in the middle, most likely
  let flop: number | null = null;
  let seconds: number | null = 0;
  let ignored = 0;
  for (const line of lines) {
    if (line.trim() === '') continue;
    const entry = parseLine(line);
    const sum: number = entry === null ? Number.NaN : (flop ?? 0) + entry.flop;
    if (entry === null || !Number.isFinite(sum)) {
      ignored += 1;
      continue;
    }
    flop = sum;
    seconds = seconds === null || entry.seconds === null ? null : seconds + entry.seconds;
  }
  const problems: string[] = [];
  if (ignored > 0)
    problems.push(`${ignored} lines of the meter file are not "flop=<n> seconds=<n> precision=<p>"`);
  if (truncated) problems.push(`the meter file is longer than ${METER_BYTES_MAX} bytes`);
  return {
    flop,
    seconds: flop === null || seconds === null || !Number.isFinite(seconds) ? null : seconds,
    problem: problems.length === 0 ? null : problems.join('; '),
  };
}
