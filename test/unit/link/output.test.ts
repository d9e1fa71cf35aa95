import { describe, expect, test } from 'vitest';
import {
  createOutputFlow,
  MAX_UNACKNOWLEDGED_BYTES,
  OUTPUT_RETRY_MS,
  OUTPUT_STALL_MS,
  type OutputFlow,
} from '../../../src/link/output.ts';
import { OUTPUT_WINDOW_BYTES } from '../../../src/protocol/control.ts';
import { decodeOutputChunk, type OutputChunk } from '../../../src/protocol/frame.ts';
import { createHandClock, createKeptLog } from './parts.ts';

const CHUNK = 64 * 1024;

interface Bench {
  readonly flow: OutputFlow;
  readonly chunks: OutputChunk[];
  readonly clock: ReturnType<typeof createHandClock>;
  readonly log: ReturnType<typeof createKeptLog>;
  room: boolean;
  read: (jobId: string, stream: string, offset: number, limit: number) => Promise<Uint8Array | null>;
  ack(jobId: string, stdoutBytes: number, stderrBytes?: number): void;
}

function bench(): Bench {
  const clock = createHandClock();
  const log = createKeptLog();
  const made: Bench = {
    clock,
    log,
    chunks: [],
    room: true,
    read: async (_jobId, _stream, _offset, limit) => new Uint8Array(limit),
    flow: createOutputFlow({
      read: (jobId, _epoch, stream, offset, limit) => made.read(jobId, stream, offset, limit),
      send: (frame) => void made.chunks.push(decodeOutputChunk(frame)),
      hasRoom: () => made.room,
      clock,
      log,
    }),
    ack: (jobId, stdoutBytes, stderrBytes = 0) =>
      made.flow.delivered({ type: 'outputAck', jobId, epoch: 1, stdoutBytes, stderrBytes }),
  };
  return made;
}

describe('output flow', () => {
  test('sends nothing without a session', async () => {
    const { flow, chunks, clock } = bench();
    flow.grew('job-1', 1, 1000, 0);
    await clock.advance(10);
    expect(chunks).toEqual([]);
  });

  test('sends at most a window per stream, and more when it is acknowledged', async () => {
    const { flow, chunks, clock, ack } = bench();
    flow.begin([]);
    flow.grew('job-1', 1, 10 * OUTPUT_WINDOW_BYTES, 0);
    await clock.advance(10);
    const perWindow = OUTPUT_WINDOW_BYTES / CHUNK;
    expect(chunks.map((chunk) => chunk.offset)).toEqual(
      Array.from({ length: perWindow }, (_, at) => at * CHUNK),
    );
    expect(flow.unacknowledgedBytes()).toBe(OUTPUT_WINDOW_BYTES);
    ack('job-1', CHUNK);
    await clock.advance(10);
    expect(chunks.at(-1)?.offset).toBe(OUTPUT_WINDOW_BYTES);
    expect(chunks).toHaveLength(perWindow + 1);
  });

  test('takes turns between jobs and streams, a few chunks at a time', async () => {
    const { flow, chunks, clock } = bench();
    flow.begin([]);
    flow.grew('job-a', 1, OUTPUT_WINDOW_BYTES, 0);
    flow.grew('job-b', 1, OUTPUT_WINDOW_BYTES, CHUNK);
    await clock.advance(10);
    const firstOfB = chunks.findIndex((chunk) => chunk.jobId === 'job-b');
    const lastOfA = chunks.findLastIndex((chunk) => chunk.jobId === 'job-a');
    expect(firstOfB).toBeLessThan(9);
    expect(chunks.findIndex((chunk) => chunk.stream === 'stderr')).toBeLessThan(lastOfA);
    expect(chunks).toHaveLength((2 * OUTPUT_WINDOW_BYTES) / CHUNK + 1);
  });

  test('has a bound over all jobs together', async () => {
    const { flow, clock } = bench();
    flow.begin([]);
    for (let at = 0; at < 300; at += 1) flow.grew(`job-${at}`, 1, OUTPUT_WINDOW_BYTES, 0);
    await clock.advance(100);
    expect(flow.unacknowledgedBytes()).toBeGreaterThanOrEqual(MAX_UNACKNOWLEDGED_BYTES);
    expect(flow.unacknowledgedBytes()).toBeLessThan(MAX_UNACKNOWLEDGED_BYTES + 32 * CHUNK);
  });

  test('waits for room in the socket', async () => {
    const made = bench();
    made.room = false;
    made.flow.begin([]);
    made.flow.grew('job-1', 1, 10, 0);
    await made.clock.advance(10);
    expect(made.chunks).toEqual([]);
    made.room = true;
    made.flow.pump();
    await made.clock.advance(10);
    expect(made.chunks).toHaveLength(1);
  });

  test('begins where the scheduler says, forwards and backwards', async () => {
    const { flow, chunks, clock, ack } = bench();
    flow.grew('job-1', 1, 3 * CHUNK, 0);
    flow.begin([{ jobId: 'job-1', epoch: 1, stdoutBytes: 2 * CHUNK, stderrBytes: 0 }]);
    await clock.advance(10);
    expect(chunks.map((chunk) => chunk.offset)).toEqual([2 * CHUNK]);
    ack('job-1', 3 * CHUNK);
    flow.end();
    flow.begin([{ jobId: 'job-1', epoch: 1, stdoutBytes: CHUNK, stderrBytes: 0 }]);
    await clock.advance(10);
    expect(chunks.slice(1).map((chunk) => chunk.offset)).toEqual([CHUNK, 2 * CHUNK]);
  });

  test('goes back when an acknowledgement does, and skips what the scheduler already has', async () => {
    const { flow, chunks, clock, ack } = bench();
    flow.begin([]);
    flow.grew('job-1', 1, 4 * CHUNK, 0);
    await clock.advance(10);
    ack('job-1', 4 * CHUNK);
    ack('job-1', 3 * CHUNK);
    await clock.advance(10);
    expect(chunks.map((chunk) => chunk.offset / CHUNK)).toEqual([0, 1, 2, 3, 3]);
    flow.grew('job-1', 1, 8 * CHUNK, 0);
    ack('job-1', 7 * CHUNK);
    await clock.advance(10);
    const last = chunks.at(-1);
    expect((last?.offset ?? 0) + (last?.bytes.length ?? 0)).toBe(8 * CHUNK);
  });

  test('throws a read away that an answer has overtaken', async () => {
    const made = bench();
    let finish: (bytes: Uint8Array) => void = () => {};
    made.read = (_jobId, _stream, offset, limit) =>
      offset === 0 ? new Promise((resolve) => (finish = resolve)) : Promise.resolve(new Uint8Array(limit));
    made.flow.begin([]);
    made.flow.grew('job-1', 1, 2 * CHUNK, 0);
    await made.clock.advance(1);
    made.ack('job-1', CHUNK);
    finish(new Uint8Array(CHUNK));
    await made.clock.advance(1);
    expect(made.chunks.map((chunk) => chunk.offset)).toEqual([CHUNK]);
  });

  test('throws a read away that belongs to an earlier session', async () => {
    const made = bench();
    const finish: ((bytes: Uint8Array) => void)[] = [];
    made.read = () => new Promise((resolve) => finish.push(resolve));
    made.flow.begin([]);
    made.flow.grew('job-1', 1, 10, 0);
    await made.clock.advance(1);
    made.flow.end();
    made.flow.begin([]);
    finish[0]?.(new Uint8Array(10));
    await made.clock.advance(1);
    expect(made.chunks).toEqual([]);
    finish[1]?.(new Uint8Array(10));
    await made.clock.advance(1);
    expect(made.chunks.map((chunk) => chunk.offset)).toEqual([0]);
  });

  test('starts again, carefully, when nothing is acknowledged for a while', async () => {
    const { flow, chunks, clock, ack } = bench();
    flow.begin([]);
    flow.grew('job-1', 1, 4 * CHUNK, 0);
    await clock.advance(10);
    expect(chunks).toHaveLength(4);
    await clock.advance(OUTPUT_STALL_MS);
    expect(chunks.slice(4).map((chunk) => chunk.offset)).toEqual([0]);
    expect(flow.unacknowledgedBytes()).toBe(CHUNK);
    await clock.advance(OUTPUT_STALL_MS);
    expect(chunks).toHaveLength(5);
    await clock.advance(OUTPUT_STALL_MS);
    expect(chunks).toHaveLength(6);
    ack('job-1', CHUNK);
    await clock.advance(10);
    expect(chunks.slice(6).map((chunk) => chunk.offset / CHUNK)).toEqual([1, 2, 3]);
  });

  test('gives the credit of jobs that nobody acknowledges back to the others', async () => {
    const { flow, chunks, clock } = bench();
    flow.begin([]);
    for (let at = 0; at < 16; at += 1) flow.grew(`job-dead${at}`, 1, OUTPUT_WINDOW_BYTES, 0);
    await clock.advance(10);
    flow.grew('job-good', 1, 10, 0);
    await clock.advance(10);
    expect(chunks.some((chunk) => chunk.jobId === 'job-good')).toBe(false);
    await clock.advance(OUTPUT_STALL_MS);
    expect(chunks.some((chunk) => chunk.jobId === 'job-good')).toBe(true);
  });

  test('tries again after a failed or an empty read', async () => {
    const made = bench();
    let reads = 0;
    made.read = async (_jobId, _stream, _offset, limit) => {
      reads += 1;
      if (reads === 1) throw new Error('EIO');
      return reads === 2 ? new Uint8Array(0) : new Uint8Array(limit);
    };
    made.flow.begin([]);
    made.flow.grew('job-1', 1, 10, 0);
    await made.clock.advance(OUTPUT_RETRY_MS - 1);
    expect(reads).toBe(1);
    await made.clock.advance(1 + OUTPUT_RETRY_MS);
    expect(made.chunks).toHaveLength(1);
    expect(made.log.lines).toHaveLength(1);
  });

  test('forgets a job when all of it is delivered, or when nobody knows it any more', async () => {
    const made = bench();
    made.flow.begin([]);
    made.flow.grew('job-1', 1, 10, 0);
    made.flow.ended('job-1', 1, 20, 5);
    made.flow.ended('job-silent', 1, 0, 0);
    await made.clock.advance(10);
    expect(made.flow.jobs()).toBe(1);
    made.ack('job-1', 20, 5);
    expect(made.flow.jobs()).toBe(0);
    expect(made.flow.unacknowledgedBytes()).toBe(0);
    made.read = async () => null;
    made.flow.grew('job-2', 1, 10, 0);
    await made.clock.advance(10);
    expect(made.flow.jobs()).toBe(0);
    made.ack('job-3', 10);
    expect(made.clock.pending()).toBe(0);
  });

  test('survives acknowledgements that make no sense', async () => {
    const { flow, clock, ack } = bench();
    flow.begin([]);
    flow.grew('job-1', 1, 100, 0);
    await clock.advance(10);
    ack('job-1', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    ack('job-1', 0, 0);
    await clock.advance(10);
    ack('job-1', 100, 0);
    expect(flow.unacknowledgedBytes()).toBe(0);
    flow.ended('job-1', 1, 100, 0);
    expect(flow.jobs()).toBe(0);
  });
});
