// Mistakes of the caller: exit code 2, one line.
import { Fault } from '../base/fault.ts';
import { ValueProblem } from '../config/value.ts';

export function usageFault(message: string, remedy: string): Fault {
  return new Fault('USAGE', message, { remedy });
}

/** What `parse` makes of the value of a flag. A ValueProblem becomes a usage fault that names both. */
export function readFlag<V, T>(flag: string, value: V, parse: (value: V) => T): T {
  try {
    return parse(value);
  } catch (error) {
    if (!(error instanceof ValueProblem)) throw error;
    throw usageFault(`${flag}: ${JSON.stringify(value)} is ${error.message}`, error.remedy);
  }
}

/** The same for a flag that may be left out. */
export function readGivenFlag<T>(
  flag: string,
  text: string | undefined,
  parse: (text: string) => T,
): T | undefined {
  return text === undefined ? undefined : readFlag(flag, text, parse);
}
