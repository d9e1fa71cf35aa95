// Job output on its way to the scheduler. Nothing is queued here: a lane per job and stream knows how far the file
// reaches, how far we have sent and how far the scheduler has stored, and bytes are read from disk only when there
// is room for them. So memory is bounded by the socket's buffer and a few chunks, whatever the jobs write.
//
//   delivered <= sent <= size         credit: sent - delivered <= window of the lane; sum over lanes <= 16 MiB
//
// Lanes wait in one line; each sends a few chunks and goes to the end, so that a noisy job starves nobody. A lane
// whose chunks are not acknowledged for a while gives its credit back, starts again from what is stored, and
// probes with single chunks, ever more rarely, until an acknowledgement comes.
import type { Clock, Timer } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import {
  MAX_OUTPUT_CHUNK_BYTES,
  OUTPUT_WINDOW_BYTES,
  type OutputAck,
  type Welcome,
} from '../protocol/control.ts';
import { encodeOutputChunk } from '../protocol/frame.ts';

export type OutputStream = 'stdout' | 'stderr';
const streams = ['stdout', 'stderr'] as const;

/** Output of all jobs that may be on the way without an acknowledgement. */
export const MAX_UNACKNOWLEDGED_BYTES = 16 * 1024 * 1024;
/** Lanes that are read from disk at the same time. */
const MAX_READS = 4;
/** Most that one read takes: a few chunks, because opening the file costs more than reading it. */
const READ_BYTES = 8 * MAX_OUTPUT_CHUNK_BYTES;
/** Time without progress after which a lane starts again from what is stored. */
export const OUTPUT_STALL_MS = 30_000;
const MAX_STALL_MS = 480_000;
/** Wait after a failed or short read before the lane tries again. */
export const OUTPUT_RETRY_MS = 1000;

export interface OutputParts {
  /** Bytes [offset, offset + limit) as far as written; null when the job is not known any more. */
  read(
    jobId: string,
    epoch: number,
    stream: OutputStream,
    offset: number,
    limit: number,
  ): Promise<Uint8Array | null>;
  send(frame: Uint8Array): void;
  /** True while the session lives and its socket takes more output. */
  hasRoom(): boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export interface OutputFlow {
  /** A session has begun; the scheduler has this much already. Jobs it does not name start at what is known here. */
  begin(outputs: Welcome['outputs']): void;
  /** The session has ended; reads that are under way are thrown away. */
  end(): void;
  grew(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  /** The job has ended with this much output; once it is delivered, the job is forgotten. */
  ended(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  delivered(ack: OutputAck): void;
  /** Sends what can be sent; call it whenever room may have appeared. */
  pump(): void;
  jobs(): number;
  unacknowledgedBytes(): number;
}

interface Lane {
  readonly job: JobOutput;
  readonly stream: OutputStream;
  size: number;
  sent: number;
  delivered: number;
  /** Most bytes on the way; one chunk while the lane is probing. */
  windowBytes: number;
  stallMs: number;
  queued: boolean;
  reading: boolean;
  /** Waits for a retry; not to be queued before. */
  resting: Timer | null;
  stall: Timer | null;
  /** Changes whenever `sent` jumps, so that a read from before the jump is not sent. */
  turn: number;
}

interface JobOutput {
  readonly jobId: string;
  readonly epoch: number;
  final: boolean;
  readonly lanes: Record<OutputStream, Lane>;
}

export function createOutputFlow({ read, send, hasRoom, clock, log }: OutputParts): OutputFlow {
  const jobs = new Map<string, JobOutput>();
  const line: Lane[] = [];
  let unacknowledged = 0;
  let reads = 0;
  let live = false;

  function jobOf(jobId: string, epoch: number): JobOutput {
    const key = `${jobId}.${epoch}`;
    let job = jobs.get(key);
    if (job === undefined) {
      const lanes = {} as Record<OutputStream, Lane>;
      job = { jobId, epoch, final: false, lanes };
      for (const stream of streams) lanes[stream] = newLane(job, stream);
      jobs.set(key, job);
    }
    return job;
  }

  function move(lane: Lane, delivered: number, sent: number): void {
    unacknowledged += sent - delivered - (lane.sent - lane.delivered);
    lane.delivered = delivered;
    lane.sent = sent;
  }

  function restart(lane: Lane, from: number): void {
    lane.turn += 1;
    move(lane, from, from);
  }

  function forget(job: JobOutput): void {
    for (const stream of streams) {
      const lane = job.lanes[stream];
      restart(lane, lane.delivered);
      lane.size = 0;
      rest(lane);
    }
    jobs.delete(`${job.jobId}.${job.epoch}`);
  }

  function rest(lane: Lane): void {
    lane.stall?.cancel();
    lane.stall = null;
    lane.resting?.cancel();
    lane.resting = null;
  }

  function isEligible(lane: Lane): boolean {
    return lane.sent < lane.size && lane.sent - lane.delivered < lane.windowBytes;
  }

  function enqueue(lane: Lane): void {
    if (!live || lane.queued || lane.reading || lane.resting !== null || !isEligible(lane)) return;
    lane.queued = true;
    line.push(lane);
  }

  function pump(): void {
    while (
      live &&
      line.length > 0 &&
      reads < MAX_READS &&
      unacknowledged < MAX_UNACKNOWLEDGED_BYTES &&
      hasRoom()
    ) {
      const lane = line.shift();
      if (lane === undefined) return;
      lane.queued = false;
      if (isEligible(lane)) {
        carry(lane).catch((error: unknown) =>
          log.error({ jobId: lane.job.jobId }, `output flow failed: ${describeError(error)}`),
        );
      }
    }
  }

  /** Reads the next chunks of the lane and sends them. A failed read is an answer, not a rejection. */
  async function carry(lane: Lane): Promise<void> {
    const { turn, sent: offset } = lane;
    const limit = Math.min(READ_BYTES, lane.size - offset, lane.windowBytes - (offset - lane.delivered));
    lane.reading = true;
    reads += 1;
    let bytes: Uint8Array | null = null;
    let failed = false;
    try {
      bytes = await read(lane.job.jobId, lane.job.epoch, lane.stream, offset, limit);
    } catch (error) {
      failed = true;
      log.warn(
        { jobId: lane.job.jobId, stream: lane.stream },
        `cannot read job output: ${describeError(error)}`,
      );
    }
    reads -= 1;
    lane.reading = false;
    if (live && turn === lane.turn) {
      if (bytes === null && !failed) forget(lane.job);
      else if (bytes === null || bytes.length === 0) pauseLane(lane, OUTPUT_RETRY_MS);
      else sendChunks(lane, offset, bytes.subarray(0, limit));
    }
    enqueue(lane);
    pump();
  }

  function sendChunks(lane: Lane, offset: number, bytes: Uint8Array): void {
    const { jobId, epoch } = lane.job;
    move(lane, lane.delivered, offset + bytes.length);
    for (let at = 0; at < bytes.length; at += MAX_OUTPUT_CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + MAX_OUTPUT_CHUNK_BYTES);
      send(encodeOutputChunk({ jobId, epoch, stream: lane.stream, offset: offset + at, bytes: chunk }));
    }
    lane.stall ??= clock.after(lane.stallMs, () => onStall(lane));
  }

  function onStall(lane: Lane): void {
    lane.stall = null;
    lane.stallMs = Math.min(MAX_STALL_MS, lane.stallMs * 2);
    lane.windowBytes = MAX_OUTPUT_CHUNK_BYTES;
    restart(lane, lane.delivered);
    enqueue(lane);
    pump();
  }

  function pauseLane(lane: Lane, delayMs: number): void {
    lane.resting = clock.after(delayMs, () => {
      lane.resting = null;
      enqueue(lane);
      pump();
    });
  }

  function setSizes(job: JobOutput, sizes: Record<OutputStream, number>): void {
    for (const stream of streams) {
      const lane = job.lanes[stream];
      lane.size = Math.max(lane.size, sizes[stream]);
      enqueue(lane);
    }
    pump();
  }

  function setDelivered(lane: Lane, bytes: number): void {
    if (bytes > lane.delivered && lane.stall !== null) {
      lane.stall.cancel();
      lane.stall = null;
    }
    if (bytes > lane.delivered) {
      lane.stallMs = OUTPUT_STALL_MS;
      lane.windowBytes = OUTPUT_WINDOW_BYTES;
    }
    // Behind what it once had: it lost some, go back. Ahead of what we sent: an earlier session brought it there.
    if (bytes < lane.delivered || bytes > lane.sent) restart(lane, bytes);
    else move(lane, bytes, lane.sent);
    if (lane.sent > lane.delivered) lane.stall ??= clock.after(lane.stallMs, () => onStall(lane));
  }

  function forgetIfDone(job: JobOutput): void {
    if (job.final && streams.every((stream) => job.lanes[stream].delivered >= job.lanes[stream].size))
      forget(job);
  }

  return {
    begin(outputs) {
      live = true;
      for (const output of outputs) {
        const job = jobs.get(`${output.jobId}.${output.epoch}`);
        if (job === undefined) continue;
        restart(job.lanes.stdout, output.stdoutBytes);
        restart(job.lanes.stderr, output.stderrBytes);
        forgetIfDone(job);
      }
      for (const job of jobs.values()) for (const stream of streams) enqueue(job.lanes[stream]);
      pump();
    },
    end() {
      live = false;
      line.length = 0;
      for (const job of jobs.values()) {
        for (const stream of streams) {
          const lane = job.lanes[stream];
          lane.queued = false;
          lane.windowBytes = OUTPUT_WINDOW_BYTES;
          lane.stallMs = OUTPUT_STALL_MS;
          rest(lane);
          restart(lane, lane.delivered);
        }
      }
    },
    grew: (jobId, epoch, stdout, stderr) => setSizes(jobOf(jobId, epoch), { stdout, stderr }),
    ended(jobId, epoch, stdout, stderr) {
      if (stdout + stderr === 0 && !jobs.has(`${jobId}.${epoch}`)) return;
      const job = jobOf(jobId, epoch);
      job.final = true;
      setSizes(job, { stdout, stderr });
      forgetIfDone(job);
    },
    delivered(ack) {
      const job = jobs.get(`${ack.jobId}.${ack.epoch}`);
      if (job === undefined) return;
      setDelivered(job.lanes.stdout, ack.stdoutBytes);
      setDelivered(job.lanes.stderr, ack.stderrBytes);
      forgetIfDone(job);
      for (const stream of streams) enqueue(job.lanes[stream]);
      pump();
    },
    pump,
    jobs: () => jobs.size,
    unacknowledgedBytes: () => unacknowledged,
  };
}

function newLane(job: JobOutput, stream: OutputStream): Lane {
  return {
    job,
    stream,
    size: 0,
    sent: 0,
    delivered: 0,
    windowBytes: OUTPUT_WINDOW_BYTES,
    stallMs: OUTPUT_STALL_MS,
    queued: false,
    reading: false,
    resting: null,
    stall: null,
    turn: 0,
  };
}
