// How a session ends for input that is refused: the close code that says why, and words without the peer's own bytes.
import { Fault } from '../base/fault.ts';
import { closeCode } from '../protocol/control.ts';

/** Code and close code (RFC 6455) of a failure of our own. */
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
