import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  connectFake,
  enrolFake,
  type FakeAgent,
  type FakeAgentOptions,
  type FakeIdentity,
} from '../../fakes/agent.ts';
import { type Bed, readFollowed, startBed } from './bed.ts';

describe('orders', () => {
  let bed: Bed;
  let identity: FakeIdentity;
  const agents: FakeAgent[] = [];

  async function connect(options: Partial<FakeAgentOptions> = {}, on = bed): Promise<FakeAgent> {
    const agent = await connectFake({ url: on.url, identity, ...options });
    agents.push(agent);
    return agent;
  }

  beforeEach(async () => {
    bed = await startBed();
    identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
  });
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.socket.terminate();
    await bed.close();
  });

  it('runs a job from submission to result and gives its follower every byte before the end', async () => {
    const agent = await connect();
    const submitted = await bed.submit({ command: ['sh', '-c', 'exit 7'] });
    expect(submitted.state).toBe('STARTING');
    expect(submitted.epoch).toBe(1);
    const { id } = submitted;
    // Answered, so that whoever follows is there from now on.
    const response = await fetch(`${bed.url}/v1/jobs/${id}/follow`, {
      headers: { authorization: `Bearer ${bed.token}` },
    });
    await agent.next('start');
    agent.started(id);
    await bed.until(id, (job) => job.state === 'RUNNING');
    agent.output(id, 1, 'stdout', 0, 'hi\n');
    agent.output(id, 1, 'stderr', 0, 'err\n');
    await agent.next('outputAck', (ack) => ack.stdoutBytes === 3 && ack.stderrBytes === 4);
    agent.ended(id, { exitCode: 7, stdoutBytes: 3, stderrBytes: 4 });
    const followed = await readFollowed(response);
    expect(followed.stdout).toBe('hi\n');
    expect(followed.stderr).toBe('err\n');
    expect(followed.jobs.map((job) => job.state)).toEqual(expect.arrayContaining(['RUNNING', 'FAILED']));
    expect(followed.jobs.at(-1)?.result?.exitCode).toBe(7);
    const node = await bed.node('node-a');
    expect(node.resources?.cpus).toEqual({ total: 2, held: 0 });
  });

  it('acknowledges a started, a result and output, and tells how much it has at the next hello', async () => {
    const agent = await connect();
    const { id } = await bed.submit();
    const start = await agent.next('start');
    expect(start).toMatchObject({ jobId: id, epoch: 1 });
    agent.send({ type: 'orderAck', orderId: start.orderId, outcome: 'accepted', code: null, message: null });
    const startedSequence = agent.started(id);
    await agent.next('ack', (ack) => ack.sequence === startedSequence);
    expect((await bed.job(id)).state).toBe('RUNNING');
    agent.output(id, 1, 'stdout', 0, 'hello ');
    agent.output(id, 1, 'stdout', 3, 'lo world');
    await agent.next('outputAck', (ack) => ack.jobId === id && ack.stdoutBytes === 11);
    agent.output(id, 1, 'stdout', 500, 'a gap');
    await new Promise((resolve) => setTimeout(resolve, 50));
    const acks = agent.messages.filter((message) => message.type === 'outputAck');
    expect(acks.at(-1)).toMatchObject({ stdoutBytes: 11, stderrBytes: 0 });
    const output = await bed.call('GET', `/v1/jobs/${id}/output?stream=stdout`);
    expect(output.body).toBe('hello world');
    await agent.disconnect();
    const again = await connect({ held: [{ jobId: id, epoch: 1, phase: 'running' }] });
    const welcome = await again.next('welcome');
    expect(welcome.outputs).toEqual([{ jobId: id, epoch: 1, stdoutBytes: 11, stderrBytes: 0 }]);
    again.ended(id, { stdoutBytes: 11 });
    await bed.until(id, (job) => job.state === 'COMPLETED');
  });

  it('takes one result: repeats are acknowledged, contradictions change nothing', async () => {
    const agent = await connect();
    const { id } = await bed.submit();
    await agent.next('start');
    const result = agent.ended(id, { exitCode: 3 });
    await bed.until(id, (job) => job.state === 'FAILED');
    const repeat = agent.resend(result);
    await agent.next('ack', (ack) => ack.sequence === repeat);
    const lie = agent.resend({ ...result, state: 'COMPLETED', exitCode: 0 });
    await agent.next('ack', (ack) => ack.sequence === lie);
    expect(await bed.job(id)).toMatchObject({ state: 'FAILED', result: { exitCode: 3 } });
    expect(bed.logged.some((line) => JSON.stringify(line.fields).includes('contradiction'))).toBe(true);
  });

  it('lets a node speak only for itself and for what was ordered to it', async () => {
    const agent = await connect();
    const stranger = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'node-b');
    const other = await connectFake({ url: bed.url, identity: stranger, name: 'node-b', cpus: 1 });
    agents.push(other);
    const { id } = await bed.submit({ resources: { cpus: 2 } });
    await agent.next('start');
    other.ended(id);
    other.resend({ ...agentResult(agent.nodeId, id) });
    other.output(id, 1, 'stdout', 0, 'forged');
    other.started(id);
    agent.ended(id, { epoch: 2 });
    await other.next('error');
    await agent.next('error');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(await bed.job(id)).toMatchObject({ state: 'STARTING', stdoutBytes: 0, result: null });
    expect(other.messages.some((message) => message.type === 'ack')).toBe(false);
  });

  it('runs twenty jobs on two CPUs, two at a time, and says why each of the others waits', async () => {
    const agent = await connect();
    const ids: string[] = [];
    for (let n = 0; n < 20; n += 1) ids.push((await bed.submit()).id);
    const jobs = await Promise.all(ids.map((id) => bed.job(id)));
    expect(jobs.filter((job) => job.state === 'STARTING')).toHaveLength(2);
    const [, , third] = jobs;
    expect(third?.reason).toBe(
      `waiting: needs 1 CPU; 2 of 2 CPUs on node-a are held by ${ids[0]} and ${ids[1]}; no job is ahead`,
    );
    expect(jobs[19]?.reason).toMatch(/; 17 jobs are ahead$/);
    for (const id of ids) {
      await agent.next('start', (start) => start.jobId === id);
      agent.ended(id);
    }
    for (const id of ids) await bed.until(id, (job) => job.state === 'COMPLETED');
    expect((await bed.node('node-a')).jobs).toEqual([]);
  });

  it('says why a job can never start on the present nodes', async () => {
    const early = await bed.submit();
    expect(early.reason).toBe(
      'waiting: no node is connected (needs 1 CPU); not seen since this scheduler started: node-a',
    );
    await connect();
    const large = await bed.submit({ resources: { cpus: 64 } });
    expect(large.reason).toBe('waiting: needs 64 CPUs, the largest connected node has 2');
    const devices = await bed.submit({ resources: { accelerators: { count: 2, match: 'nvidia' } } });
    expect(devices.reason).toBe(
      'waiting: no node has accelerators (asked for 2 × nvidia); join one that has',
    );
    const small = await bed.submit();
    expect(small.state).toBe('STARTING');
  });

  it('cancels a waiting, a starting and a running job', async () => {
    const agent = await connect({ cpus: 2 });
    const starting = await bed.submit();
    const running = await bed.submit();
    const waiting = await bed.submit();
    await agent.next('start', (start) => start.jobId === running.id);
    agent.started(running.id);
    await bed.until(running.id, (job) => job.state === 'RUNNING');
    const cancelled = await bed.call('POST', `/v1/jobs/${waiting.id}/cancel`, { reason: 'not needed' });
    expect(cancelled.body).toMatchObject({
      state: 'CANCELLED',
      reason: 'cancelled by local while it waited: not needed',
    });
    for (const id of [starting.id, running.id]) {
      const { body } = await bed.call('POST', `/v1/jobs/${id}/cancel`, { reason: 'stop' });
      expect(body).toMatchObject({ cancelRequested: true });
      expect(await agent.next('stop', (stop) => stop.jobId === id)).toMatchObject({
        epoch: 1,
        by: 'local',
        reason: 'stop',
      });
      agent.ended(id, {
        state: 'CANCELLED',
        endKind: 'stopped',
        exitCode: null,
        signal: 15,
        stoppedBy: 'local',
      });
      await bed.until(id, (job) => job.state === 'CANCELLED');
    }
    const again = await bed.call('POST', `/v1/jobs/${running.id}/cancel`, {});
    expect(again).toMatchObject({ status: 200, body: { state: 'CANCELLED' } });
  });

  it('stops a job whose cancellation came while its node was away, and never starts one that it did not take', async () => {
    const agent = await connect();
    const held = await bed.submit();
    const missed = await bed.submit();
    await agent.next('start', (start) => start.jobId === missed.id);
    await agent.disconnect();
    await bed.until(held.id, (job) => job.reason.includes('unreachable'));
    for (const { id } of [held, missed]) await bed.call('POST', `/v1/jobs/${id}/cancel`, {});
    const again = await connect({ held: [{ jobId: held.id, epoch: 1, phase: 'running' }] });
    await again.next('stop', (stop) => stop.jobId === held.id);
    expect(await bed.until(missed.id, (job) => job.state === 'CANCELLED')).toMatchObject({
      result: { endKind: 'stopped', stoppedBy: 'local', startedAtMs: null },
    });
    expect(again.messages.filter((message) => message.type === 'start')).toEqual([]);
  });

  it('sends an order again that the agent did not get, with the same epoch', async () => {
    const agent = await connect();
    const { id } = await bed.submit();
    await agent.next('start');
    await agent.disconnect();
    const again = await connect();
    expect(await again.next('start')).toMatchObject({ jobId: id, epoch: 1 });
  });

  it('calls a job lost when its node was rebooted, or came back without it', async () => {
    const agent = await connect();
    const rebooted = await bed.submit();
    await agent.next('start');
    await agent.disconnect();
    const second = await connect({ bootId: 'boot-2', generation: 2 });
    expect(await bed.until(rebooted.id, (job) => job.state === 'LOST')).toMatchObject({
      reason: 'node-a was rebooted and its agent no longer knows the job',
      result: { endKind: 'lost', exitCode: null },
    });
    const forgotten = await bed.submit();
    await second.next('start', (start) => start.jobId === forgotten.id);
    second.started(forgotten.id);
    await bed.until(forgotten.id, (job) => job.state === 'RUNNING');
    await second.disconnect();
    await connect({ bootId: 'boot-2', generation: 3 });
    await bed.until(forgotten.id, (job) => job.state === 'LOST');
    expect((await bed.node('node-a')).resources?.cpus.held).toBe(0);
  });

  it('tries a refused order again, at a later epoch, and says why meanwhile', {
    timeout: 40_000,
  }, async () => {
    const agent = await connect();
    const { id } = await bed.submit();
    const first = await agent.next('start');
    agent.send({
      type: 'orderAck',
      orderId: first.orderId,
      outcome: 'refused',
      code: 'JOB_NO_DURABLE_SPACE',
      message: 'no durable space',
    });
    const waiting = await bed.until(id, (job) => job.state === 'PENDING');
    expect(waiting.reason).toContain('node-a refused it (JOB_NO_DURABLE_SPACE: no durable space)');
    const second = await agent.next('start', (start) => start.epoch === 2);
    expect(second.jobId).toBe(id);
    agent.ended(id, { epoch: 2 });
    await bed.until(id, (job) => job.state === 'COMPLETED');
  });

  it('replaces the older of two connections of one node', async () => {
    const first = await connect();
    const second = await connect();
    expect((await first.closed).code).toBe(4409);
    const { id } = await bed.submit();
    await second.next('start', (start) => start.jobId === id);
    expect(first.messages.some((message) => message.type === 'start')).toBe(false);
  });
});

function agentResult(nodeId: string, jobId: string) {
  return {
    version: 1 as const,
    jobId,
    epoch: 1,
    nodeId,
    state: 'COMPLETED' as const,
    endKind: 'exited' as const,
    exitCode: 0,
    signal: null,
    stoppedBy: null,
    cause: 'forged',
    startedAtMs: null,
    endedAtMs: 1,
    usage: {
      durationMs: null,
      cpuUserSeconds: null,
      cpuSystemSeconds: null,
      maxResidentBytes: null,
      memoryPeakBytes: null,
      processesPeak: null,
      deviceSeconds: null,
      energyJoules: null,
      energyMethod: null,
      flop: null,
      achievedFlops: null,
      flopMethod: null,
      absent: {},
    },
    limits: {},
    isolation: {},
    outOfMemory: null,
    gaps: [],
    outputs: [],
    workspace: null,
    stdoutBytes: 0,
    stderrBytes: 0,
  };
}
