// What can be asked about the link: whether there is a session, since when and why not, and its figures.
import { Fault } from '../base/fault.ts';

export interface LinkState {
  readonly connected: boolean;
  /** Monotonic ms since when it is (not) connected. */
  readonly sinceMs: number;
  /** Sessions that reached welcome. */
  readonly sessions: number;
  /** Why the last attempt or session ended; null while connected. */
  readonly error: string | null;
  /** The interval that the scheduler set last, or null before the first welcome. */
  readonly heartbeatMs: number | null;
}

export interface LinkFigures {
  readonly windowsSent: number;
  readonly windowsDropped: number;
  readonly windowsWaiting: number;
  readonly factsWaiting: number;
  readonly outputUnacknowledgedBytes: number;
  readonly outputJobs: number;
  readonly bytesSent: number;
  readonly connectAttempts: number;
  /** Fields and messages of a newer scheduler that this build does not know. */
  readonly ignored: number;
}

/** For whoever waited for the first session in vain. */
export function notConnected(url: string, reason: string | null): Fault {
  return new Fault(
    'LINK_NOT_CONNECTED',
    `no session with the scheduler at ${url}: ${reason ?? 'no answer yet'}`,
    // A reason that is a fault of its own says what helps.
    reason?.includes('; ') === true
      ? {}
      : { remedy: 'start the scheduler there, or check the address and what lies between' },
  );
}
