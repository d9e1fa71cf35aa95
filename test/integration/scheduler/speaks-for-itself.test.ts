// A node speaks only for itself and for what was ordered to it: what it tells, sends or asks for in the name of another
// changes nothing, and is written down.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JobView } from '../../../src/protocol/api.ts';
import { ATTEMPT_HEADER } from '../../../src/protocol/file-api.ts';
import { connectFake, enrolFake, type FakeAgent, fakeResult } from '../../fakes/agent.ts';
import { type Bed, startBed } from './bed.ts';

let bed: Bed;
let own: FakeAgent;
let other: FakeAgent;
let job: JobView;
beforeEach(async () => {
  bed = await startBed();
  const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'own');
  own = await connectFake({ url: bed.url, identity, name: 'own' });
  job = await bed.submit({ command: ['sleep', '60'] });
  await own.next('start');
  own.started(job.id);
  job = await bed.until(job.id, ({ state }) => state === 'RUNNING');
  const stranger = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'other');
  other = await connectFake({ url: bed.url, identity: stranger, name: 'other' });
});
afterEach(async () => {
  own.socket.terminate();
  other.socket.terminate();
  await bed.close();
});

function denied(): { what?: unknown; nodeId?: unknown; jobId?: unknown }[] {
  const folder = join(bed.stateDir, 'scheduler', 'audit');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
    .map((line) => JSON.parse(line) as { kind: string; facts: object })
    .filter(({ kind }) => kind === 'access.denied')
    .map(({ facts }) => facts);
}

/** The next thing that it sends has been dealt with: an acknowledged heartbeat comes back after all before it. */
async function settled(agent: FakeAgent): Promise<void> {
  const sequence = agent.messages.length + 1000;
  agent.send({ type: 'heartbeat', sequence });
  await agent.next('heartbeat', ({ echo }) => echo === sequence);
}

async function untilDenied(what: string): Promise<void> {
  await expect
    .poll(() => denied().some((facts) => facts.what === what && facts.nodeId === other.nodeId), {
      timeout: 20_000,
    })
    .toBe(true);
}

const unchanged = async (): Promise<void> => {
  const now = await bed.job(job.id);
  expect({ ...now, reason: '' }).toEqual({ ...job, reason: '' });
};

describe('a node that speaks for another', () => {
  it.each([
    ['in its own name', () => other.nodeId],
    ['in the name of the other', () => own.nodeId],
  ])('ends no job of it with a result %s', async (_, name) => {
    other.resend(fakeResult(name(), job.id, { exitCode: 0 }));
    await other.next('error', ({ code }) => code === 'LINK_FACT_REFUSED');
    await untilDenied('report');
    await unchanged();
  });

  it('cannot say that it has started', async () => {
    other.started(job.id);
    await other.next('error', ({ code }) => code === 'LINK_FACT_REFUSED');
    await untilDenied('report');
    await unchanged();
  });

  it('puts no byte into its output', async () => {
    other.output(job.id, 1, 'stdout', 0, 'forged');
    await untilDenied('output');
    own.output(job.id, 1, 'stdout', 0, 'true');
    await own.next('outputAck', ({ stdoutBytes }) => stdoutBytes === 4);
    expect((await bed.call('GET', `/v1/jobs/${job.id}/output`)).body).toBe('true');
  });

  it('tells nothing of what it does, and answers no question about it', async () => {
    other.send({ type: 'jobProgress', jobId: job.id, epoch: 1, text: 'mine now' });
    other.send({ type: 'orderAck', orderId: 'order-0', outcome: 'refused', code: 'X', message: 'no' });
    other.send({ type: 'execEnd', execId: 'exec-0', exitCode: 0, signal: null, code: null, message: null });
    other.send({
      type: 'jobReport',
      jobId: job.id,
      epoch: 1,
      order: null,
      phase: 'ended',
      startedAtMs: 1,
      result: fakeResult(other.nodeId, job.id),
    });
    await settled(other);
    await unchanged();
  });

  it('cannot hold it: the job stays with its node when both come back', async () => {
    await other.disconnect();
    await own.disconnect();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'third');
    const third = await connectFake({
      url: bed.url,
      identity,
      held: [{ jobId: job.id, epoch: 1, phase: 'running' }],
    });
    await settled(third);
    expect((await bed.job(job.id)).node?.name).toBe('own');
    third.socket.terminate();
  });

  it('has none of its files, and brings none for it', async () => {
    const text = 'the input of a job';
    const digest = createHash('sha256').update(text).digest('hex');
    const headers = (agent: FakeAgent, id: string): Record<string, string> => {
      const welcome = agent.messages.find(({ type }) => type === 'welcome');
      const ticket = welcome?.type === 'welcome' ? (welcome.fileTicket ?? '') : '';
      return { authorization: `Bearer ${ticket}`, [ATTEMPT_HEADER]: `${id}.1` };
    };
    const at = `${bed.url}/v1/files/${digest}`;
    const bring = `${at}?offset=0&size=${Buffer.byteLength(text)}`;
    const brought = await fetch(bring, {
      method: 'PUT',
      body: text,
      headers: { authorization: `Bearer ${bed.token}` },
    });
    expect(brought.ok, await brought.text()).toBe(true);
    const { id } = await bed.submit({
      command: ['true'],
      inputs: [{ kind: 'file', digest, path: 'in', sizeBytes: Buffer.byteLength(text) }] as never,
    });
    await own.next('start', ({ jobId }) => jobId === id);
    expect((await fetch(at, { headers: headers(own, id) })).status).toBe(200);
    for (const name of [id, job.id, 'job-x'])
      expect((await fetch(at, { headers: headers(other, name) })).status).toBe(403);
    expect((await fetch(bring, { method: 'PUT', body: text, headers: headers(other, id) })).status).toBe(403);
    await untilDenied('files.read');
    await untilDenied('files.write');
  });
});
