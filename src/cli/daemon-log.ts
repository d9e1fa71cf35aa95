// Two logs of the daemons: JSON lines by pino for systemd, and plain lines on stderr for `flopd up`.
import type { Writable } from 'node:stream';
import type { Log } from '../base/log.ts';
import { type LogLevel, logLevels } from '../config/value.ts';
import { escapeText } from './text.ts';

/** One JSON object a line on standard output, written at once: a crash loses none. */
export async function createJsonLog(level: LogLevel): Promise<Log> {
  const { pino } = await import('pino');
  const destination = pino.destination({ dest: 1, sync: true });
  // A log that nobody reads any more is no reason to end running jobs' supervision.
  destination.on('error', () => {});
  const log: Log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  return log;
}

/** `flopd: warn: message (key=value …)`. */
export function createTextLog(stream: Writable, level: LogLevel, context: object = {}): Log {
  const least = logLevels.indexOf(level);
  const write = (of: LogLevel) => (fields: object, message: string) => {
    if (logLevels.indexOf(of) < least) return;
    const details = Object.entries({ ...context, ...fields }).map(
      ([name, value]) => `${name}=${show(value)}`,
    );
    stream.write(
      `flopd: ${of}: ${escapeText(message)}${details.length === 0 ? '' : ` (${escapeText(details.join(' '))})`}\n`,
      () => {},
    );
  };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) => createTextLog(stream, level, { ...context, ...fields }),
  };
}

function show(value: unknown): string {
  if (value instanceof Error) return value.message;
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}
