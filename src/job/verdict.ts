// How an attempt ended and why, in one sentence with the evidence. Pure. The rule for states:
//
//   the executor stopped it at its time limit   TIMEOUT      whatever code it then left with
//   the executor stopped it at someone's order  CANCELLED    likewise
//   its lease ran out                           CANCELLED    likewise
//   a device of it failed, and then it ended    FAILED; by itself with exit code 0: COMPLETED
//   killed by SIGKILL, for memory by the kernel OUT_OF_MEMORY
//   ended by itself                             COMPLETED with exit code 0, else FAILED
//   no program ever ran                         FAILED_TO_START; CANCELLED when somebody's stop came first
//   nobody knows                                LOST
import { constants } from 'node:os';
import type { JobResult } from '../protocol/result.ts';
import {
  checkpointText,
  clip,
  durationText,
  failedStartText,
  gapsText,
  leaseText,
  outOfMemoryText,
  ownEndText,
  stopText,
} from './cause.ts';
import type { SettleFacts } from './settle.ts';

const { SIGKILL } = constants.signals;

export type Verdict = Pick<JobResult, 'state' | 'endKind' | 'stoppedBy' | 'cause'>;

export function decideVerdict({ end, order, stop, walled, outputQuotaBytes }: SettleFacts): Verdict {
  const asked = stop === null ? 'cancelled' : `cancelled by ${stop.by}`;
  const reason = stop === null || stop.reason === '' ? '' : `: ${stop.reason}`;
  if (end.kind === 'lost')
    return {
      state: 'LOST',
      endKind: 'lost',
      stoppedBy: null,
      cause: `lost: ${end.detail ?? 'how it ended is not known'}`,
    };
  const fault = stop?.fault ?? null;
  const failed =
    stop === null || fault === null ? null : `its device failed: ${clip(stop.reason, 500)} (${fault})`;
  if (end.kind === 'failedToStart') {
    if ((end.failedStep === 'claim' || end.failedStep === 'shim') && failed !== null)
      return {
        state: 'FAILED_TO_START',
        endKind: 'deviceFault',
        stoppedBy: 'node',
        cause: `failed to start: ${failed}`,
      };
    // No program ran, and after the stop nobody wanted one.
    if ((end.failedStep === 'claim' || end.failedStep === 'shim') && stop !== null)
      return {
        state: 'CANCELLED',
        endKind: 'stopped',
        stoppedBy: stop.by,
        cause: `${asked} before it started${reason}`,
      };
    return {
      state: 'FAILED_TO_START',
      endKind: 'failedToStart',
      stoppedBy: null,
      cause: failedStartText(end, order, walled),
    };
  }
  const memory = outOfMemoryText(end, order, walled);
  const clauses = [
    checkpointText(end, order),
    memory,
    gapsText(end.gaps, outputQuotaBytes),
    end.detail,
  ].filter((clause) => clause !== null);
  const detail = clauses.length === 0 ? '' : `; ${clauses.join('; ')}`;
  if (end.stopped === 'lease') {
    const cause = `${leaseText(end, order)} ${stopText(end, order)}${detail}`;
    return { state: 'CANCELLED', endKind: 'disconnected', stoppedBy: 'node', cause };
  }
  if (end.stopped === 'timeLimit') {
    const limitMs = order?.spec.timeLimitMs ?? null;
    const limit = limitMs === null ? '' : ` of ${durationText(limitMs)}`;
    const cause = `stopped at its time limit${limit} ${stopText(end, order)}${detail}`;
    return { state: 'TIMEOUT', endKind: 'timeLimit', stoppedBy: 'node', cause };
  }
  if (failed !== null && end.stopped === 'stop') {
    const cause = `stopped because ${failed} ${stopText(end, order)}${detail}`;
    return { state: 'FAILED', endKind: 'deviceFault', stoppedBy: 'node', cause };
  }
  // It may have died of the fault before it could be stopped for it.
  if (failed !== null && !(end.kind === 'exited' && end.exitCode === 0)) {
    const cause = `${ownEndText(end)} when ${failed}${detail}`;
    return { state: 'FAILED', endKind: 'deviceFault', stoppedBy: null, cause };
  }
  if (end.stopped === 'stop') {
    const cause = `${asked}${clip(reason, 500)} ${stopText(end, order)}${detail}`;
    return { state: 'CANCELLED', endKind: 'stopped', stoppedBy: stop?.by ?? null, cause };
  }
  if (memory !== null && end.kind === 'signalled' && end.signal === SIGKILL) {
    const cause = `out of memory: ${clauses.filter((clause) => clause !== memory).reduce((text, clause) => `${text}; ${clause}`, memory)}`;
    return { state: 'OUT_OF_MEMORY', endKind: 'outOfMemory', stoppedBy: null, cause };
  }
  const state = end.kind === 'exited' && end.exitCode === 0 ? 'COMPLETED' : 'FAILED';
  return { state, endKind: end.kind, stoppedBy: null, cause: `${ownEndText(end)}${detail}` };
}
