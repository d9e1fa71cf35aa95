// The output of jobs on the scheduler's disk: one file per attempt and stream,
// `<folder>/<jobId>.<epoch>.<stream>`, only ever appended to at its exact present length. A chunk that overlaps is
// trimmed, one that would leave a gap is dropped and answered with the present length.
//
//   chunk -> queue of its stream -> write -> `grew` (followers read it) -> fdatasync, in batches -> `synced`
//
// The agent may delete what has been acknowledged, so only synced lengths are acknowledged. While the disk is full,
// chunks wait here within a bound and are tried again; the rest is dropped, and the agent, which has no
// acknowledgement for it, sends it again.
//
// What is removed leaves `<jobId>.<epoch>.removed` with the reason in words, so that it is never shown as empty; an
// agent that still has some of it is told that all of it is here.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { describeError, errnoOf } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { createHandleCache } from './handle-cache.ts';
import { createOutputDisk, type OutputDisk } from './output-disk.ts';
import { dropNote, listStored, noteRemoval, removeStream, type StoredAttempt } from './output-folder.ts';
import { type Chunk, joined, lengthOf, nextRun } from './output-run.ts';
import type { OutputTimes } from './output-times.ts';

export type OutputStream = 'stdout' | 'stderr';

export interface OutputLengths {
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

export interface OutputEvents {
  /** More can be read of this job. */
  grew(jobId: string): void;
  /** This much is on disk for good; also told after a chunk that brought nothing new. */
  synced(jobId: string, epoch: number, lengths: OutputLengths): void;
}

export interface OutputStore {
  /** Takes a chunk for writing; `done` is called when it has been written or dropped. */
  append(
    jobId: string,
    epoch: number,
    stream: OutputStream,
    offset: number,
    bytes: Uint8Array,
    done: () => void,
  ): void;
  /** Bytes that can be read now. */
  lengths(jobId: string, epoch: number): Promise<OutputLengths>;
  /** Syncs both streams and says how much is on disk for good. */
  syncedLengths(jobId: string, epoch: number): Promise<OutputLengths>;
  /** At most `limit` bytes from `offset`; empty at or past the end. */
  read(
    jobId: string,
    epoch: number,
    stream: OutputStream,
    offset: number,
    limit: number,
  ): Promise<Uint8Array>;
  /** Where in each stream begins what came at or after a time (wall clock ms), to about a second, or earlier. */
  offsetsAt(jobId: string, epoch: number, sinceMs: number): Promise<OutputLengths>;
  /** Why the output of this attempt is not here any more, in words; null where it was not removed. */
  removal(jobId: string, epoch: number): Promise<string | null>;
  /** Removes the output of an attempt that has ended; false while something is under way with it. */
  remove(jobId: string, epoch: number, why: string): Promise<boolean>;
  /** Takes away the note of `remove`: the job is not kept either. */
  forget(jobId: string, epoch: number): Promise<void>;
  /** Every attempt of which something is stored, with its size in bytes. Reads the folder. */
  list(): Promise<readonly StoredAttempt[]>;
  /** Bytes taken since the start. */
  takenBytes(): number;
  /** Whether some output waits for space on the disk. */
  isFull(): boolean;
  /** Waits for writes under way, syncs, closes every file; what waits for space is dropped. */
  close(): Promise<void>;
}

/** Output with unsynced bytes is synced when this much has come in … */
const SYNC_BYTES = 128 * 1024;
/** … or this long after the first of them. */
const SYNC_DELAY_MS = 20;
/** Streams whose lengths are kept in memory; others are asked of the disk. */
const KNOWN_STREAMS = 8192;
/** How long after a write that found no space the next try is made. */
const FULL_RETRY_MS = 500;
/** Output in memory that waits for space, of all jobs. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

/** What an agent is told that still offers output of an attempt that was removed. */
const EVERYTHING: OutputLengths = {
  stdoutBytes: Number.MAX_SAFE_INTEGER,
  stderrBytes: Number.MAX_SAFE_INTEGER,
};

interface StreamState {
  readonly path: string;
  readonly times: OutputTimes;
  writtenBytes: number;
  syncedBytes: number;
  queue: Chunk[];
  /** The pump at work, or null. */
  pump: Promise<void> | null;
}

interface JobOutput {
  readonly jobId: string;
  readonly epoch: number;
  readonly streams: Readonly<Record<OutputStream, StreamState>>;
  syncScheduled: boolean;
  syncing: Promise<void> | null;
  failure: string | null;
  /** Why it is not here any more, or null. */
  readonly removed: string | null;
}

export function createOutputStore(options: {
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: OutputEvents;
  readonly disk?: OutputDisk;
}): OutputStore {
  const { folder, clock, log, events } = options;
  const disk = options.disk ?? createOutputDisk();
  const handles = createHandleCache(disk.open);
  const outputs = new Map<string, Promise<JobOutput>>();
  let closed = false;
  /** Streams whose writes found no space, each with what ends its wait for the next try. */
  const full = new Map<StreamState, () => void>();
  let heldBytes = 0;
  let takenBytes = 0;

  function load(jobId: string, epoch: number): Promise<JobOutput> {
    const key = `${jobId}.${epoch}`;
    const known = outputs.get(key);
    if (known !== undefined) {
      outputs.delete(key);
      outputs.set(key, known);
      return known;
    }
    const loading = readOutput(key, jobId, epoch);
    outputs.set(key, loading);
    loading.catch(() => outputs.delete(key));
    forgetIdle();
    return loading;
  }

  async function readOutput(key: string, jobId: string, epoch: number): Promise<JobOutput> {
    const [stdout, stderr] = [streamState(`${key}.stdout`), streamState(`${key}.stderr`)];
    const isHere = stdout.writtenBytes + stderr.writtenBytes > 0;
    const removed = isHere ? null : disk.removal(folder, key);
    const streams = { stdout, stderr };
    return { jobId, epoch, streams, syncScheduled: false, syncing: null, failure: null, removed };
  }

  function streamState(name: string): StreamState {
    const path = join(folder, name);
    const size = disk.sizeBytes(path);
    // What an earlier process wrote may not be synced.
    const times = disk.times(`${path}.times`, size === 0);
    return { path, times, writtenBytes: size, syncedBytes: 0, queue: [], pump: null };
  }

  /** Forgets the longest unused outputs that have nothing under way. */
  function forgetIdle(): void {
    if (outputs.size <= KNOWN_STREAMS) return;
    const [oldest] = outputs;
    if (oldest === undefined) return;
    const [key, loading] = oldest;
    void loading.then(
      (output) => {
        if (isIdle(output) && outputs.get(key) === loading) outputs.delete(key);
      },
      () => {},
    );
  }

  async function pump(output: JobOutput, stream: StreamState): Promise<void> {
    for (let run = nextRun(stream.queue); run.length > 0; run = nextRun(stream.queue)) {
      try {
        if (output.failure === null) await writeWhenSpace(output, stream, run);
      } catch (error) {
        output.failure = describeError(error);
        log.error({ jobId: output.jobId, cause: output.failure }, 'output of a job cannot be written');
      } finally {
        for (const chunk of run) {
          if (chunk.held) heldBytes -= chunk.bytes.length;
          else chunk.done();
        }
      }
    }
    stream.pump = null;
  }

  /** A full disk is waited for, without a bound in time: nothing is lost that the agent does not have as well. */
  async function writeWhenSpace(
    output: JobOutput,
    stream: StreamState,
    run: readonly Chunk[],
  ): Promise<void> {
    while (!closed) {
      try {
        await write(output, stream, run);
        leaveFull(stream);
        return;
      } catch (error) {
        if (!isNoSpace(error)) {
          leaveFull(stream);
          throw error;
        }
        if (full.size === 0) {
          log.error(
            { jobId: output.jobId, cause: describeError(error), folder },
            'the disk is full: output of jobs waits for space',
          );
        }
        for (const one of [...run, ...stream.queue]) hold(one);
        await new Promise<void>((resolve) => {
          full.set(stream, resolve);
          clock.after(FULL_RETRY_MS, resolve);
        });
      }
    }
    leaveFull(stream);
  }

  function leaveFull(stream: StreamState): void {
    if (full.delete(stream) && full.size === 0) {
      log.warn({ folder }, 'the disk has space again for the output of jobs');
    }
  }

  /** Lets the sender go on: facts of jobs come over the same connection. */
  function hold(chunk: Chunk): void {
    if (chunk.held) return;
    chunk.held = true;
    heldBytes += chunk.bytes.length;
    chunk.done();
  }

  /** Writes chunks that follow one another; what is known already is left away. */
  async function write(output: JobOutput, stream: StreamState, run: readonly Chunk[]): Promise<void> {
    const offset = run[0]?.offset ?? 0;
    const known = stream.writtenBytes - offset;
    if (known < 0 || known >= lengthOf(run)) {
      // A gap, or nothing new: the answer is where we stand.
      scheduleSync(output, 0);
      return;
    }
    await stream.times.note(clock.wallMs(), stream.writtenBytes);
    const handle = await handles.take(stream.path, true);
    try {
      const bytes = joined(run);
      for (let at = known; at < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, offset + at);
        at += bytesWritten;
        stream.writtenBytes = offset + at;
        takenBytes += bytesWritten;
      }
    } finally {
      handles.give(stream.path);
    }
    events.grew(output.jobId);
    scheduleSync(output, syncDelayMs(output));
  }

  function scheduleSync(output: JobOutput, delayMs: number): void {
    if (delayMs > 0) {
      if (output.syncScheduled || output.syncing !== null) return;
      output.syncScheduled = true;
      clock.after(delayMs, () => {
        output.syncScheduled = false;
        if (!closed) void sync(output);
      });
      return;
    }
    void sync(output);
  }

  /** At most one sync per job is under way; bytes that come in meanwhile are taken by the next one. */
  function sync(output: JobOutput): Promise<void> {
    output.syncing ??= syncStreams(output).finally(() => {
      output.syncing = null;
      if (output.failure === null && !closed && hasUnsynced(output))
        scheduleSync(output, syncDelayMs(output));
    });
    return output.syncing;
  }

  async function syncStreams(output: JobOutput): Promise<void> {
    if (output.failure !== null) return;
    try {
      for (const stream of Object.values(output.streams)) {
        if (stream.syncedBytes === stream.writtenBytes) continue;
        const handle = await handles.take(stream.path, false);
        try {
          const upTo = stream.writtenBytes;
          await handle.datasync();
          stream.syncedBytes = upTo;
        } finally {
          handles.give(stream.path);
        }
      }
      events.synced(output.jobId, output.epoch, syncedOf(output));
    } catch (error) {
      // A failed sync is final: what the kernel dropped cannot be believed again.
      output.failure = describeError(error);
      log.error({ jobId: output.jobId, cause: output.failure }, 'output of a job cannot be synced');
    }
  }

  return {
    append(jobId, epoch, stream, offset, bytes, done) {
      void load(jobId, epoch).then(
        (output) => {
          if (output.removed !== null) {
            events.synced(jobId, epoch, EVERYTHING);
            done();
            return;
          }
          const state = output.streams[stream];
          const chunk: Chunk = { offset, bytes, held: false, done };
          if (full.has(state)) {
            if (heldBytes + bytes.length > MAX_HELD_BYTES) {
              done();
              return;
            }
            hold(chunk);
          }
          state.queue.push(chunk);
          state.pump ??= pump(output, state);
        },
        (error) => {
          log.error({ jobId, cause: describeError(error) }, 'output of a job cannot be opened');
          done();
        },
      );
    },
    async lengths(jobId, epoch) {
      const { streams } = await load(jobId, epoch);
      return { stdoutBytes: streams.stdout.writtenBytes, stderrBytes: streams.stderr.writtenBytes };
    },
    async syncedLengths(jobId, epoch) {
      const output = await load(jobId, epoch);
      if (output.removed !== null) return EVERYTHING;
      if (hasUnsynced(output)) await sync(output);
      return syncedOf(output);
    },
    async offsetsAt(jobId, epoch, sinceMs) {
      const { streams } = await load(jobId, epoch);
      const [stdoutBytes, stderrBytes] = await Promise.all([
        offsetAt(streams.stdout, sinceMs),
        offsetAt(streams.stderr, sinceMs),
      ]);
      return { stdoutBytes, stderrBytes };
    },
    removal: async (jobId, epoch) => (await load(jobId, epoch)).removed,
    async remove(jobId, epoch, why) {
      const key = `${jobId}.${epoch}`;
      const output = await load(jobId, epoch);
      if (!isIdle(output) || outputs.get(key) === undefined) return false;
      // A full disk takes no note, and has room for it only afterwards: of what it cut short the empty rest counts as one.
      const isNoted = await noteRemoval(folder, key, why).then(() => true, noSpace);
      for (const { path } of Object.values(output.streams)) {
        await handles.forget(path);
        await removeStream(path);
      }
      if (!isNoted) await noteRemoval(folder, key, why).catch(noSpace);
      // Also what somebody loaded meanwhile, half of it.
      outputs.delete(key);
      return true;
    },
    async forget(jobId, epoch) {
      const key = `${jobId}.${epoch}`;
      if (disk.removal(folder, key) !== null) await dropNote(folder, key);
      outputs.delete(key);
    },
    list: () => listStored(folder),
    takenBytes: () => takenBytes,
    async read(jobId, epoch, stream, offset, limit) {
      const state = (await load(jobId, epoch)).streams[stream];
      const length = Math.min(limit, state.writtenBytes - offset);
      if (length <= 0) return new Uint8Array(0);
      const handle = await handles.take(state.path, false);
      try {
        const bytes = new Uint8Array(length);
        const { bytesRead } = await handle.read(bytes, 0, length, offset);
        return bytes.subarray(0, bytesRead);
      } finally {
        handles.give(state.path);
      }
    },
    isFull: () => full.size > 0,
    async close() {
      closed = true;
      for (const wake of full.values()) wake();
      const all = (await Promise.allSettled(outputs.values())).flatMap((one) =>
        one.status === 'fulfilled' ? [one.value] : [],
      );
      for (const output of all) {
        await output.streams.stdout.pump;
        await output.streams.stderr.pump;
        if (hasUnsynced(output)) await sync(output);
      }
      await handles.close();
    },
  };
}

/** Nothing of a stream is newer than its file. */
async function offsetAt({ path, times, writtenBytes }: StreamState, sinceMs: number): Promise<number> {
  const changedMs = (await stat(path).catch(() => null))?.mtimeMs ?? 0;
  if (sinceMs > changedMs) return writtenBytes;
  return Math.min(writtenBytes, await times.offsetAt(sinceMs));
}

function isNoSpace(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOSPC' || errno === 'EDQUOT';
}

/** False for an error that says so; throws any other. */
function noSpace(error: unknown): false {
  if (!isNoSpace(error)) throw error;
  return false;
}

function isIdle(output: JobOutput): boolean {
  const { stdout, stderr } = output.streams;
  return stdout.pump === null && stderr.pump === null && output.syncing === null && !output.syncScheduled;
}

function syncDelayMs({ streams }: JobOutput): number {
  const { stdout, stderr } = streams;
  const unsynced = stdout.writtenBytes - stdout.syncedBytes + stderr.writtenBytes - stderr.syncedBytes;
  return unsynced >= SYNC_BYTES ? 0 : SYNC_DELAY_MS;
}

function hasUnsynced({ streams }: JobOutput): boolean {
  const { stdout, stderr } = streams;
  return stdout.syncedBytes < stdout.writtenBytes || stderr.syncedBytes < stderr.writtenBytes;
}

function syncedOf({ streams }: JobOutput): OutputLengths {
  return { stdoutBytes: streams.stdout.syncedBytes, stderrBytes: streams.stderr.syncedBytes };
}
