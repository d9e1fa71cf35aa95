// Commands beside jobs at the scheduler: a real client's WebSocket, a fake agent that answers by hand.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import {
  decodeExecFrame,
  EXEC_INPUT_WINDOW_BYTES,
  EXEC_SUBPROTOCOL,
  type ExecServerMessage,
  encodeExecFrame,
} from '../../../src/protocol/exec.ts';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { type Bed, startBed } from './bed.ts';

const DEADLINE_MS = 20_000;

interface TestClient {
  readonly socket: WebSocket;
  readonly told: ExecServerMessage[];
  readonly output: { stdout: Buffer; stderr: Buffer };
  readonly closed: Promise<number>;
  say(message: object): void;
}

async function until<T>(what: string, read: () => T | null | undefined | false): Promise<T> {
  for (const end = performance.now() + DEADLINE_MS; ; ) {
    const value = read();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a command beside a job', () => {
  let bed: Bed;
  let agent: FakeAgent;
  let jobId: string;
  const clients: WebSocket[] = [];
  beforeEach(async () => {
    bed = await startBed();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    agent = await connectFake({ url: bed.url, identity });
    ({ id: jobId } = await bed.submit());
    await agent.next('start');
    agent.started(jobId);
    await bed.until(jobId, (job) => job.state === 'RUNNING');
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.terminate();
    agent.socket.terminate();
    await bed.close();
  });

  const urlOf = (id: string): string => `${bed.url.replace('http', 'ws')}/v1/jobs/${id}/exec`;
  const headers = (): Record<string, string> => ({ authorization: `Bearer ${bed.token}` });

  async function open(id = jobId): Promise<TestClient> {
    const socket = new WebSocket(urlOf(id), EXEC_SUBPROTOCOL, {
      headers: headers(),
      perMessageDeflate: false,
    });
    clients.push(socket);
    const client: TestClient = {
      socket,
      told: [],
      output: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) },
      closed: new Promise((resolve) => socket.on('close', resolve)),
      say: (message) => socket.send(JSON.stringify(message)),
    };
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => {
      const bytes = data as Buffer;
      if (!isBinary) client.told.push(JSON.parse(bytes.toString()) as ExecServerMessage);
      else {
        const stream = bytes[0] === 1 ? 'stdout' : 'stderr';
        client.output[stream] = Buffer.concat([client.output[stream], bytes.subarray(1)]);
      }
    });
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
    return client;
  }

  /** A client whose command runs, as its node sees it. */
  async function running(): Promise<{ client: TestClient; execId: string }> {
    const known = new Set(orders());
    const client = await open();
    client.say({ type: 'request', command: ['cat', '-'] });
    const execId = await until('an order', () => orders().find((id) => !known.has(id)));
    return { client, execId };
  }

  const orders = (): string[] =>
    agent.messages.flatMap((message) => (message.type === 'exec' ? [message.execId] : []));
  const frames = (): Buffer[] => {
    const list: Buffer[] = [];
    agent.socket.on('message', (data, isBinary) => isBinary && list.push(data as Buffer));
    return list;
  };

  it('carries request, input, output, credit, signals and size both ways, and the end with its code', async () => {
    const inputs = frames();
    const { client, execId } = await running();
    expect(agent.messages.find((message) => message.type === 'exec')).toMatchObject({
      jobId,
      epoch: 1,
      command: ['cat', '-'],
      terminal: null,
      by: 'local',
    });
    client.socket.send(Buffer.from('in'));
    client.say({ type: 'signal', signal: 2 });
    client.say({ type: 'resize', rows: 9, columns: 8 });
    await agent.next('execResize', (message) => message.rows === 9);
    await agent.next('execSignal', (message) => message.signal === 2);
    const [input] = await until('input', () => inputs.length > 0 && inputs);
    expect(decodeExecFrame(input as Buffer)).toMatchObject({ execId, channel: 'stdin' });
    agent.send({ type: 'execStarted', execId, pid: 77 });
    agent.send({ type: 'execCredit', execId, bytes: 2 });
    agent.socket.send(encodeExecFrame({ execId, channel: 'stdout', bytes: Buffer.from('out') }));
    agent.socket.send(encodeExecFrame({ execId, channel: 'stderr', bytes: Buffer.from('err') }));
    await until('output', () => client.output.stderr.length > 0);
    client.say({ type: 'credit', bytes: 6 });
    await agent.next('execCredit', (message) => message.bytes === 6);
    agent.send({ type: 'execEnd', execId, exitCode: 7, signal: null, code: null, message: null });
    expect(await client.closed).toBe(1000);
    expect([client.output.stdout.toString(), client.output.stderr.toString()]).toEqual(['out', 'err']);
    expect(client.told).toEqual([
      { type: 'started', pid: 77 },
      { type: 'credit', bytes: 2 },
      { type: 'end', exitCode: 7, signal: null, code: null, message: null },
    ]);
    const lines = bed.logged.filter(({ fields }) => 'audit' in fields);
    expect(lines).toMatchObject([{ fields: { audit: 'exec', jobId, by: 'local', program: 'cat' } }]);
  });

  it('is stopped on the node when its client goes, and ended for the client when the link goes', async () => {
    const first = await running();
    const second = await running();
    first.client.socket.terminate();
    await agent.next('execStop', (message) => message.execId === first.execId);
    agent.socket.terminate();
    expect(await second.client.closed).toBe(1000);
    expect(second.client.told).toMatchObject([{ type: 'end', exitCode: null, code: 'EXEC_LINK_LOST' }]);
  });

  it.each<[string, (client: TestClient) => void]>([
    ['speaks out of turn', (client) => client.say({ type: 'request', command: ['true'] })],
    ['sends what is no message', (client) => client.socket.send('{"type":"request"')],
    [
      'floods its node with sizes',
      (client) => {
        for (let rows = 1; rows < 1000; rows += 1) client.say({ type: 'resize', rows, columns: 80 });
      },
    ],
    ['takes what never came', (client) => client.say({ type: 'credit', bytes: 1 })],
    [
      'sends more input than credit',
      (client) => {
        client.socket.send(Buffer.alloc(EXEC_INPUT_WINDOW_BYTES));
        client.socket.send(Buffer.alloc(1));
      },
    ],
  ])('of a client that %s is stopped, and its connection closed', async (_what, misbehave) => {
    const { client, execId } = await running();
    misbehave(client);
    expect(await client.closed).toBe(1008);
    await agent.next('execStop', (message) => message.execId === execId);
  });

  it('ends its input once, however often its client says so', async () => {
    const inputs = frames();
    const { client, execId } = await running();
    for (let at = 0; at < 50; at += 1) client.socket.send(Buffer.alloc(0));
    client.say({ type: 'signal', signal: 2 });
    await agent.next('execSignal', (message) => message.execId === execId);
    expect(inputs).toHaveLength(1);
  });

  it('is ended when its node sends more than was asked for, or frames for another are dropped', async () => {
    const { client, execId } = await running();
    agent.socket.send(encodeExecFrame({ execId: 'exec-other', channel: 'stdout', bytes: Buffer.from('x') }));
    for (let at = 0; at < 10; at += 1)
      agent.socket.send(encodeExecFrame({ execId, channel: 'stdout', bytes: Buffer.alloc(32 * 1024) }));
    expect(await client.closed).toBe(1000);
    expect(client.told).toMatchObject([{ type: 'end', code: 'EXEC_WINDOW' }]);
    expect(client.output.stdout.length).toBe(256 * 1024);
  });

  async function refused(
    id: string,
    change: Record<string, string | undefined> = {},
  ): Promise<[number, string]> {
    const given = Object.entries({ ...headers(), ...change }).filter(([, value]) => value !== undefined);
    const socket = new WebSocket(urlOf(id), EXEC_SUBPROTOCOL, { headers: Object.fromEntries(given) });
    clients.push(socket);
    return new Promise((resolve) => {
      socket.on('error', () => {});
      socket.on('unexpected-response', (request, response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          request.destroy();
          resolve([response.statusCode ?? 0, JSON.parse(Buffer.concat(chunks).toString()).error.code]);
        });
      });
    });
  }

  it('is refused without the token, from other pages, for unknown jobs and for those that do not run', async () => {
    expect(await refused(jobId, { authorization: undefined })).toEqual([401, 'API_UNAUTHENTICATED']);
    expect(await refused(jobId, { authorization: 'Bearer wrong' })).toEqual([401, 'API_UNAUTHENTICATED']);
    expect(await refused(jobId, { origin: 'http://evil.example' })).toEqual([403, 'API_CALLER']);
    expect(await refused(jobId, { host: 'rebound.example' })).toEqual([403, 'API_CALLER']);
    expect(await refused('job-none')).toEqual([404, 'API_NOT_FOUND']);
    agent.ended(jobId);
    await bed.until(jobId, (job) => job.state === 'COMPLETED');
    expect(await refused(jobId)).toEqual([409, 'EXEC_JOB_NOT_RUNNING']);
    expect(orders()).toEqual([]);
  });

  it('is refused while its node cannot be reached', async () => {
    await agent.disconnect();
    await until('the node to be gone', () =>
      bed.logged.some(({ message }) => message === 'node disconnected'),
    );
    expect(await refused(jobId)).toEqual([503, 'EXEC_NODE_UNREACHABLE']);
  });
});
