// Whatever comes in over HTTP and the link: refused with the right code, and the next honest request is served.
import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { connectFake, enrolFake, type FakeAgent, type FakeIdentity } from '../../fakes/agent.ts';
import { type Bed, startBed } from './bed.ts';

let bed: Bed;
let identity: FakeIdentity;
beforeAll(async () => {
  bed = await startBed();
  identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
});
afterAll(() => bed.close());

/** The server is alive and did not take anything of it. */
async function expectUnharmed(): Promise<void> {
  const { status, body } = await bed.call('GET', '/v1/jobs');
  expect(status).toBe(200);
  expect(body).toEqual({ jobs: [] });
}

/** Sends raw bytes and returns what comes back until the connection ends. */
function raw(text: string | Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectTcp(Number(new URL(bed.url).port), '127.0.0.1', () => socket.end(text));
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()));
  });
}

describe('hostile HTTP', () => {
  it('answers HEAD as GET, without a body', async () => {
    for (const path of ['/healthz', '/readyz', '/v1/overview']) {
      const response = await fetch(`${bed.url}${path}`, { method: 'HEAD' });
      expect(response.status).toBe(200);
      expect(Number(response.headers.get('content-length'))).toBeGreaterThan(0);
      expect(await response.text()).toBe('');
    }
    expect((await fetch(`${bed.url}/v1/jobs`, { method: 'HEAD' })).status).toBe(401);
    // No dashboard here: not found, but not the wrong method either.
    expect((await fetch(`${bed.url}/`, { method: 'HEAD' })).status).toBe(404);
  });

  it('does not call it an error when a client leaves in the middle of its request', async () => {
    const before = bed.logged.length;
    const head = `POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${bed.token}\r\n`;
    for (const leave of ['resetAndDestroy', 'destroy', 'end'] as const) {
      const socket = connectTcp(Number(new URL(bed.url).port), '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      const gone = new Promise((resolve) => socket.once('close', resolve));
      await new Promise<void>((resolve) =>
        socket.write(`${head}Content-Length: 100\r\n\r\n{"version`, () => resolve()),
      );
      socket[leave]();
      await gone;
    }
    await expectUnharmed();
    expect(bed.logged.slice(before)).toEqual([]);
  });

  it.each([
    ['no token', null],
    ['an empty token', ''],
    ['a wrong token', 'wrong'],
  ])('starts nothing with %s', async (_name, token) => {
    for (const [method, path] of [
      ['POST', '/v1/jobs'],
      ['GET', '/v1/jobs'],
      ['GET', '/v1/nodes'],
      ['GET', '/v1/jobs/job-a/follow'],
      ['POST', '/v1/jobs/job-a/cancel'],
      ['GET', '/v1/nothing'],
      ['DELETE', '/v1/jobs'],
    ] as const) {
      const { status, body } = await bed.call(
        method,
        path,
        method === 'POST' ? { version: 1, command: ['true'] } : undefined,
        token,
      );
      expect(status).toBe(401);
      expect(body).toMatchObject({ error: { code: 'API_UNAUTHENTICATED' } });
    }
    const almost = `${bed.token.slice(0, -1)}${bed.token.endsWith('A') ? 'B' : 'A'}`;
    expect((await bed.call('GET', '/v1/jobs', undefined, almost)).status).toBe(401);
    await expectUnharmed();
  });

  const spec = (change: object) => JSON.stringify({ version: 1, command: ['true'], ...change });
  it.each([
    ['an unknown field', spec({ gpus: 8 }), 'gpus'],
    ['an unknown field inside', spec({ resources: { cpus: 1, gpu: 1 } }), 'resources.gpu'],
    ['a number as text', spec({ priority: '1' }), 'priority'],
    ['a list where text belongs', spec({ command: [['sh']] }), 'command.0'],
    ['text where a list belongs', spec({ command: 'rm -rf /' }), 'command'],
    ['a NUL', spec({ command: ['a\0b'] }), 'command.0'],
    [
      '2^53 + 1',
      '{"version":1,"command":["true"],"resources":{"memoryBytes":9007199254740993}}',
      'resources.memoryBytes',
    ],
    ['1e999', '{"version":1,"command":["true"],"timeLimitMs":1e999}', 'timeLimitMs'],
    ['a negative zero', '{"version":1,"command":["true"],"resources":{"cpus":-0}}', 'resources.cpus'],
    ['too long a command', spec({ command: ['x'.repeat(200_000)] }), 'command.0'],
    ['a control character in the name', spec({ name: 'a\nb' }), 'name'],
    ['an empty program', spec({ command: [''] }), 'command.0'],
    ['a wrong version', spec({ version: 2 }), 'version'],
    ['a prototype', '{"version":1,"command":["true"],"__proto__":{"x":1}}', '__proto__'],
    [
      'a prototype as variable',
      '{"version":1,"command":["true"],"environment":{"__proto__":"x"}}',
      '__proto__',
    ],
    ['half of a text', '{"version":1,"comm', null],
    ['no JSON', 'version=1', null],
    ['ten thousand brackets', '['.repeat(10_000), null],
    ['null', 'null', null],
  ])('refuses %s and names the field', async (_name, body, field) => {
    const answer = await bed.call('POST', '/v1/jobs', body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ error: { field } });
    await expectUnharmed();
  });

  it('refuses bodies that are too long, announced or not', async () => {
    const huge = 'x'.repeat(2 * 1024 * 1024);
    const announced = await bed.call('POST', '/v1/jobs', huge).catch(() => null);
    // The server may close before all of it was sent.
    if (announced !== null) expect(announced.status).toBe(413);
    const head = `POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${bed.token}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunk = `80000\r\n${'x'.repeat(0x80000)}\r\n`;
    expect(await raw(`${head}${chunk.repeat(3)}0\r\n\r\n`)).toMatch(/^(HTTP\/1.1 413|$)/);
    await expectUnharmed();
  });

  it('refuses bytes that are no UTF-8', async () => {
    const body = Buffer.concat([
      Buffer.from('{"version":1,"command":["'),
      Buffer.of(0xff, 0xc0),
      Buffer.from('"]}'),
    ]);
    const response = await fetch(`${bed.url}/v1/jobs`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bed.token}` },
      body,
    });
    expect(response.status).toBe(400);
  });

  it.each([
    ['a foreign Host', 'GET /v1/overview HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n', 403],
    [
      'a foreign Origin',
      'GET /v1/overview HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n',
      403,
    ],
    ['no Host', 'GET /v1/overview HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    [
      '2000 headers',
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${'a: b\r\n'.repeat(2000)}\r\n`,
      431,
    ],
    [
      'a header of 64 KiB',
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: ${'y'.repeat(65_536)}\r\n\r\n`,
      431,
    ],
    ['no HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400],
    [
      'a bad escape',
      `GET /v1/jobs/%zz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\nConnection: close\r\n\r\n`,
      400,
    ],
    ['a path upwards', 'GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 401],
    [
      'an upgrade elsewhere',
      'GET /other HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      404,
    ],
    [
      'an upgrade to nonsense',
      'GET /v1/link HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: nonsense\r\nSec-WebSocket-Protocol: flopd.v1\r\n\r\n',
      400,
    ],
    [
      'an upgrade from a page',
      'GET /v1/link HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: flopd.v1\r\n\r\n',
      403,
    ],
    [
      'an upgrade without the subprotocol',
      'GET /v1/link HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
      400,
    ],
  ])('answers %s with a refusal', async (_name, text, status) => {
    expect(await raw(text.replace('TOKEN', bed.token))).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    await expectUnharmed();
  });

  it.each([
    ['GET', '/v1/jobs?limit=-1', 400],
    ['GET', '/v1/jobs?limit=1e9', 400],
    ['GET', '/v1/jobs?state=SLEEPING', 400],
    ['GET', '/v1/jobs/job-none', 404],
    ['GET', '/v1/jobs/%00', 404],
    ['GET', "/v1/jobs/job-'%20OR%201=1", 404],
    ['GET', '/v1/jobs/job-none/output?stream=stdin', 400],
    ['GET', '/v1/nodes/none', 404],
    ['PUT', '/v1/jobs', 405],
    ['POST', '/healthz', 401],
    ['GET', '/', 404],
  ])('%s %s is answered with %i', async (method, path, status) => {
    expect((await bed.call(method, path)).status).toBe(status === 401 ? 405 : status);
  });

  it('enrols nobody without the join token, and the same key once', async () => {
    const request = { version: 1, token: 'wrong', publicKey: identity.publicKey, name: 'x' };
    expect((await bed.call('POST', '/v1/enrol', request, null)).status).toBe(401);
    expect((await bed.call('POST', '/v1/enrol', { ...request, token: bed.token }, null)).status).toBe(401);
    const { readFileSync } = await import('node:fs');
    const token = readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim();
    const again = await bed.call('POST', '/v1/enrol', { ...request, token }, null);
    expect(again).toMatchObject({ status: 200, body: { nodeId: identity.nodeId } });
    const badKey = await bed.call('POST', '/v1/enrol', { ...request, token, publicKey: 'AAAA' }, null);
    expect(badKey).toMatchObject({ status: 400, body: { error: { field: 'publicKey' } } });
  });
});

describe('a hostile agent', () => {
  const connect = (alter: (hello: object) => object): Promise<FakeAgent> =>
    connectFake({ url: bed.url, identity, alter });

  it.each([
    ['an unknown node', (hello: object) => ({ ...hello, nodeId: 'node-unknown' }), 4404],
    ['a wrong proof', (hello: object) => ({ ...hello, proof: Buffer.alloc(64).toString('base64') }), 4401],
    ['a proof for other facts', (hello: object) => ({ ...hello, generation: 99 }), 4401],
    ['another version', (hello: object) => ({ ...hello, versions: { min: 3, max: 4 } }), 4426],
    [
      'a field that must be understood',
      (hello: object) => ({ ...hello, admin: true, critical: ['admin'] }),
      4400,
    ],
    ['a field with a name of every object', (hello: object) => ({ ...hello, constructor: {} }), 4400],
    ['a message before the hello', () => ({ type: 'heartbeat' }), 4400],
    ['an unknown type', () => ({ type: 'shutdown' }), 4400],
    ['a million jobs', (hello: object) => ({ ...hello, jobs: Array(100_001).fill(0) }), 4400],
  ])('is cut off for %s', async (_name, alter, code) => {
    const agent = await connect(alter);
    expect((await agent.closed).code).toBe(code);
    await expectUnharmed();
  });

  it('is taken without fields and optional messages that are unknown here', async () => {
    const agent = await connect((hello) => ({
      ...hello,
      admin: true,
      inventory: { ...(hello as { inventory: object }).inventory, qubits: 3 },
    }));
    await agent.next('welcome');
    agent.send({ type: 'praise', optional: true, words: ['well done'] });
    agent.send({ type: 'heartbeat', sequence: 5, mood: 'good' });
    expect(await agent.next('heartbeat', ({ echo }) => echo === 5)).toBeDefined();
    await agent.disconnect();
    await expectUnharmed();
  });

  it('cannot replay a hello of another connection', async () => {
    let recorded: object = {};
    const first = await connect((hello) => {
      recorded = hello;
      return hello;
    });
    await first.next('welcome');
    const second = await connect(() => recorded);
    expect((await second.closed).code).toBe(4401);
    await first.disconnect();
  });

  it.each([
    ['no JSON', 'hello', 4400],
    ['deep JSON', '['.repeat(100_000), 4400],
    ['a prototype', '{"type":"heartbeat","__proto__":{}}', 4400],
    ['a second hello', null, 4400],
    ['a frame of an unknown kind', Buffer.of(9, 9, 9), 4400],
    ['an empty frame', Buffer.alloc(0), 4400],
    ['telemetry before its dictionary', Buffer.of(1, 0x81, 0, 0, 0, 0), 4400],
    ['an output frame cut short', Buffer.of(2, 1, 1, 40, 106), 4400],
    ['a frame beyond the limit', Buffer.alloc(1024 * 1024 + 1), 1009],
  ])('is cut off after its welcome for %s', async (_name, input, code) => {
    let own: object = {};
    const agent = await connect((hello) => {
      own = hello;
      return hello;
    });
    await agent.next('welcome');
    agent.socket.send(input ?? JSON.stringify(own));
    expect((await agent.closed).code).toBe(code);
    await expectUnharmed();
  });

  it('gets nothing for a stamp that no calendar can show', async () => {
    const agent = await connect((hello) => hello);
    await agent.next('welcome');
    const { id } = await bed.submit();
    await agent.next('start');
    agent.ended(id, { startedAtMs: 1e300, endedAtMs: -1e300 });
    expect(await bed.until(id, (job) => job.state === 'COMPLETED')).toMatchObject({
      startedAt: null,
      endedAt: null,
    });
    await agent.disconnect();
  });

  it('survives sockets that say nothing, and those that vanish', async () => {
    const sockets = Array.from(
      { length: 50 },
      () => new WebSocket(`${bed.url.replace('http', 'ws')}/v1/link`, 'flopd.v1'),
    );
    for (const socket of sockets) socket.on('error', () => {});
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.on('open', resolve))));
    for (const socket of sockets) socket.terminate();
    const agent = await connectFake({ url: bed.url, identity });
    await agent.disconnect();
  });
});
