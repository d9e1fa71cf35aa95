// What commands say about jobs, in one line, on stderr.
import type { Writable } from 'node:stream';
import type { JobView } from '../protocol/api.ts';
import { escapeText, formatDecimal, formatSeconds } from './text.ts';

/** Writes `flopd: …`; a stderr that nobody reads is no reason to fail. */
export function say(stream: Writable, message: string): void {
  stream.write(`flopd: ${escapeText(message)}\n`, () => {});
}

/** How the job ended, e.g. `job job-x failed to start: "nosuch": no such file or directory (ENOENT)`. */
export function describeEnd(job: JobView): string {
  const cause = job.result?.cause ?? job.reason;
  const about = `job ${job.id}`;
  switch (job.state) {
    case 'COMPLETED':
      return `${about} completed${tail(cause)}`;
    case 'FAILED':
      return `${about} failed${tail(cause)}`;
    case 'FAILED_TO_START':
      return `${about} failed to start: ${cause.replace(/^failed to start: */i, '')}`;
    case 'CANCELLED':
      return `${about} CANCELLED${tail(cause)}`;
    case 'TIMEOUT':
      return `${about} TIMEOUT${tail(cause)}`;
    case 'OUT_OF_MEMORY':
      return `${about} OUT_OF_MEMORY${tail(cause)}`;
    case 'LOST':
      return `${about} LOST${tail(cause)}`;
    default:
      return `${about} is ${job.state}${tail(cause)}`;
  }
}

function tail(cause: string): string {
  return cause === '' ? '' : `: ${cause}`;
}

/** `2.31s, 68.7 GFLOP, 29.7 GFLOPS (counted by the job), 12.0 J`, with the reason where a number is absent. */
export function describeUsage(job: JobView): string {
  const usage = job.result?.usage;
  if (usage === undefined) return 'usage unknown';
  const parts = [usage.durationMs === null ? 'duration unknown' : formatSeconds(usage.durationMs / 1000)];
  if (usage.deviceSeconds !== null && usage.deviceSeconds > 0)
    parts.push(`${formatSeconds(usage.deviceSeconds)} of devices`);
  if (usage.flop !== null) {
    parts.push(`${formatDecimal(usage.flop, 'FLOP')} done`);
    const counter =
      usage.flopMethod === 'job'
        ? 'counted by the job'
        : `by its devices, ${usage.flopMethod ?? 'method unknown'}`;
    parts.push(
      usage.achievedFlops === null
        ? 'FLOPS unknown'
        : `${formatDecimal(usage.achievedFlops, 'FLOPS')} achieved (${counter})`,
    );
  } else {
    parts.push(`FLOP: ${usage.absent.flop ?? 'not counted'}`);
  }
  parts.push(
    usage.energyJoules === null
      ? energySentence(usage.absent.energyJoules ?? 'the node does not say why')
      : formatDecimal(usage.energyJoules, 'J'),
  );
  return parts.join(', ');
}

function energySentence(reason: string): string {
  return reason.startsWith('no power source') ? reason : `energy unknown: ${reason}`;
}
