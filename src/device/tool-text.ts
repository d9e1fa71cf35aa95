// Words and numbers out of the text of vendors' tools. A number is taken only where the whole cell is a number with
// the unit that was asked for; what tools print in place of one becomes a reason, and anything else is an error.
import { Fault } from '../base/fault.ts';
import type { Measured, ToolRunner } from './accelerator.ts';

export const MEBIBYTE = 1024 * 1024;
export const MEGAHERTZ = 1e6;

const nothing =
  /^(?:|[-/]+|\[?n\/?a\]?|none|null|no|unsupported|\[?not (?:supported|available|applicable)\]?|\[?disabled?\]?)$/i;
const refused = /permission|denied|not permitted/i;

export interface Quantity {
  /** What stands behind the number; absent: nothing may. */
  readonly unit?: RegExp;
  /** The base units in one of it. */
  readonly factor?: number;
  /** Highest number, in the tool's unit, that can be true. */
  readonly maximum?: number;
  readonly isSigned?: boolean;
}

/** A number of the tool in base units, or why there is none. */
export function measure(text: string | null | undefined, quantity: Quantity = {}): Measured {
  if (text === undefined || text === null) return 'unsupported';
  const cell = text.trim();
  if (nothing.test(cell)) return 'unsupported';
  if (refused.test(cell)) return 'denied';
  const match = /^(-?)(\d{1,15}(?:\.\d{1,9})?)(.*)$/s.exec(cell);
  const [, sign = '', digits = '', unit = ''] = match ?? [];
  if (match === null || (sign !== '' && quantity.isSigned !== true)) return 'error';
  const rest = unit.trim();
  if (quantity.unit === undefined ? rest !== '' : !fits(quantity.unit, rest)) return 'error';
  const value = Number(sign + digits);
  if (quantity.maximum !== undefined && value > quantity.maximum) return 'error';
  return value * (quantity.factor ?? 1);
}

function fits(unit: RegExp, text: string): boolean {
  return unit.exec(text)?.[0] === text;
}

/** `57 %` as a ratio. Above 100 no share of time can be. */
export function measurePercent(text: string | null | undefined, unit = /%?/): Measured {
  const percent = measure(text, { unit, maximum: 100 });
  return typeof percent === 'number' ? percent / 100 : percent;
}

/** `32C`, `43.0°C`; the degree sign may have been mangled on its way. */
export function measureCelsius(text: string | null | undefined): Measured {
  return measure(text, { unit: /[^\w.\s]{0,4}\s?[cC]?/, isSigned: true, maximum: 1000 });
}

/** A line of text of the tool, cut and cleaned; null where it prints that there is none. */
export function wordsOf(text: string | null | undefined, maximum = 128): string | null {
  if (text === undefined || text === null) return null;
  const clean = text
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\ufffd]/gu, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, maximum);
  return nothing.test(clean) || /^unknown$/i.test(clean) ? null : clean;
}

/** A whole number of up to nine digits, as indexes and process ids are; null for anything else. */
export function countOf(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text.trim()) ? Number(text) : null;
}

/** An address on the PCI bus, as it was printed; null for anything else. */
export function busIdOf(text: string | null | undefined): string | null {
  const cell = text?.trim() ?? '';
  return /^(?:[0-9a-f]{2,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$/i.test(cell) ? cell : null;
}

/** What the tool prints; throws its refusal where it prints nothing. */
export async function askText(tool: ToolRunner, args: readonly string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await tool.run(args);
  if (stdout.trim() === '') throw refusalFault(tool.name, stderr, exitCode);
  return stdout;
}

/** The tool ran and said that it could not: in its own words, cut to a line. */
export function refusalFault(tool: string, text: string, exitCode: number): Fault {
  const line =
    text
      .split('\n')
      .map((each) => wordsOf(each, 200))
      .find((each) => each !== null) ?? `no output, exit code ${exitCode}`;
  const message = `${tool} could not read the devices: ${line}`;
  if (refused.test(text))
    return new Fault('DEVICE_DENIED', message, {
      remedy: `run ${tool} as the user of the agent and see why`,
    });
  if (/driver/i.test(text) && /not (?:loaded|found|installed|ready|running)|fail|unload|mismatch/i.test(text))
    return new Fault('DEVICE_DRIVER_LOST', message, { remedy: 'load the driver, or restart the host' });
  return new Fault('DEVICE_TOOL_FAILED', message);
}
