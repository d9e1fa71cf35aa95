// A follower that does not read: the response is a stream that the test drains by hand, the output a file of any
// length that is made up as it is read.
import type { ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import type { JobView } from '../../../src/protocol/api.ts';
import { follow } from '../../../src/scheduler/follow.ts';
import type { OutputStore } from '../../../src/scheduler/output.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { createWatchers } from '../../../src/scheduler/watchers.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { jobRecord } from './records.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function runningJob(): JobRecord {
  return jobRecord({ state: 'RUNNING', submittedAtMs: 1, epoch: 1, nodeId: 'node-a', startedAtMs: 2 });
}

describe('a follower that does not read', () => {
  it('is read to no further than it takes while the output grows, and gets all of it when it reads again', async () => {
    let writtenBytes = 0;
    let readBytes = 0;
    const output = {
      lengths: async () => ({ stdoutBytes: writtenBytes, stderrBytes: 0 }),
      async read(_id: string, _epoch: number, stream: string, offset: number, limit: number) {
        const length = stream === 'stdout' ? Math.max(0, Math.min(limit, writtenBytes - offset)) : 0;
        readBytes += length;
        return new Uint8Array(length);
      },
      removal: async () => null,
      isFull: () => false,
    } as unknown as OutputStore;
    const response = new PassThrough();
    const watchers = createWatchers();
    const job = runningJob();
    const view = async () => ({ id: job.id }) as JobView;
    const ended = follow(
      response as unknown as ServerResponse,
      job,
      { stdout: 0, stderr: 0 },
      { output, watchers, clock: createClock(), view },
      new AbortController().signal,
    );
    for (let grown = 0; grown < 64; grown += 1) {
      writtenBytes += MIB;
      watchers.grew(job.id);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(readBytes).toBeGreaterThan(0);
    expect(readBytes).toBeLessThanOrEqual(256 * KIB);
    expect(response.readableLength + response.writableLength).toBeLessThanOrEqual(512 * KIB);
    watchers.changed({
      ...job,
      state: 'COMPLETED',
      result: fakeResult('node-a', job.id, { stdoutBytes: writtenBytes }),
    });
    let told = 0;
    response.on('data', (bytes: Buffer) => {
      told += bytes.length;
    });
    await ended;
    expect(readBytes).toBe(64 * MIB);
    expect(told).toBeGreaterThan(64 * MIB);
  });
});
