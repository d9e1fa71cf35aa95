// How people write values: durations, sizes, addresses, URLs. Each parser takes what a flag, a variable or a YAML
// scalar gave and returns the precise value, or throws a ValueProblem: what is wrong, and an example that is right.
import { isIPv6 } from 'node:net';

/** A value that cannot be used. `message` finishes the sentence "X is …"; `remedy` is an imperative sentence. */
export class ValueProblem extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.name = 'ValueProblem';
    this.remedy = remedy;
  }
}

export interface Address {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
}

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** How accelerators are read: natively where a vendor's library is here, else by its tool (`auto`), or only one way. */
export const deviceBackends = ['auto', 'native', 'cli'] as const;
export type DeviceBackend = (typeof deviceBackends)[number];

const TEXT_CHARACTERS_MAX = 16 * 1024;

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const sizeUnits: Readonly<Record<string, number>> = {
  b: 1,
  k: 1024,
  ki: 1024,
  kib: 1024,
  kb: 1000,
  m: 1024 ** 2,
  mi: 1024 ** 2,
  mib: 1024 ** 2,
  mb: 1000 ** 2,
  g: 1024 ** 3,
  gi: 1024 ** 3,
  gib: 1024 ** 3,
  gb: 1000 ** 3,
  t: 1024 ** 4,
  ti: 1024 ** 4,
  tib: 1024 ** 4,
  tb: 1000 ** 4,
};

interface Range {
  readonly min: number;
  readonly max: number;
}

/**
 * Milliseconds of `100ms`, `1s`, `1.5h`, `1h30m`. A bare number is taken as milliseconds only where `bareMs` says
 * so: people disagree whether a bare time limit means seconds or minutes.
 */
export function parseDurationMs(value: unknown, range: Range, bareMs: boolean): number {
  const remedy = `write a number with ms, s, m, h or d, between ${formatDuration(range.min)} and ${formatDuration(range.max)}, for example 90s or 1h30m`;
  if (typeof value === 'number' && bareMs) return inRange(Math.round(value), range, 'duration', remedy);
  const text = scalarText(value, 'a duration', remedy).trim();
  if (/^\d+(\.\d+)?$/.test(text)) {
    if (bareMs || Number(text) === 0) return inRange(Math.round(Number(text)), range, 'duration', remedy);
    throw new ValueProblem('a duration without a unit', remedy);
  }
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) throw new ValueProblem('not a duration', remedy);
  let totalMs = 0;
  for (const [, amount, , unit] of text.matchAll(/(\d+(\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(amount) * (durationUnits[unit ?? ''] ?? Number.NaN);
  }
  return inRange(Math.round(totalMs), range, 'duration', remedy);
}

/** Bytes of `512`, `4GiB`, `4G` (both binary) or `4GB` (decimal). */
export function parseBytes(value: unknown, range: Range = { min: 1, max: Number.MAX_SAFE_INTEGER }): number {
  const remedy = 'write a number of bytes or one with KiB, MiB, GiB, TiB, for example 4GiB';
  if (typeof value === 'number') return inRange(wholeBytes(value, remedy), range, 'size', remedy);
  const text = scalarText(value, 'a size', remedy).trim();
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  const factor = match?.[2] === '' ? 1 : sizeUnits[(match?.[2] ?? '').toLowerCase()];
  if (match === null || factor === undefined) throw new ValueProblem('not a size', remedy);
  return inRange(wholeBytes(Number(match[1]) * factor, remedy), range, 'size', remedy);
}

/** A whole or decimal number in `range`. */
export function parseNumber(value: unknown, range: Range, example: string): number {
  const remedy = `write a number between ${range.min} and ${range.max}, for example ${example}`;
  if (typeof value === 'number') return inRange(value, range, 'number', remedy);
  const text = scalarText(value, 'a number', remedy).trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)$/.test(text)) throw new ValueProblem('not a number', remedy);
  return inRange(Number(text), range, 'number', remedy);
}

export function parseInteger(value: unknown, range: Range, example: string): number {
  const number = parseNumber(value, range, example);
  if (!Number.isInteger(number)) {
    throw new ValueProblem(
      'not a whole number',
      `write a whole number between ${range.min} and ${range.max}, for example ${example}`,
    );
  }
  return number;
}

/** `HOST:PORT`; an IPv6 address stands in brackets. */
export function parseAddress(value: unknown, example: string): Address {
  const remedy = `write HOST:PORT, for example ${example} or [::1]:0 (port 0 picks a free one)`;
  const text = scalarText(value, 'HOST:PORT', remedy);
  const match = /^(?:\[([^\]]*)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  if (match === null) throw new ValueProblem('not HOST:PORT', remedy);
  const port = Number(match[3]);
  if (port > 65_535) throw new ValueProblem('an address with a port above 65535', remedy);
  if (match[1] !== undefined && !isIPv6(match[1]))
    throw new ValueProblem('an address whose brackets hold no IPv6 address', remedy);
  return { host: match[1] ?? match[2] ?? '', port };
}

/** Base URL of a scheduler, without a trailing slash. */
export function parseSchedulerUrl(value: unknown): string {
  const remedy = 'write it like https://scheduler.example:7070, on its own machine http://127.0.0.1:7070';
  const text = scalarText(value, 'a URL', remedy);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new ValueProblem('not a URL', remedy);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new ValueProblem('not an http or https URL', remedy);
  if (url.username !== '' || url.password !== '')
    throw new ValueProblem(
      'a URL with a password in it',
      'put the token into a file and name it with --token-file',
    );
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new ValueProblem('more than a base URL', remedy);
  return url.origin;
}

/** Text without control characters, not empty. */
export function parseText(value: unknown, what: string, maximum: number): string {
  const remedy = `write ${what} of 1 to ${maximum} characters without control characters`;
  const text = scalarText(value, what, remedy);
  if (text === '') throw new ValueProblem('empty', remedy);
  if (text.length > maximum) throw new ValueProblem('too long', remedy);
  if (/\p{Cc}|\p{Zl}|\p{Zp}/u.test(text)) throw new ValueProblem('text with control characters', remedy);
  return text;
}

/** One of a few words. */
export function parseChoice<Word extends string>(value: unknown, words: readonly Word[], what: string): Word {
  const word = words.find((known) => known === value);
  if (word === undefined) throw new ValueProblem(`not ${what}`, `write one of ${words.join(', ')}`);
  return word;
}

/** `1h30m`, `90s`, `250ms`: the shortest exact spelling in at most two units, for messages. */
export function formatDuration(durationMs: number): string {
  let restMs = durationMs;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = durationUnits[unit] ?? 1;
    const count = Math.floor(restMs / size);
    if (count > 0) text += `${count}${unit}`;
    restMs -= count * size;
  }
  return text === '' ? '0s' : text;
}

/** `HOST:PORT` of an address, IPv6 in brackets. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function scalarText(value: unknown, what: string, remedy: string): string {
  // Longer than any value: nothing is tried on it.
  if (typeof value === 'string' && value.length > TEXT_CHARACTERS_MAX)
    throw new ValueProblem('far too long', remedy);
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  throw new ValueProblem(`${kindOf(value)} where ${what} is expected`, remedy);
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a section' : `a ${typeof value}`;
}

function wholeBytes(value: number, remedy: string): number {
  if (!Number.isFinite(value)) throw new ValueProblem('not a size', remedy);
  return Math.round(value);
}

function inRange(value: number, range: Range, what: string, remedy: string): number {
  if (Number.isNaN(value)) throw new ValueProblem(`not a ${what}`, remedy);
  if (value < range.min) throw new ValueProblem('too small', remedy);
  if (value > range.max) throw new ValueProblem('too large', remedy);
  return value;
}
