// Arrays, dependencies and retries through the API, with a fake agent on a real socket, over restarts.
import { afterEach, describe, expect, it } from 'vitest';
import type { ArrayView, JobView, MemberView } from '../../../src/protocol/api.ts';
import type { JobSpecInput } from '../../../src/protocol/spec.ts';
import {
  connectFake,
  enrolFake,
  type FakeAgent,
  type FakeAgentOptions,
  fakeResult,
} from '../../fakes/agent.ts';
import { type Bed, readFollowed, startBed } from './bed.ts';

describe('arrays, dependencies and retries', () => {
  const beds: Bed[] = [];
  const agents: FakeAgent[] = [];
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.socket.terminate();
    for (const bed of beds.splice(0)) await bed.close();
  });
  async function start(stateDir?: string): Promise<Bed> {
    const bed = await startBed(stateDir);
    beds.push(bed);
    return bed;
  }
  async function join(
    bed: Bed,
    options: Partial<FakeAgentOptions> = {},
    name = 'node-a',
  ): Promise<FakeAgent> {
    const identity = options.identity ?? (await enrolFake(bed.url, bed.scheduler.joinTokenFile, name));
    const agent = await connectFake({ url: bed.url, identity, name, ...options });
    agents.push(agent);
    return agent;
  }
  async function submitArray(bed: Bed, spec: Partial<JobSpecInput>): Promise<ArrayView> {
    return (await bed.submit(spec)) as unknown as ArrayView;
  }
  async function array(bed: Bed, id: string): Promise<ArrayView> {
    return (await bed.call('GET', `/v1/arrays/${id}`)).body as ArrayView;
  }
  async function untilArray(bed: Bed, id: string, fits: (view: ArrayView) => boolean): Promise<ArrayView> {
    const deadline = performance.now() + 50_000;
    for (;;) {
      const view = await array(bed, id);
      if (fits(view)) return view;
      if (performance.now() > deadline) throw new Error(`array stays ${JSON.stringify(view.counts)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  it('runs one job for each index, so many at a time, and shows them by index and in sum', async () => {
    const bed = await start();
    let most = 0;
    let now = 0;
    const seen = new Set<number>();
    await join(bed, {
      cpus: 8,
      run(order) {
        now += 1;
        most = Math.max(most, now);
        seen.add(order.array?.index ?? -1);
        setTimeout(() => {
          now -= 1;
        }, 4);
        return {
          forMs: 5,
          stdout: `${order.array?.id} ${order.array?.index}/${order.array?.size}`,
          exitCode: order.array?.index === 4 ? 9 : 0,
        };
      },
    });
    const view = await submitArray(bed, { name: 'each', array: { first: 2, last: 11, maxRunning: 3 } });
    expect(view).toMatchObject({ id: expect.stringMatching(/^arr-/), size: 10, name: 'each', ended: false });
    const ended = await untilArray(bed, view.id, (one) => one.ended);
    expect(ended.indices).toEqual({ COMPLETED: '2-3,5-11', FAILED: '4' });
    expect(ended.reason).toBe('10 of 10 jobs have ended: 1 failed and 9 completed');
    expect(most).toBeLessThanOrEqual(3);
    expect(seen.size).toBe(10);
    const member = await bed.job(`${view.id}.4`);
    expect(member).toMatchObject({ state: 'FAILED', array: { id: view.id, index: 4, size: 10 } });
    expect((await bed.job(encodeURIComponent(`${view.id}[4]`))).id).toBe(member.id);
    expect((await bed.call('GET', `/v1/jobs/${view.id}.4/output`)).body).toBe(`${view.id} 4/10`);
    const { members } = (await bed.call('GET', `/v1/arrays/${view.id}/members?indices=3-4,99`)).body as {
      members: MemberView[];
    };
    expect(members).toMatchObject([
      { index: 3, state: 'COMPLETED', exitCode: 0 },
      { index: 4, state: 'FAILED', exitCode: 9, endKind: 'exited', reason: 'exited with code 9' },
    ]);
    const rows = ((await bed.call('GET', '/v1/jobs?grouped=true')).body as { jobs: JobView[] }).jobs;
    expect(rows.map((job) => [job.members ?? job.array?.index, job.state])).toEqual([
      ['2-3,5-11', 'COMPLETED'],
      [4, 'FAILED'],
    ]);
    const all = ((await bed.call('GET', `/v1/jobs?array=${view.id}`)).body as { jobs: JobView[] }).jobs;
    expect(all.map((job) => job.array?.index)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('has a row for those that ended alike, which says of whom its sentence is', async () => {
    const bed = await start();
    await join(bed, { cpus: 4, run: (order) => ({ forMs: 1, exitCode: order.array?.index ?? 0 }) });
    const { id } = await submitArray(bed, { array: { first: 0, last: 3 } });
    await untilArray(bed, id, (one) => one.ended);
    const rows = ((await bed.call('GET', '/v1/jobs?grouped=true')).body as { jobs: JobView[] }).jobs;
    expect(rows.map((job) => [job.members, job.reason])).toEqual([
      [null, 'exited with code 0'],
      ['1-3', '[1] exited with code 1'],
    ]);
  });

  it('is ended by one cancellation, and leaves nothing behind that a restart would start', async () => {
    const bed = await start();
    const agent = await join(bed);
    const { id } = await submitArray(bed, { array: { first: 0, last: 99 } });
    const first = await agent.next('start');
    const answer = await bed.call('POST', `/v1/arrays/${id.slice(0, 9)}/cancel`, { reason: 'a mistake' });
    expect(answer.status).toBe(200);
    expect((answer.body as ArrayView).counts).toMatchObject({ CANCELLED: 98, STARTING: 2 });
    const stop = await agent.next('stop', (one) => one.jobId === first.jobId);
    expect(stop).toMatchObject({ by: 'local', reason: 'a mistake' });
    const survivor = await start(bed.crashImage());
    expect(await array(survivor, id)).toMatchObject({ counts: { CANCELLED: 98, PENDING: 0 } });
    expect((await survivor.job(`${id}.50`)).reason).toBe('cancelled by local while it waited: a mistake');
  });

  it('of ten thousand is taken at once, costs one specification, and is back after a restart', async () => {
    const bed = await start();
    const view = await submitArray(bed, {
      command: ['sh', '-c', 'x'.repeat(100_000)],
      array: { first: 0, last: 9999 },
    });
    expect(view.counts.PENDING).toBe(10_000);
    const image = bed.crashImage();
    const { statSync } = await import('node:fs');
    const bytes = ['store.db', 'store.db-wal'].reduce(
      (sum, name) => sum + (statSync(`${image}/scheduler/${name}`, { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
    expect(bytes).toBeLessThan(16 * 1024 * 1024);
    const survivor = await start(image);
    const agent = await join(survivor);
    await agent.next('start', (order) => order.array?.index === 0);
    expect((await array(survivor, view.id)).counts).toMatchObject({ PENDING: 9998, STARTING: 2 });
    expect((await survivor.job(`${view.id}.9999`)).reason).toMatch(/9997 jobs are ahead$/);
    const rows = (await survivor.call('GET', '/v1/jobs?grouped=true')).body as { jobs: JobView[] };
    expect(rows.jobs.map((job) => job.members ?? job.array?.index)).toEqual(['2-9999', 0, 1]);
  });

  it('starts a job when what it waits for has ended as asked, and ends it when that cannot be, also over a restart', async () => {
    const bed = await start();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const agent = await join(bed, { identity, cpus: 8 });
    const { id } = await bed.submit({ name: 'first' });
    const behind = async (condition: 'completed' | 'failed' | 'ended', on = id) =>
      (await bed.submit({ dependencies: [{ job: on, condition }] })).id;
    const [ok, bad, any] = [await behind('completed'), await behind('failed'), await behind('ended')];
    const chained = await behind('completed', ok);
    expect((await bed.job(ok)).reason).toBe(`waiting: for ${id} to complete, which is STARTING`);
    await agent.next('start', (order) => order.jobId === id);
    expect(agent.messages.filter((message) => message.type === 'start')).toHaveLength(1);

    const survivor = await start(bed.crashImage());
    await agent.disconnect();
    const again = await join(survivor, {
      identity,
      cpus: 8,
      held: [{ jobId: id, epoch: 1, phase: 'running' }],
    });
    again.ended(id, { exitCode: 2 });
    await again.next('start', (order) => order.jobId === bad);
    await again.next('start', (order) => order.jobId === any);
    expect(await survivor.until(ok, (job) => job.state === 'CANCELLED')).toMatchObject({
      reason: `never started: it was to wait until ${id} had completed, which ended as FAILED (exited with code 2)`,
      result: null,
      epoch: 0,
    });
    expect((await survivor.job(chained)).state).toBe('CANCELLED');
    const late = await survivor.submit({ dependencies: [{ job: id }] });
    expect(late.state).toBe('CANCELLED');
    const refused = await bed.call('POST', '/v1/jobs', {
      version: 1,
      command: ['true'],
      dependencies: [{ job: id }, { job: 'job-none' }],
    });
    expect(refused).toMatchObject({
      status: 400,
      body: { error: { code: 'JOB_DEPENDENCY_UNKNOWN', field: 'dependencies.1.job' } },
    });
  });

  it('starts a job again on another node, keeps what happened before, and acknowledges every attempt as often as it is told', async () => {
    const bed = await start();
    const first = await join(bed, { cpus: 2 });
    const { id } = await bed.submit({ retry: { times: 2, on: ['failed'], delayMs: 1 } });
    await first.next('start');
    const second = await join(bed, { cpus: 4 }, 'node-b');
    first.started(id);
    first.output(id, 1, 'stdout', 0, 'one');
    await first.next('outputAck', (ack) => ack.stdoutBytes === 3);
    const failed = first.ended(id, { exitCode: 3, stdoutBytes: 8 });
    const order = await second.next('start');
    expect(order).toMatchObject({ jobId: id, epoch: 2 });
    // Told again, and output that was still to come: all of it is taken, and nothing changes.
    const repeat = first.resend(failed);
    await first.next('ack', (ack) => ack.sequence === repeat);
    const started = first.started(id);
    await first.next('ack', (ack) => ack.sequence === started);
    first.output(id, 1, 'stdout', 3, ' more');
    await first.next('outputAck', (ack) => ack.stdoutBytes === 8);
    const lie = first.resend({ ...failed, exitCode: 0, state: 'COMPLETED' });
    await first.next('ack', (ack) => ack.sequence === lie);
    expect(await bed.job(id)).toMatchObject({ state: 'STARTING', epoch: 2, retries: 1 });

    second.started(id, 2);
    second.output(id, 2, 'stdout', 0, 'two');
    await second.next('outputAck', (ack) => ack.stdoutBytes === 3);
    second.ended(id, { epoch: 2, stdoutBytes: 3 });
    const job = await bed.until(id, (one) => one.state === 'COMPLETED');
    expect(job.reason).toBe('exited with code 0; it had been started again once');
    expect(job.attempts).toMatchObject([
      { epoch: 1, state: 'FAILED', exitCode: 3, node: { name: 'node-a' }, stdoutBytes: 8 },
    ]);
    expect((await bed.call('GET', `/v1/jobs/${id}/output`)).body).toBe('two');
    expect((await bed.call('GET', `/v1/jobs/${id}/output?attempt=1`)).body).toBe('one more');
  });

  it('waits out its back-off over a restart, says so, and is ended for good by a cancellation', async () => {
    const bed = await start();
    const agent = await join(bed);
    const { id } = await bed.submit({ retry: { times: 5, on: ['failed'], delayMs: 600_000 } });
    await agent.next('start');
    agent.ended(id, { exitCode: 3 });
    const sentence =
      /^waiting: started again in \d+ min; retry 1 of 5 after attempt 1 on node-a ended as FAILED \(exited with code 3\); node-a is avoided where another node fits$/;
    const waiting = await bed.until(id, (job) => job.retries === 1);
    expect(waiting.reason).toMatch(sentence);
    expect(waiting.notBefore).not.toBeNull();
    expect(waiting.attempts[0]?.usage).toEqual(fakeResult('node-a', id).usage);
    const survivor = await start(bed.crashImage());
    await join(survivor);
    const there = await survivor.job(id);
    expect(there.reason).toMatch(sentence);
    expect(there).toMatchObject({
      state: 'PENDING',
      attempts: waiting.attempts,
      notBefore: waiting.notBefore,
    });
    await survivor.call('POST', `/v1/jobs/${id}/cancel`, {});
    expect((await survivor.job(id)).state).toBe('CANCELLED');
  });

  it('shows a follower the outputs of both attempts and the end of the last', async () => {
    const bed = await start();
    const agent = await join(bed);
    const { id } = await bed.submit({ retry: { times: 1, on: ['failed'], delayMs: 50 } });
    // Answered, so that whoever follows is there before the first attempt ends.
    const response = await fetch(`${bed.url}/v1/jobs/${id}/follow`, {
      headers: { authorization: `Bearer ${bed.token}` },
    });
    for (const epoch of [1, 2]) {
      await agent.next('start', (order) => order.epoch === epoch);
      agent.started(id, epoch);
      agent.output(id, epoch, 'stdout', 0, `attempt ${epoch}\n`);
      await agent.next('outputAck', (ack) => ack.epoch === epoch && ack.stdoutBytes === 10);
      agent.ended(id, { epoch, exitCode: epoch === 1 ? 1 : 0, stdoutBytes: 10 });
    }
    const followed = await readFollowed(response);
    expect(followed.stdout).toBe('attempt 1\nattempt 2\n');
    expect(followed.jobs.at(-1)).toMatchObject({ state: 'COMPLETED', epoch: 2 });
  });
});
