// What clients see of output that is not all there: gaps where they lie, attempts, and what was removed.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { followKind, type OutputsView } from '../../../src/protocol/api.ts';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { type Bed, freshFolder, startBed } from './bed.ts';

describe('output of jobs', () => {
  let bed: Bed;
  let agent: FakeAgent;
  beforeEach(() => open(3_600_000_000_000));
  afterEach(close);

  async function open(keepMs: number): Promise<void> {
    bed = await startBed(freshFolder(), null, undefined, undefined, { keepMs, quotaBytes: null });
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    agent = await connectFake({ url: bed.url, identity });
  }

  async function close(): Promise<void> {
    agent.socket.terminate();
    await bed.close();
  }

  async function begin(spec: Parameters<Bed['submit']>[0] = {}): Promise<string> {
    const { id } = await bed.submit(spec);
    await agent.next('start', (order) => order.jobId === id);
    const sequence = agent.started(id);
    await agent.next('ack', (ack) => ack.sequence === sequence);
    return id;
  }

  /** Kinds and payloads of a follow response, output joined as long as it is of one stream. */
  async function records(id: string, query = ''): Promise<[string, string][]> {
    const response = await fetch(`${bed.url}/v1/jobs/${id}/follow${query}`, {
      headers: { authorization: `Bearer ${bed.token}` },
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    const list: [string, string][] = [];
    for (let at = 0; at < bytes.length; ) {
      const kind = Object.entries(followKind).find(([, number]) => number === bytes[at])?.[0] ?? '?';
      const length = bytes.readUInt32BE(at + 1);
      list.push([kind, bytes.subarray(at + 5, at + 5 + length).toString()]);
      at += 5 + length;
    }
    return list.filter(([kind]) => kind !== 'job' && kind !== 'keepAlive');
  }

  const gap = { stream: 'stdout', fromByte: 4096, toByte: 10_000, reason: 'quota' } as const;

  it('tells a gap before the bytes that follow it, though they came before the result that names it', async () => {
    const id = await begin({ outputQuotaBytes: 4096 });
    const following = records(id);
    agent.output(id, 1, 'stdout', 0, 'a'.repeat(4096));
    agent.output(id, 1, 'stdout', 4096, 'tail');
    await agent.next('outputAck', (ack) => ack.jobId === id && ack.stdoutBytes === 4100);
    agent.ended(id, { stdoutBytes: 4100, gaps: [gap] });
    const list = await following;
    expect(list.map(([kind]) => kind)).toEqual(['stdout', 'gap', 'stdout']);
    expect(JSON.parse(list[1]?.[1] ?? '')).toEqual({ ...gap, atByte: 4096 });
    expect(list[2]?.[1]).toBe('tail');
    // Who comes later sees the same; who asks for what lies behind it is told nothing of it.
    expect((await records(id)).map(([kind]) => kind)).toEqual(['stdout', 'gap', 'stdout']);
    expect((await records(id, '?stdout=4098')).map(([kind]) => kind)).toEqual(['stdout']);
  });

  it('tells a gap at the end of a stream, and one that became known after its place was passed', async () => {
    const id = await begin();
    const following = records(id);
    agent.output(id, 1, 'stdout', 0, 'abcd');
    await agent.next('outputAck', (ack) => ack.jobId === id && ack.stdoutBytes === 4);
    agent.ended(id, {
      stdoutBytes: 4,
      gaps: [
        { stream: 'stdout', fromByte: 2, toByte: 5, reason: 'disk' },
        { stream: 'stderr', fromByte: 0, toByte: 9, reason: 'lost' },
      ],
    });
    const kinds = (await following).map(([kind, text]) => (kind === 'gap' ? JSON.parse(text).reason : text));
    expect(kinds.join(' ')).toMatch(/^(?:abcd disk lost|abcd lost disk)$/);
  });

  it('shows the attempts that there were, and refuses others', async () => {
    const id = await begin();
    agent.output(id, 1, 'stdout', 0, 'first');
    await agent.next('outputAck', (ack) => ack.jobId === id);
    const view = (await bed.call('GET', `/v1/jobs/${id}/outputs?attempt=1&since=0`)).body as OutputsView;
    expect(view).toEqual({
      attempt: 1,
      stdoutBytes: 5,
      stderrBytes: 0,
      since: { stdout: 0, stderr: 0 },
      removed: null,
    });
    for (const query of ['attempt=0', 'attempt=2', 'attempt=x', 'since=-1', 'since=1e99'])
      expect((await bed.call('GET', `/v1/jobs/${id}/outputs?${query}`)).status).toBe(400);
    expect((await bed.call('GET', `/v1/jobs/${id}/outputs?attempt=9`)).body).toMatchObject({
      error: { message: 'there is no attempt 9 of this job; attempts so far: 1', field: 'attempt' },
    });
    expect((await bed.call('GET', `/v1/jobs/${id}/output?attempt=1`)).body).toBe('first');
  });

  it('is removed when it has been kept long enough, and everybody is told', async () => {
    await close();
    await open(1000);
    const id = await begin();
    agent.output(id, 1, 'stdout', 0, 'hello');
    await agent.next('outputAck', (ack) => ack.jobId === id && ack.stdoutBytes === 5);
    agent.ended(id, { stdoutBytes: 5, endedAtMs: Date.now() });
    let removed: string | null = null;
    for (const end = performance.now() + 50_000; removed === null && performance.now() < end; ) {
      removed = ((await bed.call('GET', `/v1/jobs/${id}/outputs`)).body as OutputsView).removed;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(removed).toMatch(/^removed on \d{4}-\d\d-\d\d, 1 s after the end \(output.keepMs\)$/);
    expect((await bed.job(id)).outputRemoved).toBe(removed);
    expect((await bed.call('GET', `/v1/jobs/${id}/output?stream=stdout`)).body).toBe('');
    // Does not wait for bytes that will never come.
    expect(await records(id)).toEqual([]);
  });
});
