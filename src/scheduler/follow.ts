// One follower of a job: state changes and output as they come, over one HTTP response (protocol/api.ts has the
// record format). Output is read from disk only when the response takes more, so a slow reader costs one chunk of
// memory. The final view is sent after the last output byte. Gaps are told where they lie; they are known with the
// result, so what comes after a quota that the job itself has asked for is kept back until then.
import type { ServerResponse } from 'node:http';
import type { Clock } from '../base/clock.ts';
import { followKind, type JobView } from '../protocol/api.ts';
import { type StoredGap, storedGaps } from '../protocol/output-gap.ts';
import { isFinalState } from '../protocol/result.ts';
import type { OutputLengths, OutputStore, OutputStream } from './output.ts';
import type { JobRecord } from './queue/queue.ts';
import type { Watchers } from './watchers.ts';

const CHUNK_BYTES = 64 * 1024;
export const KEEP_ALIVE_MS = 15_000;
/** Output that the node has not delivered this long after the end, without a byte of progress, is not waited for. */
export const DRAIN_MS = 10_000;
/** States that a slow follower has not been told yet; the oldest go first. */
const MAX_UNTOLD = 16;

export interface FollowParts {
  readonly output: OutputStore;
  readonly watchers: Watchers;
  readonly clock: Clock;
  readonly view: (job: JobRecord) => Promise<JobView>;
}

/** Streams until the job has ended and everything is told, the client goes, or `stopped` aborts. Never rejects for a client that left. */
export async function follow(
  response: ServerResponse,
  first: JobRecord,
  offsets: Readonly<Record<OutputStream, number>>,
  parts: FollowParts,
  stopped: AbortSignal,
): Promise<void> {
  const { output, watchers, clock } = parts;
  const untold: JobRecord[] = [first];
  const at = { ...offsets };
  let from = offsets;
  let untoldGaps: StoredGap[] = [];
  let epoch = first.epoch;
  let wake: () => void = () => {};
  let woken = false;
  let gone = response.destroyed || stopped.aborted;

  function notify(): void {
    woken = true;
    wake();
  }
  function leave(): void {
    gone = true;
    notify();
  }
  const unwatch = watchers.watch(first.id, {
    changed(job) {
      untold.push(job);
      if (untold.length > MAX_UNTOLD) untold.shift();
      notify();
    },
    grew: notify,
  });
  response.on('close', leave);
  response.on('error', leave);
  response.on('drain', notify);
  stopped.addEventListener('abort', leave);

  /** Resolves to true when something has happened, to false after `timeoutMs`. */
  async function happened(timeoutMs: number): Promise<boolean> {
    if (!woken && !gone) {
      const timer = clock.after(timeoutMs, () => wake());
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      timer.cancel();
    }
    const result = woken;
    woken = false;
    return result;
  }

  /** Writes a record and waits until the response takes more. */
  async function write(kind: number, payload: Uint8Array): Promise<void> {
    const head = Buffer.alloc(5);
    head.writeUInt8(kind, 0);
    head.writeUInt32BE(payload.length, 1);
    response.write(head);
    response.write(payload);
    while (!gone && response.writableNeedDrain) await happened(KEEP_ALIVE_MS);
  }

  async function tell(job: JobRecord): Promise<void> {
    await write(followKind.job, Buffer.from(JSON.stringify(await parts.view(job))));
  }

  /** Tells the gaps that the stream has come to. */
  async function tellGaps(stream: OutputStream): Promise<void> {
    const due = untoldGaps.filter((gap) => gap.stream === stream && gap.atByte <= at[stream]);
    untoldGaps = untoldGaps.filter((gap) => !due.includes(gap));
    for (const gap of due) await write(followKind.gap, Buffer.from(JSON.stringify(gap)));
  }

  /** How far the stream may be read now. */
  function limitOf(stream: OutputStream): number {
    const quota = final === null ? first.spec.outputQuotaBytes : null;
    const gap = untoldGaps.find((one) => one.stream === stream);
    return Math.min(CHUNK_BYTES, (quota ?? Infinity) - at[stream], (gap?.atByte ?? Infinity) - at[stream]);
  }

  /** Sends what there is of both streams, in turns; true when anything was sent. */
  async function sendOutput(): Promise<boolean> {
    let any = false;
    if (epoch === 0) return false;
    for (const stream of ['stdout', 'stderr'] as const) {
      await tellGaps(stream);
      const limit = limitOf(stream);
      if (limit <= 0) continue;
      const bytes = await output.read(first.id, epoch, stream, at[stream], limit);
      if (bytes.length === 0 || gone) continue;
      at[stream] += bytes.length;
      any = true;
      await write(followKind[stream], bytes);
    }
    return any;
  }

  let final: JobRecord | null = null;
  let drainSinceMs: number | null = null;
  /** Whether output of an ended job is still to come. */
  function isComplete(job: JobRecord, lengths: OutputLengths): boolean {
    const { result } = job;
    if (result === null) return true;
    if (at.stdout >= result.stdoutBytes && at.stderr >= result.stderrBytes) return true;
    if (lengths.stdoutBytes >= result.stdoutBytes && lengths.stderrBytes >= result.stderrBytes) return false;
    // What waits for space comes when there is some.
    if (output.isFull()) drainSinceMs = null;
    drainSinceMs ??= clock.monotonicMs();
    return clock.monotonicMs() - drainSinceMs >= DRAIN_MS;
  }

  try {
    let lastWriteMs = clock.monotonicMs();
    while (!gone) {
      let busy = false;
      for (let job = untold.shift(); job !== undefined && !gone; job = untold.shift()) {
        if (job.epoch !== epoch) {
          // Another attempt starts its output anew.
          if (epoch > 0) {
            from = { stdout: 0, stderr: 0 };
            Object.assign(at, from);
          }
          epoch = job.epoch;
        }
        if (isFinalState(job.state)) {
          final = job;
          // One that the reader has passed before this connection is not told again.
          untoldGaps = storedGaps(job.result?.gaps ?? []).filter((gap) => gap.atByte >= from[gap.stream]);
        } else await tell(job);
        busy = true;
      }
      if (await sendOutput()) {
        busy = true;
        drainSinceMs = null;
      }
      if (busy) {
        lastWriteMs = clock.monotonicMs();
        continue;
      }
      if (final !== null) {
        const lengths =
          final.epoch === 0
            ? { stdoutBytes: 0, stderrBytes: 0 }
            : await output.lengths(final.id, final.epoch);
        const isRemoved = final.epoch > 0 && (await output.removal(final.id, final.epoch)) !== null;
        if (isRemoved || isComplete(final, lengths)) {
          await tell(final);
          break;
        }
      }
      const waitMs = final === null ? KEEP_ALIVE_MS : Math.min(KEEP_ALIVE_MS, DRAIN_MS / 10);
      await happened(waitMs);
      if (!gone && clock.monotonicMs() - lastWriteMs >= KEEP_ALIVE_MS) {
        await write(followKind.keepAlive, new Uint8Array(0));
        lastWriteMs = clock.monotonicMs();
      }
    }
  } finally {
    unwatch();
    stopped.removeEventListener('abort', leave);
    response.off('drain', notify);
    if (!response.destroyed) response.end();
  }
}
