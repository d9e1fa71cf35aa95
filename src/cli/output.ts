// What commands print: `-o table|wide|json|yaml`, `--watch`, colour and width of the terminal, and writing that
// waits for a slow reader. A reader that goes away (EPIPE) is Fault OUTPUT_CLOSED, which ends the command quietly.
import type { Writable } from 'node:stream';
import { type Command, Option } from 'commander';
import { errnoOf, Fault } from '../base/fault.ts';
import { parseDurationMs } from '../config/value.ts';
import type { Context, OutputStream } from './context.ts';
import type { TableStyle } from './table.ts';
import { readFlag } from './usage.ts';

export const outputFormats = ['table', 'wide', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

const DEFAULT_WATCH_MS = 2000;
const WATCH_RANGE = { min: 100, max: 3_600_000 };

export function addOutputFlag(command: Command): Command {
  return command.addOption(
    new Option('-o, --output <format>', 'how to print').choices([...outputFormats]).default('table'),
  );
}

export function addWatchFlag(command: Command): Command {
  return command.option('-w, --watch [period]', 'print again every period (2s)');
}

/** Period in ms of `--watch`, or null where it was not given. */
export function watchPeriodMs(value: unknown): number | null {
  if (value === undefined || value === false) return null;
  if (value === true) return DEFAULT_WATCH_MS;
  return readFlag('--watch', value, (given) => parseDurationMs(given, WATCH_RANGE, false));
}

/** Writes all of it and waits until the stream takes more. Rejects with Fault OUTPUT_CLOSED when nobody reads. */
export function writeOut(stream: Writable, chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(chunk, (error) => {
      if (error === null || error === undefined) resolve();
      else if (errnoOf(error) === 'EPIPE' || errnoOf(error) === 'ERR_STREAM_DESTROYED') {
        reject(new Fault('OUTPUT_CLOSED', 'nobody reads the output any more', { cause: error }));
      } else {
        reject(
          new Fault('OUTPUT_FAILED', `cannot write the output: ${error.message}`, {
            remedy: 'check the file or device that it is redirected to',
            cause: error,
          }),
        );
      }
    });
  });
}

export function writeLines(stream: Writable, lines: readonly string[]): Promise<void> {
  return lines.length === 0 ? Promise.resolve() : writeOut(stream, `${lines.join('\n')}\n`);
}

export function wantsColour(stream: OutputStream, environment: Context['environment']): boolean {
  return stream.isTTY === true && (environment.NO_COLOR ?? '') === '' && environment.TERM !== 'dumb';
}

export function tableStyle({ stdout, environment }: Context, format: OutputFormat): TableStyle {
  const terminal = stdout.isTTY === true && stdout.columns !== undefined && stdout.columns > 0;
  return {
    width: terminal && format !== 'wide' ? (stdout.columns ?? null) : null,
    colour: wantsColour(stdout, environment),
    wide: format === 'wide',
  };
}

/** One value in the chosen format; `table` makes the lines for people. */
export async function printValue(
  context: Context,
  format: OutputFormat,
  value: unknown,
  table: (style: TableStyle) => string[],
): Promise<void> {
  await writeOut(context.stdout, await renderValue(context, format, value, table, 2));
}

async function renderValue(
  context: Context,
  format: OutputFormat,
  value: unknown,
  table: (style: TableStyle) => string[],
  indent: number,
): Promise<string> {
  if (format === 'json') return `${JSON.stringify(value, null, indent)}\n`;
  if (format === 'yaml') {
    const yaml = await import('yaml');
    return yaml.stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
  }
  const lines = table(tableStyle(context, format));
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/**
 * Prints once, or with a period again and again until the process is ended: on a terminal each print replaces the
 * last; elsewhere tables follow each other after an empty line, JSON is one document a line, YAML `---` apart.
 */
export async function printRepeatedly<T>(
  context: Context,
  format: OutputFormat,
  periodMs: number | null,
  read: () => Promise<T>,
  table: (value: T, style: TableStyle) => string[],
): Promise<void> {
  if (periodMs === null) {
    const value = await read();
    await printValue(context, format, value, (style) => table(value, style));
    return;
  }
  const terminal = context.stdout.isTTY === true && (format === 'table' || format === 'wide');
  for (let first = true; ; first = false) {
    const value = await read();
    const text = await renderValue(context, format, value, (style) => table(value, style), 0);
    const between = terminal
      ? '\u001b[H\u001b[2J'
      : first
        ? ''
        : format === 'yaml'
          ? '---\n'
          : format === 'json'
            ? ''
            : '\n';
    await writeOut(context.stdout, between + text);
    await pause(periodMs);
  }
}

/** Waits and keeps the process alive meanwhile (a Clock timer does not). */
export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}
