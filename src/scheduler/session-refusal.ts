// How a session with an agent ends for input that does not fit: which close code, and which words.
import { Fault } from '../base/fault.ts';
import { closeCode } from '../protocol/control.ts';

/** Code of a failure of our own, with its close code of RFC 6455. */
export const INTERNAL = 'LINK_INTERNAL';
const INTERNAL_ERROR = 1011;

/** Ends a session with a close code of its own. */
export class Refusal extends Fault {
  readonly closeCode: number;
  constructor(closeCode: number, code: string, message: string) {
    super(code, message);
    this.closeCode = closeCode;
  }
}

/** A refusal names its code; bad input is the peer's fault; what is left is ours. */
export function closeCodeOf(error: unknown, code: string): number {
  if (error instanceof Refusal) return error.closeCode;
  return code.startsWith('LINK_') && code !== INTERNAL ? closeCode.badMessage : INTERNAL_ERROR;
}

export function describeRefusal(fault: Fault): string {
  const where = fault.field === null || fault.field === '' ? '' : ` (at ${fault.field})`;
  return `${fault.message}${where}`.slice(0, 1024);
}
