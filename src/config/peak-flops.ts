// Peaks of accelerators that the operator states: by name or id of a device and by precision. On one line
// `NVIDIA H20=bf16:148T,fp8:296T; GPU-4f…=fp16:80T`, or in the file as sections:
//
//     peakFlops:
//       NVIDIA H20: { bf16: 148T, fp8: 296T }
import type { Precision } from '../protocol/device.ts';
import { ValueProblem } from './value.ts';

/** By name or id in lower case. */
export type PeakFlops = ReadonlyMap<string, Readonly<Partial<Record<Precision, number>>>>;

const words: Readonly<Record<Precision, true>> = {
  fp64: true,
  fp32: true,
  tf32: true,
  bf16: true,
  fp16: true,
  fp8: true,
  int8: true,
};
const units: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
/** Nothing that computes does less, and nothing soon does more; a forgotten unit is caught. */
const RANGE = { min: 1e6, max: 1e20 };
const MAX_DEVICES = 1024;
const MAX_NAME = 128;
const TEXT_CHARACTERS_MAX = 256 * 1024;
const REMEDY =
  'write NAME=PRECISION:AMOUNT,… with a semicolon between devices, for example "NAME=bf16:148T,fp8:296T", or in the file a section per device';

export function parsePeakFlops(value: unknown): PeakFlops {
  if (typeof value === 'string' && value.length > TEXT_CHARACTERS_MAX)
    throw new ValueProblem('far too long', REMEDY);
  if (typeof value === 'string') return collect(value.split(';').map(parseDevice));
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return collect(
      Object.entries(value).map(([name, peaks]) => {
        if (typeof peaks !== 'object' || peaks === null || Array.isArray(peaks))
          throw new ValueProblem(`a value for "${shown(name)}" that is no section of precisions`, REMEDY);
        return [name.trim(), Object.entries(peaks)] as const;
      }),
    );
  throw new ValueProblem('not peaks of devices', REMEDY);
}

type Device = readonly [name: string, peaks: readonly (readonly [string, unknown])[]];

function parseDevice(text: string): Device {
  // Names may hold colons and commas, not an equals sign.
  const at = text.lastIndexOf('=');
  if (at < 0) throw new ValueProblem(`"${shown(text.trim())}" without an equals sign`, REMEDY);
  const peaks = text
    .slice(at + 1)
    .split(',')
    .map((part) => {
      const [word = '', amount = '', ...rest] = part.split(':');
      if (rest.length > 0 || amount.trim() === '')
        throw new ValueProblem(`"${shown(part.trim())}" where PRECISION:AMOUNT is expected`, REMEDY);
      return [word.trim(), amount.trim()] as const;
    });
  return [text.slice(0, at).trim(), peaks];
}

function collect(devices: readonly Device[]): PeakFlops {
  if (devices.length > MAX_DEVICES)
    throw new ValueProblem(`peaks of more than ${MAX_DEVICES} devices`, REMEDY);
  const found = new Map<string, Partial<Record<Precision, number>>>();
  for (const [name, peaks] of devices) {
    if (name === '' || name.length > MAX_NAME || /\p{Cc}/u.test(name))
      throw new ValueProblem(
        `a device name of 0 or more than ${MAX_NAME} characters, or with control characters`,
        REMEDY,
      );
    if (found.has(name.toLowerCase())) throw new ValueProblem(`"${shown(name)}" twice`, REMEDY);
    if (peaks.length === 0) throw new ValueProblem(`"${shown(name)}" without a precision`, REMEDY);
    const flops: Partial<Record<Precision, number>> = {};
    for (const [word, amount] of peaks) {
      const precision = word.toLowerCase();
      if (!isPrecision(precision))
        throw new ValueProblem(
          `the unknown precision "${shown(word)}"`,
          `write one of ${Object.keys(words).join(', ')}`,
        );
      if (flops[precision] !== undefined)
        throw new ValueProblem(`${precision} of "${shown(name)}" twice`, REMEDY);
      flops[precision] = parseFlops(amount);
    }
    found.set(name.toLowerCase(), flops);
  }
  return found;
}

function isPrecision(word: string): word is Precision {
  return Object.hasOwn(words, word);
}

/** FLOP/s of `989T`, `1.979P`, `44e12`, `44 TFLOPS`. */
export function parseFlops(value: unknown): number {
  const remedy = 'write FLOP/s with K, M, G, T, P or E, for example 989T or 1.98P';
  const match = /^(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kKMGTPE]?)(?:FLOPS|FLOP\/s|OPS)?$/i.exec(
    String(value).trim(),
  );
  const flops = Number(match?.[1]) * (units[(match?.[2] ?? '').toUpperCase()] ?? Number.NaN);
  if (match === null || !Number.isFinite(flops))
    throw new ValueProblem(`"${shown(String(value))}", which is no amount`, remedy);
  if (flops < RANGE.min)
    throw new ValueProblem(`"${shown(String(value))}", which is too small: is a unit missing?`, remedy);
  if (flops > RANGE.max) throw new ValueProblem(`"${shown(String(value))}", which is too large`, remedy);
  return flops;
}

/** On one line, as `parsePeakFlops` takes it. */
export function formatPeakFlops(peaks: PeakFlops): string {
  return [...peaks]
    .map(([name, flops]) => {
      const parts = Object.entries(flops).map(([precision, amount]) => `${precision}:${amount / 1e12}T`);
      return `${name}=${parts.join(',')}`;
    })
    .join('; ');
}

function shown(text: string): string {
  return text.slice(0, 40).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}
