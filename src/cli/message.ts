// What commands say about jobs, in one line, on stderr.
import type { Writable } from 'node:stream';
import type { JobView } from '../protocol/api.ts';
import { describeGap, type StoredGap } from '../protocol/output-gap.ts';
import type { Usage } from '../protocol/result.ts';
import { escapeText, formatBytes, formatDecimal, formatSeconds } from './text.ts';

/** Writes `flopd: …`; a stderr that nobody reads is no reason to fail. */
export function say(stream: Writable, message: string): void {
  stream.write(`flopd: ${escapeText(message)}\n`, () => {});
}

/** `[flopd: 3.20 GB of stdout left out here by its quota of 1 GiB]`, where the reader of the output has come to it. */
export function sayGap(stream: Writable, gap: StoredGap, seenBytes: number, job: JobView): void {
  const quota = job.spec.outputQuotaBytes;
  const why = gap.reason === 'quota' && quota !== null ? ` of ${formatBytes(quota)}` : '';
  const text = describeGap(gap, seenBytes, (bytes) => formatDecimal(bytes, 'B'));
  stream.write(`[flopd: ${text}${why}]\n`, () => {});
}

/** Says which output of an ended job its node has counted and the scheduler never got. */
export function sayMissing(stream: Writable, job: JobView): void {
  if (job.result === null || job.outputRemoved !== null) return;
  for (const [name, counted, stored] of [
    ['stdout', job.result.stdoutBytes, job.stdoutBytes],
    ['stderr', job.result.stderrBytes, job.stderrBytes],
  ] as const) {
    if (stored >= counted) continue;
    const missing = formatDecimal(counted - stored, 'B');
    stream.write(`[flopd: ${missing} of ${name} have not come from its node]\n`, () => {});
  }
}

/** How the job ended, e.g. `job job-x failed to start: "nosuch": no such file or directory (ENOENT)`. */
export function describeEnd(job: JobView): string {
  // Of a job that was started again, the sentence says so.
  const cause = job.retries > 0 ? job.reason : (job.result?.cause ?? job.reason);
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
  return job.result === null ? 'usage unknown' : describeUsed(job.result.usage);
}

export function describeUsed(usage: Usage): string {
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
