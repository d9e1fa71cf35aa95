import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NodeView } from '../../../src/protocol/api.ts';
import type { Column, Window } from '../../../src/protocol/columns.ts';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { type Bed, followJob, readFollowed, startBed } from './bed.ts';

/** More than one window of output. */
const LENGTH_BYTES = 1024 * 1024;

describe('following', () => {
  let bed: Bed;
  let agent: FakeAgent;
  beforeEach(async () => {
    bed = await startBed();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    agent = await connectFake({ url: bed.url, identity });
  });
  afterEach(async () => {
    agent.socket.terminate();
    await bed.close();
  });

  /** Sends `bytes` of output as the protocol asks: no more on the way than the window. */
  async function pour(jobId: string, bytes: number): Promise<void> {
    const piece = 'x'.repeat(64 * 1024);
    for (let at = 0; at < bytes; at += piece.length) {
      agent.output(jobId, 1, 'stdout', at, piece);
      const wanted = at + piece.length - 512 * 1024;
      if (wanted > 0)
        await agent.next('outputAck', (ack) => ack.jobId === jobId && ack.stdoutBytes >= wanted);
    }
    await agent.next('outputAck', (ack) => ack.jobId === jobId && ack.stdoutBytes === bytes);
  }

  it('gives every follower all of it, from the offset that it asked for, and a slow one when it reads again', async () => {
    const { id } = await bed.submit();
    await agent.next('start');
    agent.started(id);
    const slow = await new Promise<import('node:http').IncomingMessage>((resolve) => {
      const headers = { authorization: `Bearer ${bed.token}` };
      request(`${bed.url}/v1/jobs/${id}/follow`, { headers }, resolve).end();
    });
    slow.pause();
    const others = Array.from({ length: 3 }, (_, n) => followJob(bed, id, `?stdout=${n}`));
    await pour(id, LENGTH_BYTES);
    agent.ended(id, { stdoutBytes: LENGTH_BYTES });
    for (const [n, followed] of (await Promise.all(others)).entries()) {
      expect(followed.stdout.length).toBe(LENGTH_BYTES - n);
      expect(followed.jobs.at(-1)?.state).toBe('COMPLETED');
    }
    let length = 0;
    slow.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    const ended = new Promise((resolve) => slow.on('end', resolve));
    slow.resume();
    await ended;
    expect(length).toBeGreaterThan(LENGTH_BYTES);
  });

  it('waits for output that comes after the result', async () => {
    const { id } = await bed.submit();
    await agent.next('start');
    const followed = followJob(bed, id);
    agent.ended(id, { stdoutBytes: 4, stderrBytes: 3 });
    await bed.until(id, (job) => job.state === 'COMPLETED');
    agent.output(id, 1, 'stdout', 0, 'late');
    agent.output(id, 1, 'stderr', 0, 'bye');
    agent.output(id, 1, 'stderr', 3, ' and more than there was');
    expect(await followed).toMatchObject({ stdout: 'late', stderr: 'bye' });
  });

  it('tells a follower of a waiting job that it was cancelled', async () => {
    const { id } = await bed.submit({ resources: { cpus: 64 } });
    // Answered: whoever follows has been told how it stands.
    const response = await fetch(`${bed.url}/v1/jobs/${id}/follow`, {
      headers: { authorization: `Bearer ${bed.token}` },
    });
    await bed.call('POST', `/v1/jobs/${id}/cancel`, { reason: 'mistake' });
    expect((await readFollowed(response)).jobs.map((job) => job.state)).toEqual(['PENDING', 'CANCELLED']);
  });

  it('does not mind followers that vanish', async () => {
    const { id } = await bed.submit();
    await agent.next('start');
    const controllers = Array.from({ length: 30 }, () => new AbortController());
    const answers = controllers.map(({ signal }) =>
      fetch(`${bed.url}/v1/jobs/${id}/follow`, { headers: { authorization: `Bearer ${bed.token}` }, signal }),
    );
    await Promise.all(answers);
    for (const controller of controllers) controller.abort();
    agent.output(id, 1, 'stdout', 0, 'hi');
    agent.ended(id, { stdoutBytes: 2 });
    expect((await followJob(bed, id)).stdout).toBe('hi');
  });

  it('shows the figures of the last window, their age, and metrics of its own', async () => {
    const columns: Column[] = [
      { family: 'cpu.busyRatio', owner: 'host', label: null },
      { family: 'memory.totalBytes', owner: 'host', label: null },
      { family: 'network.receiveBytesTotal', owner: 'host', label: 'eth0' },
    ];
    const window = (sequence: number, busy: number): Window => ({
      generation: 1,
      columns,
      sequence,
      endMs: 1_790_000_000_000 + sequence * 1000,
      durationMs: 1000,
      ticks: 10,
      values: Float64Array.of(
        busy,
        busy,
        busy,
        busy,
        2 ** 34,
        2 ** 34,
        2 ** 34,
        2 ** 34,
        Number.NaN,
        Number.NaN,
        Number.NaN,
        77,
      ),
      reasons: new Uint8Array(3),
    });
    agent.window(window(1, 0.25));
    agent.window(window(2, 0.5));
    let node: NodeView | null = null;
    await expect
      .poll(async () => {
        node = await bed.node('node-a');
        return node.host?.cpu.busyRatio;
      })
      .toBe(0.5);
    node = node as NodeView | null;
    expect(node?.host).toMatchObject({
      cpu: { busyRatio: 0.5 },
      memory: { totalBytes: 2 ** 34 },
      network: { eth0: { receiveBytesTotal: 77 } },
      powerWatts: null,
    });
    expect(node?.hostAgeSeconds).toBeLessThan(60);
    expect((await bed.call('GET', '/v1/overview', undefined, null)).body).toMatchObject({
      nodes: [{ name: 'node-a', state: 'ready', cpuBusyRatio: 0.5, powerWatts: null, peakFlopsFp64: 64e9 }],
    });
    const { body } = await bed.call('GET', '/metrics', undefined, null);
    expect(body).toContain('flopd_scheduler_nodes{state="ready"} 1');
    expect(body).toContain('flopd_scheduler_link_messages_total{type="telemetry"} 2');
    expect((await bed.call('GET', '/readyz', undefined, null)).status).toBe(200);
  });
});
