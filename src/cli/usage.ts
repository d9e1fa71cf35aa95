// Mistakes of the caller: exit code 2, one line.
import { Fault } from '../base/fault.ts';

export function usageFault(message: string, remedy: string): Fault {
  return new Fault('USAGE', message, { remedy });
}
