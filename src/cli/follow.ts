// Follows a job to its end: both output streams byte for byte, by offset, across broken links and restarts of the
// scheduler. INVARIANT: the offset of a stream counts exactly the bytes that its sink has accepted, so that a new
// connection goes on where the last one stopped, without a byte lost or repeated.
import type { IncomingMessage } from 'node:http';
import { createBackoff } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { JobView } from '../protocol/api.ts';
import { type StoredGap, storedGaps } from '../protocol/output-gap.ts';
import { isFinalState } from '../protocol/result.ts';
import { type Client, isPassing, lost } from './client.ts';
import { createFollowReader } from './follow-record.ts';
import { pause } from './output.ts';

/** How long a scheduler may be away before following it is given up. */
export const RECONNECT_DEADLINE_MS = 5 * 60_000;
/** Several of the scheduler's keep-alives; after it the connection counts as dead. */
const SILENCE_DEADLINE_MS = 45_000;
/** Final job, but bytes that its node counted have not reached the scheduler: how often to look again. */
const MAX_SHORT_ENDS = 5;
const BACKOFF = { minMs: 100, maxMs: 5000 };

export interface FollowSink {
  stdout(bytes: Uint8Array): Promise<void>;
  stderr(bytes: Uint8Array): Promise<void>;
  /** The job as it is now: at the start and at every change of state. */
  job(job: JobView): void;
  /** Bytes that are missing, once for each gap; `seenBytes` of its stream have been given before. */
  gap?(gap: StoredGap, seenBytes: number): void;
  /** The link broke (`problem` in words) or is back (null). Told once per break. */
  link(problem: string | null): void;
}

export interface FollowOptions {
  readonly client: Client;
  readonly jobId: string;
  readonly sink: FollowSink;
  readonly clock: Clock;
  readonly random: () => number;
  readonly stdoutOffset?: number;
  readonly stderrOffset?: number;
}

/** Resolves with the ended job. Rejects with SCHEDULER_GONE after five minutes without a link, or what the sink threw. */
export async function followJob(options: FollowOptions): Promise<JobView> {
  const { client, jobId, sink, clock, random } = options;
  const offsets = { stdout: options.stdoutOffset ?? 0, stderr: options.stderrOffset ?? 0 };
  const backoff = createBackoff({ ...BACKOFF, random });
  let latest: JobView | null = null;
  let brokenSinceMs: number | null = null;
  let shortEnds = 0;
  let restart = false;
  let from = { ...offsets };
  const toldGaps = new Set<string>();

  /** A gap that is told again after a break, and one before what was asked for, is none. */
  function tellGap(gap: StoredGap): void {
    const name = `${gap.stream} ${gap.fromByte}`;
    if (toldGaps.has(name) || gap.atByte < from[gap.stream]) return;
    toldGaps.add(name);
    sink.gap?.(gap, offsets[gap.stream]);
  }

  function linkIsBack(): void {
    if (brokenSinceMs === null) return;
    brokenSinceMs = null;
    backoff.reset();
    sink.link(null);
  }

  async function takeStream(response: IncomingMessage): Promise<void> {
    const reader = createFollowReader();
    let isFirst = true;
    for await (const chunk of readChunks(client, response, clock)) {
      linkIsBack();
      for (const record of reader.push(chunk)) {
        if (record.kind === 'stdout' || record.kind === 'stderr') {
          await sink[record.kind](record.bytes);
          offsets[record.kind] += record.bytes.length;
        } else if (record.kind === 'gap') {
          tellGap(record.gap);
        } else if (record.kind === 'job') {
          // A later attempt writes its output from the start; the scheduler goes on with it by itself.
          const isLater = latest !== null && latest.epoch > 0 && record.job.epoch > latest.epoch;
          if (isLater) {
            from = { stdout: 0, stderr: 0 };
            Object.assign(offsets, from);
            toldGaps.clear();
          }
          latest = record.job;
          sink.job(record.job);
          // But when it began while the link was broken, offsets of the earlier one were asked for.
          if (isLater && isFirst) {
            restart = true;
            return;
          }
          isFirst = false;
        }
      }
    }
  }

  for (;;) {
    let problem: string;
    try {
      await takeStream(await client.openFollow(jobId, offsets.stdout, offsets.stderr));
      if (restart) {
        restart = false;
        continue;
      }
      const job = latest as JobView | null;
      if (job !== null && isFinalState(job.state)) {
        const complete =
          offsets.stdout >= (job.result?.stdoutBytes ?? 0) &&
          offsets.stderr >= (job.result?.stderrBytes ?? 0);
        if (complete || job.outputRemoved !== null || shortEnds >= MAX_SHORT_ENDS) {
          // Some may have become known after their place was passed and the link had broken.
          for (const gap of storedGaps(job.result?.gaps ?? [])) tellGap(gap);
          return job;
        }
        shortEnds += 1;
      }
      problem = `scheduler ${client.url} closed the connection`;
    } catch (error) {
      if (!isPassing(error)) throw error;
      problem = describeShort(error);
    }
    if (brokenSinceMs === null) {
      brokenSinceMs = clock.monotonicMs();
      if (shortEnds === 0) sink.link(problem);
    } else if (clock.monotonicMs() - brokenSinceMs > RECONNECT_DEADLINE_MS) {
      throw new Fault(
        'SCHEDULER_GONE',
        `${problem}; gave up after ${RECONNECT_DEADLINE_MS / 60_000} minutes: the job may still run`,
        {
          remedy: `look again with "flopd logs -f ${jobId}" or "flopd wait ${jobId}"`,
        },
      );
    }
    await pause(backoff.next());
  }
}

/** The chunks of a response; a break or a long silence is SCHEDULER_LOST. Time in which the sink is busy does not count. */
async function* readChunks(
  client: Client,
  response: IncomingMessage,
  clock: Clock,
): AsyncGenerator<Uint8Array> {
  const iterator = (response as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const timer = clock.after(SILENCE_DEADLINE_MS, () => response.destroy(new Error('silent')));
      let next: IteratorResult<Uint8Array>;
      try {
        next = await iterator.next();
      } catch (error) {
        throw lost(client, error);
      } finally {
        timer.cancel();
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    response.destroy();
  }
}

function describeShort(error: unknown): string {
  return error instanceof Fault ? error.message : describeError(error);
}
