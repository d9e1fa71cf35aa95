// The scheduler's store of files over real HTTP: uploads that break off, contents that are wrong, keys that do not fit,
// and a disk that is full.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, rmdirSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ErrorView } from '../../../src/protocol/api.ts';
import { encodeEntry, TREE_HEAD } from '../../../src/protocol/files.ts';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { digestOf } from '../../unit/files/parts.ts';
import { type Bed, freshFolder, startBed } from './bed.ts';

let bed: Bed;
const agents: FakeAgent[] = [];
beforeEach(async () => {
  bed = await startBed();
});
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.socket.terminate();
  await bed.close();
});

type Headers = Record<string, string>;
const asUser = (): Headers => ({ authorization: `Bearer ${bed.token}` });

async function ask(method: string, path: string, body: string | Buffer | null = null, headers = asUser()) {
  const response = await fetch(`${bed.url}${path}`, {
    method,
    headers,
    body: typeof body === 'string' ? body : body === null ? null : new Uint8Array(body),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
  const error = isJson && response.status >= 400 ? (JSON.parse(text) as ErrorView).error.code : null;
  return { status: response.status, text, error, headers: response.headers };
}

const put = (text: string | Buffer, headers = asUser()) =>
  ask('PUT', `/v1/files/${digestOf(text)}?offset=0&size=${Buffer.byteLength(text)}`, text, headers);

/** Sends the head and some of the body, and cuts the connection. */
function breakOff(path: string, length: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const outgoing = request(`${bed.url}${path}`, {
      method: 'PUT',
      headers: { ...asUser(), 'content-length': length },
    });
    outgoing.on('error', () => resolve());
    outgoing.write(bytes, () => setImmediate(() => outgoing.destroy()));
    outgoing.on('close', () => resolve());
  });
}

async function received(digest: string): Promise<number> {
  const { headers } = await ask('HEAD', `/v1/files/${digest}`);
  return Number(headers.get('flopd-received-bytes'));
}

async function until<T>(what: string, read: () => Promise<T | null>): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await read();
    if (value !== null) return value;
    if (performance.now() > deadline) throw new Error(`waited for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('a file', () => {
  it('is gone on with where its upload broke off, and read from any place', async () => {
    const bytes = randomBytes(3_000_000);
    const digest = digestOf(bytes);
    await breakOff(`/v1/files/${digest}?offset=0&size=3000000`, 3_000_000, bytes.subarray(0, 1_000_000));
    await until('some bytes', async () => (await received(digest)) || null);
    // The scheduler may not have noticed yet that the first connection is gone.
    const wrong = await until('the end of the first request', async () => {
      const answer = await ask(
        'PUT',
        `/v1/files/${digest}?offset=2999999&size=3000000`,
        bytes.subarray(0, 1),
      );
      return answer.error === 'FILES_BUSY' ? null : answer;
    });
    expect([wrong.status, wrong.error]).toEqual([409, 'FILES_OFFSET']);
    const offset = await received(digest);
    expect(offset).toBeLessThanOrEqual(1_000_000);
    expect((await ask('GET', `/v1/files/${digest}`)).error).toBe('FILES_MISSING');
    const rest = await ask(
      'PUT',
      `/v1/files/${digest}?offset=${offset}&size=3000000`,
      bytes.subarray(offset),
    );
    expect(JSON.parse(rest.text)).toEqual({ receivedBytes: 3_000_000, complete: true });
    const part = await fetch(`${bed.url}/v1/files/${digest}`, {
      headers: { ...asUser(), range: 'bytes=2999990-' },
    });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer())).toEqual(bytes.subarray(2_999_990));
    expect((await ask('HEAD', `/v1/files/${digest}`)).headers.get('content-length')).toBe('3000000');
  });

  it('with other contents than its name says is not kept', async () => {
    const digest = digestOf('right');
    const answer = await ask('PUT', `/v1/files/${digest}?offset=0&size=5`, 'wrong');
    expect([answer.status, answer.error]).toEqual([422, 'FILES_DIGEST']);
    expect((await ask('PUT', `/v1/files/${digest}?offset=0&size=4`, 'right')).error).toBe('FILES_TOO_LONG');
    expect(readdirSync(join(bed.stateDir, 'scheduler', 'files'))).toEqual([]);
    expect(JSON.parse((await put('right')).text)).toMatchObject({ complete: true });
  });

  it.each([
    ['without a key', '/v1/files/DIGEST', {}, 401],
    ['with a wrong key', '/v1/files/DIGEST', { authorization: 'Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAA' }, 401],
    ['by another name', '/v1/files/..%2f..%2ftoken', null, 404],
    ['with capital letters', `/v1/files/${'A'.repeat(64)}`, null, 404],
    ['from behind its end', '/v1/files/DIGEST', { range: 'bytes=9-' }, 416],
    ['from no number', '/v1/files/DIGEST', { range: 'bytes=-1' }, 416],
    ['as a tree that it is not', '/v1/trees/DIGEST/missing', null, 422],
    ['as a tree that is not there', `/v1/trees/${'0'.repeat(64)}/files`, null, 404],
  ])('is not given out %s', async (_, path, headers, status) => {
    await put('known');
    const key = headers === null || 'range' in headers ? asUser() : {};
    const answer = await ask('GET', path.replace('DIGEST', digestOf('known')), null, {
      ...key,
      ...(headers ?? {}),
    });
    expect(answer.status).toBe(status);
  });
});

describe('a tree', () => {
  const files = ['one', 'two', 'three', ''];
  const list =
    TREE_HEAD +
    files
      .map((text, place) =>
        encodeEntry({
          kind: 'file',
          path: `f${place}`,
          sizeBytes: text.length,
          digest: digestOf(text),
          executable: false,
        }),
      )
      .join('');
  const tree = digestOf(list);

  it('is brought by what is missing of it, and must be whole when a job names it', async () => {
    await put(list);
    await put('two');
    const missing = async () => JSON.parse((await ask('GET', `/v1/trees/${tree}/missing`)).text);
    expect(await missing()).toMatchObject({
      files: 4,
      missingFiles: 3,
      missingBytes: 8,
      runs: [
        [0, 1],
        [2, 4],
      ],
    });
    const inputs = [{ path: 'data', kind: 'tree' as const, digest: tree, sizeBytes: 11 }];
    const refused = await bed.call('POST', '/v1/jobs', { version: 1, command: ['true'], inputs });
    expect([refused.status, (refused.body as ErrorView).error.code]).toEqual([409, 'FILES_INPUT_MISSING']);
    expect((refused.body as ErrorView).error.field).toBe('inputs.0.digest');
    expect(JSON.parse((await ask('PUT', `/v1/trees/${tree}/files?from=0`, 'one')).text)).toMatchObject({
      next: 1,
    });
    expect(JSON.parse((await ask('PUT', `/v1/trees/${tree}/files?from=2`, 'three')).text)).toMatchObject({
      next: 4,
    });
    expect(await missing()).toMatchObject({ missingFiles: 0 });
    expect((await ask('GET', `/v1/trees/${tree}/files`)).text).toBe('onetwothree');
    expect((await ask('GET', `/v1/trees/${tree}/files?from=1&to=3&offset=1`)).text).toBe('wothree');
    expect((await bed.submit({ inputs })).state).toBe('PENDING');
  });
});

describe('a node', () => {
  async function nodeWith(name: string) {
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile, name);
    const agent = await connectFake({ url: bed.url, identity, name });
    agents.push(agent);
    const { fileTicket } = await agent.next('welcome');
    const key = (attempt: string): Headers => ({
      authorization: `Bearer ${fileTicket}`,
      'flopd-attempt': attempt,
    });
    return { agent, key };
  }

  it('reads what the inputs of its job name while it has that job, and nothing else', async () => {
    for (const text of ['input', 'other']) await put(text);
    const { agent, key } = await nodeWith('node-a');
    const inputs = [{ path: 'in', kind: 'file' as const, digest: digestOf('input'), sizeBytes: 5 }];
    const { id } = await bed.submit({ inputs });
    await agent.next('start', (order) => order.jobId === id);
    const get = async (text: string, headers: Headers) =>
      (await ask('GET', `/v1/files/${digestOf(text)}`, null, headers)).status;
    expect(await get('input', key(`${id}.1`))).toBe(200);
    expect(await get('other', key(`${id}.1`))).toBe(403);
    expect(await get('input', key(`${id}.2`))).toBe(403);
    expect(await get('input', key('job-0000000000.1'))).toBe(403);
    expect((await put('mine', key(`${id}.1`))).error).toBe('FILES_NOT_NAMED');
    const other = await nodeWith('node-b');
    expect(await get('input', other.key(`${id}.1`))).toBe(403);
    agent.ended(id);
    await bed.until(id, ({ state }) => state === 'COMPLETED');
    expect(await get('input', key(`${id}.1`))).toBe(403);
    await agent.disconnect();
    await until('the end of the session', async () =>
      (await get('input', key(`${id}.1`))) === 401 ? true : null,
    );
  });

  it('brings what the result of its job names as outputs, and nothing else', async () => {
    const { agent, key } = await nodeWith('node-a');
    const { id } = await bed.submit({ outputs: ['out'] });
    await agent.next('start', (order) => order.jobId === id);
    const attempt = key(`${id}.1`);
    expect((await put('result', attempt)).status).toBe(403);
    const output = { path: 'out', kind: 'file' as const, digest: digestOf('result'), sizeBytes: 6 };
    agent.ended(id, { outputs: [{ ...output, executable: false, problem: null }] });
    await bed.until(id, ({ state }) => state === 'COMPLETED');
    expect((await put('other', attempt)).status).toBe(403);
    expect((await put('result', (await nodeWith('node-b')).key(`${id}.1`))).status).toBe(403);
    expect(JSON.parse((await put('result', attempt)).text)).toMatchObject({ complete: true });
    expect((await ask('GET', `/v1/files/${digestOf('result')}`)).text).toBe('result');
  });

  it('is shown in the sentence of its job with what it does before the start', async () => {
    const { agent } = await nodeWith('node-a');
    const { id } = await bed.submit();
    await agent.next('start', (order) => order.jobId === id);
    agent.send({ type: 'jobProgress', jobId: id, epoch: 1, text: 'fetching inputs, 1 MB of 2 MB' });
    const job = await bed.until(id, ({ reason }) => reason.includes('fetching'));
    expect(job.reason).toBe('ordered to node-a, fetching inputs, 1 MB of 2 MB');
  });
});

/** A small disk, or null where nobody may make one. */
function mountSmall(): string | null {
  const folder = freshFolder();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    rmdirSync(folder);
    return null;
  }
}

describe('a small disk', () => {
  const folder = mountSmall();
  it.skipIf(folder === null)('is never filled by files: jobs are taken as before', async () => {
    const own = bed;
    bed = await startBed(folder ?? '');
    try {
      const statuses: number[] = [];
      for (let round = 0; round < 12; round += 1) statuses.push((await put(randomBytes(4_000_000))).status);
      expect(statuses.slice(0, 3)).toEqual([200, 200, 200]);
      expect(statuses.at(-1)).toBe(507);
      expect((await put('x'.repeat(6_000_000))).error).toBe('FILES_DISK_FULL');
      for (let round = 0; round < 20; round += 1) expect((await bed.submit()).state).toBe('PENDING');
      expect((await put('small')).status).toBe(200);
    } finally {
      await bed.scheduler.close();
      // libsql lets go of its files when they are collected.
      execFileSync('umount', ['-l', folder ?? '']);
      rmdirSync(folder ?? '');
      bed = own;
    }
  });
});

it('tells one who still sends why his file is not taken, on a connection that goes on', async () => {
  const bytes = Buffer.alloc(4_000_000);
  const { port } = new URL(bed.url);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const answers: string[] = [];
  for (const offset of [5, 0]) {
    const path = `/v1/files/${digestOf(bytes)}?offset=${offset}&size=4000000`;
    answers.push(
      await new Promise<string>((resolve, reject) => {
        const outgoing = request(
          { port, path, method: 'PUT', agent, headers: asUser() },
          async (response) => {
            outgoing.end();
            let text = '';
            for await (const chunk of response) text += chunk;
            resolve(`${response.statusCode} ${text.slice(0, 60)}`);
          },
        );
        outgoing.on('error', reject);
        // More than any buffer on the way holds, so that the answer comes first.
        for (let at = 0; at < bytes.length; at += 65_536) outgoing.write(bytes.subarray(at, at + 65_536));
        if (offset === 0) outgoing.end();
      }),
    );
  }
  agent.destroy();
  expect(answers[0]).toContain('409 {"error":{"code":"FILES_OFFSET"');
  expect(answers[1]).toBe('200 {"receivedBytes":4000000,"complete":true}');
});
