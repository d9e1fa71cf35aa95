// A full disk: the store's writer is the real one, behind a door that answers "no space" while the test says so.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ErrorView } from '../../../src/protocol/api.ts';
import {
  createLocalWriter,
  type DatabaseClass,
  fullFault,
  type StoreWriter,
} from '../../../src/scheduler/queue/store-writer.ts';
import { connectFake, enrolFake, type FakeAgent, type FakeIdentity } from '../../fakes/agent.ts';
import { type Bed, followJob, freshFolder, startBed } from './bed.ts';

const Libsql = createRequire(import.meta.url)('libsql') as DatabaseClass;

describe('a full disk below the job store', () => {
  let isFull: boolean;
  let bed: Bed;
  let identity: FakeIdentity;
  let agent: FakeAgent;
  beforeEach(async () => {
    isFull = false;
    const stateDir = freshFolder();
    const path = join(stateDir, 'scheduler', 'store.db');
    const refuse = () => {
      if (isFull) throw fullFault(path, new Error('database or disk is full'));
    };
    const startWriter = (): StoreWriter => {
      const writer = createLocalWriter(Libsql, path);
      return {
        async commit(batch) {
          refuse();
          return writer.commit(batch);
        },
        async probe() {
          refuse();
          await writer.probe();
        },
        close: writer.close,
      };
    };
    bed = await startBed(stateDir, null, startWriter);
    identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    agent = await connectFake({ url: bed.url, identity });
  });
  afterEach(async () => {
    agent.socket.terminate();
    await bed.close();
  });

  const submission = () => bed.call('POST', '/v1/jobs', { version: 1, command: ['true'] });
  const ready = async () => (await bed.call('GET', '/readyz', undefined, null)).status;
  async function startedJob(): Promise<string> {
    const { id } = await bed.submit();
    await agent.next('start', (order) => order.jobId === id);
    const sequence = agent.started(id);
    await agent.next('ack', (ack) => ack.sequence === sequence);
    return id;
  }
  async function untilReady(): Promise<void> {
    while ((await ready()) !== 200) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  it('refuses new jobs and nodes at once, says so where one looks, and goes on by itself', async () => {
    const id = await startedJob();
    isFull = true;
    // The first one finds it out, the second is told without a try.
    for (let times = 0; times < 2; times += 1) {
      const { status, body } = await submission();
      expect(status).toBe(503);
      expect((body as ErrorView).error).toMatchObject({
        code: 'QUEUE_STORE_FULL',
        message: expect.stringContaining('is full'),
        remedy: expect.stringMatching(/free space below .*scheduler/),
      });
    }
    expect(await ready()).toBe(503);
    await expect(enrolFake(bed.url, bed.scheduler.joinTokenFile, 'late')).rejects.toThrow('QUEUE_STORE_FULL');
    expect((await bed.job(id)).state).toBe('RUNNING');
    expect((await bed.call('GET', '/v1/jobs')).body).toMatchObject({ jobs: [{ id }] });
    isFull = false;
    await untilReady();
    const next = await bed.submit();
    await agent.next('start', (order) => order.jobId === next.id);
    const lines = bed.logged.filter(({ message }) => message.startsWith('the disk'));
    expect(lines.map(({ level }) => level)).toEqual(['error', 'warn']);
  });

  it('keeps the end of a running job and acknowledges it when it is on disk, not before', async () => {
    const id = await startedJob();
    isFull = true;
    expect((await submission()).status).toBe(503);
    const followed = followJob(bed, id);
    agent.output(id, 1, 'stdout', 0, 'out');
    const result = agent.ended(id, { exitCode: 6, stdoutBytes: 3 });
    // What is told again meanwhile waits as well.
    const again = agent.resend(result);
    expect((await bed.until(id, (job) => job.state === 'FAILED')).result?.exitCode).toBe(6);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const acks = () => agent.messages.filter((message) => message.type === 'ack');
    expect(acks()).toHaveLength(1);
    isFull = false;
    await agent.next('ack', (ack) => ack.sequence === again);
    expect(acks()).toHaveLength(3);
    expect((await followed).jobs.at(-1)?.result?.exitCode).toBe(6);
    const image = await startBed(bed.crashImage());
    expect((await image.job(id)).result).toEqual(result);
    await image.close();
  });

  it('sends the stop order of a cancellation at once and answers it', async () => {
    const id = await startedJob();
    isFull = true;
    expect((await submission()).status).toBe(503);
    const { status, body } = await bed.call('POST', `/v1/jobs/${id}/cancel`, { reason: 'enough' });
    expect(status).toBe(202);
    expect(body).toMatchObject({ id, cancelRequested: true });
    expect(await agent.next('stop')).toMatchObject({ jobId: id, epoch: 1, by: 'local', reason: 'enough' });
    const sequence = agent.resend(
      agent.ended(id, { state: 'CANCELLED', endKind: 'stopped', stoppedBy: 'user' }),
    );
    isFull = false;
    await agent.next('ack', (ack) => ack.sequence === sequence);
  });

  it('answers a cancellation that finds the full disk itself within its bound', async () => {
    const id = await startedJob();
    isFull = true;
    const { status } = await bed.call('POST', `/v1/jobs/${id}/cancel`, {});
    expect(status).toBe(202);
    await agent.next('stop');
  });

  it('orders no job whose assignment is not on disk, and orders it when there is space', async () => {
    const fills = await bed.submit({ resources: { cpus: 2 } });
    await agent.next('start', (order) => order.jobId === fills.id);
    const { id } = await bed.submit({ resources: { cpus: 2 } });
    isFull = true;
    // Its end frees the node: the next assignment is in the batch that finds no space.
    agent.ended(fills.id);
    await bed.until(fills.id, (job) => job.state === 'COMPLETED');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(agent.messages.some((message) => message.type === 'start' && message.jobId === id)).toBe(false);
    isFull = false;
    await agent.next('start', (order) => order.jobId === id);
  });

  it('takes an agent back that comes again meanwhile, and what it tells', async () => {
    const id = await startedJob();
    isFull = true;
    expect((await submission()).status).toBe(503);
    await agent.disconnect();
    const held = [{ jobId: id, epoch: 1, phase: 'running' as const }];
    agent = await connectFake({ url: bed.url, identity, held, generation: 2 });
    expect((await bed.job(id)).reason).toBe('runs on node-a');
    expect((await bed.node('node-a')).state).toBe('ready');
    agent.ended(id, { exitCode: 4 });
    await bed.until(id, (job) => job.result?.exitCode === 4);
    isFull = false;
    await agent.next('ack');
  });

  it('stops in the middle of it, and the agent still has what was not acknowledged', async () => {
    const id = await startedJob();
    isFull = true;
    expect((await submission()).status).toBe(503);
    const result = agent.ended(id, { exitCode: 3 });
    await bed.until(id, (job) => job.state === 'FAILED');
    await bed.scheduler.close();
    const again = await startBed(bed.stateDir);
    const held = [{ jobId: id, epoch: 1, phase: 'ended' as const }];
    const back = await connectFake({ url: again.url, identity, held, generation: 2 });
    const sequence = back.resend(result);
    await back.next('ack', (ack) => ack.sequence === sequence);
    expect((await again.until(id, (job) => job.state === 'FAILED')).result).toEqual(result);
    back.socket.terminate();
    await again.scheduler.close();
  });
});

/** A small file system of its own, or null where this user may not mount one. */
function mountSmall(): string | null {
  const folder = freshFolder();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    rmdirSync(folder);
    return null;
  }
}

/** Takes all the space there is; returns what gives it back. */
function fillUp(folder: string): () => void {
  const path = join(folder, 'fill');
  const file = openSync(path, 'w');
  try {
    for (;;) writeSync(file, new Uint8Array(4096));
  } catch {
    // Full.
  } finally {
    closeSync(file);
  }
  return () => rmSync(path);
}

const small = mountSmall();

describe.skipIf(small === null)('a disk that is full indeed', () => {
  const folder = small ?? '';
  afterAll(() => {
    execFileSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });

  it('keeps the end and every byte of output of a running job, acknowledged only when there is space', async () => {
    const bed = await startBed(join(folder, 'state'));
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await connectFake({ url: bed.url, identity });
    const { id } = await bed.submit();
    await agent.next('start');
    agent.started(id);
    await bed.until(id, (job) => job.state === 'RUNNING');
    const giveBack = fillUp(folder);
    const piece = 'x'.repeat(64 * 1024);
    for (let at = 0; at < 4; at += 1) agent.output(id, 1, 'stdout', at * piece.length, piece);
    const length = 4 * piece.length;
    const followed = followJob(bed, id);
    const { status, body } = await bed.call('POST', '/v1/jobs', { version: 1, command: ['true'] });
    expect(status).toBe(503);
    expect((body as ErrorView).error.code).toBe('QUEUE_STORE_FULL');
    agent.ended(id, { exitCode: 6, stdoutBytes: length });
    await bed.until(id, (job) => job.state === 'FAILED');
    await new Promise((resolve) => setTimeout(resolve, 700));
    const isWhole = (ack: { stdoutBytes: number }) => ack.stdoutBytes === length;
    expect(agent.messages.some((message) => message.type === 'outputAck' && isWhole(message))).toBe(false);
    giveBack();
    await agent.next('outputAck', isWhole);
    const { jobs, stdout } = await followed;
    expect(jobs.at(-1)?.result?.exitCode).toBe(6);
    expect(stdout.length).toBe(length);
    while ((await bed.call('GET', '/readyz', undefined, null)).status !== 200)
      await new Promise((resolve) => setTimeout(resolve, 20));
    await bed.submit();
    agent.socket.terminate();
    await bed.close();
  });
});
