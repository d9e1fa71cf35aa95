// Not a bench (that is test/bench, which knows how busy the machine is): what it saw is printed, not judged.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { type Bed, startBed } from './bed.ts';

const JOBS = 1000;

describe('a long queue', () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await startBed();
  });
  afterAll(() => bed.close());

  it(`drains ${JOBS} waiting jobs through two CPUs, each ordered once, in order of submission`, async () => {
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const ids: string[] = [];
    for (let n = 0; n < JOBS; n += 1) ids.push((await bed.submit()).id);
    const startMs = performance.now();
    const agent: FakeAgent = await connectFake({ url: bed.url, identity, run: () => ({}) });
    await bed.until(ids[JOBS - 1] ?? '', (job) => job.state === 'COMPLETED');
    const seconds = (performance.now() - startMs) / 1000;
    const starts = agent.messages.filter((message) => message.type === 'start').map((start) => start.jobId);
    expect(starts).toEqual(ids);
    const { body } = await bed.call('GET', '/v1/overview');
    expect(body).toMatchObject({ jobs: { COMPLETED: JOBS, PENDING: 0 } });
    console.log(`drained ${JOBS} jobs at ${(JOBS / seconds).toFixed(0)} jobs/s`);

    // Submission to order, on an idle network.
    const latencies: number[] = [];
    for (let n = 0; n < 200; n += 1) {
      const sentMs = performance.now();
      const { id } = await bed.submit();
      await bed.until(id, (job) => job.state === 'COMPLETED');
      latencies.push((agent.startedAt.get(id) ?? Number.NaN) - sentMs);
    }
    latencies.sort((a, b) => a - b);
    console.log(
      `submission to order: p50 ${latencies[100]?.toFixed(2)} ms, p99 ${latencies[198]?.toFixed(2)} ms (HTTP and commit included)`,
    );
    for (const latency of latencies) expect(latency).toBeGreaterThan(0);
    agent.socket.terminate();
  });
});
