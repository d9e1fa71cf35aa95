// Attack A33 over real processes: lists of trees (this house's archives) that would write elsewhere or make much of little,
// and outputs that are no plain files. What is refused is refused before a byte of it is placed.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bed, createBed, type Daemon } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

const HEAD = '["flopd-tree",1]\n';
const CACHE = '64MiB';
const GIBI = 1024 ** 3;

let bed: Bed;
let up: Daemon;
/** Where an attack would leave a mark. */
let outside = '';
const digestOf = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const small = 'harmless\n';
const big = Buffer.alloc(1024 * 1024);

beforeAll(async () => {
  bed = createBed();
  outside = join(bed.folder, 'outside');
  mkdirSync(outside);
  up = await bed.start(['up', '--job-cache', CACHE]);
  for (const bytes of [Buffer.from(small), big]) expect((await bring(bytes)).status).toBe(200);
});
afterAll(() => bed.close());

async function ask(
  method: string,
  path: string,
  body?: string | Uint8Array,
): Promise<{ status: number; body: string }> {
  const token = readFileSync(join(bed.stateDir, 'scheduler', 'token'), 'utf8').trim();
  const response = await fetch(`${up.endpoint.url}${path}`, {
    method,
    // Long lists keep this process busy for seconds, after which a connection that was kept may be closed already.
    headers: { authorization: `Bearer ${token}`, connection: 'close' },
    ...(body === undefined
      ? {}
      : { body: typeof body === 'string' ? body : new Blob([Uint8Array.from(body)]) }),
  });
  return { status: response.status, body: await response.text() };
}

const bring = (bytes: Uint8Array) =>
  ask('PUT', `/v1/files/${digestOf(bytes)}?offset=0&size=${bytes.length}`, bytes);

/** Brings a list and submits a job with it as its input; null where that is refused, else the job's id. */
async function submitTree(list: string, sizeBytes: number): Promise<{ id: string | null; said: string }> {
  const bytes = Buffer.from(list);
  const brought = await bring(bytes);
  if (brought.status >= 400) return { id: null, said: brought.body };
  const spec = {
    version: 1,
    command: ['sh', '-c', 'echo ran; find in | head -20'],
    inputs: [{ path: 'in', kind: 'tree', digest: digestOf(bytes), sizeBytes }],
  };
  const { status, body } = await ask('POST', '/v1/jobs', JSON.stringify(spec));
  return status === 201
    ? { id: (JSON.parse(body) as { id: string }).id, said: '' }
    : { id: null, said: body };
}

async function expectRefused(list: string, sizeBytes: number): Promise<string> {
  const { id, said } = await submitTree(list, sizeBytes);
  if (id === null) {
    expect(said).toMatch(/"code":"[A-Z_]+"/);
    return said;
  }
  const job = await untilState(bed, id, 'FAILED_TO_START', 'COMPLETED', 'FAILED', 'CANCELLED');
  expect(job.state).toBe('FAILED_TO_START');
  expect(job.result?.stdoutBytes).toBe(0);
  return job.reason;
}

async function expectUnharmed(): Promise<void> {
  expect(existsSync(join(outside, 'x'))).toBe(false);
  expect(existsSync('/flopd-test-x')).toBe(false);
  expect((await ask('GET', '/healthz')).status).toBe(200);
}

const file = (path: string, size = small.length, digest = digestOf(small)): string =>
  `${JSON.stringify(['f', path, size, digest])}\n`;
const folder = (path: string): string => `${JSON.stringify(['d', path])}\n`;
const link = (path: string, target: string): string => `${JSON.stringify(['l', path, target])}\n`;

describe('a list of a tree', () => {
  test('that is good is placed', async () => {
    const { id } = await submitTree(`${HEAD}${folder('a')}${file('a/x')}${link('b', 'a/x')}`, small.length);
    expect((await untilState(bed, id ?? '', 'COMPLETED', 'FAILED', 'FAILED_TO_START')).state).toBe(
      'COMPLETED',
    );
  });

  test.each([
    ['a step upwards', () => file('../x')],
    ['steps upwards inside', () => `${folder('a')}${file('a/../../x')}`],
    ['an absolute path', () => file('/flopd-test-x')],
    ['a folder upwards', () => folder('..')],
    ['a link out, and a file through it', () => `${link('a', outside)}${file('a/x')}`],
    ['a link up, and a file through it', () => `${link('a', '..')}${file('a/x')}`],
    ['a file through a link of the tree', () => `${folder('a')}${link('b', 'a')}${file('b/x')}`],
    ['a link that leads out', () => link('a', '../../../../etc/passwd')],
    ['a link that leads out by a detour', () => `${folder('a')}${link('b', 'a/../../x')}`],
    ['a name twice', () => `${file('x')}${file('x')}`],
    ['a file below a file', () => `${file('a')}${file('a/x')}`],
    ['a NUL in a name', () => file('a\0b')],
    ['a hard link, as archives have', () => `${JSON.stringify(['h', 'x', '/etc/passwd'])}\n`],
    ['a device, as archives have', () => `${JSON.stringify(['c', 'x', 1, 3])}\n`],
    [
      'a hundred and one folders deep',
      () =>
        Array.from({ length: 101 }, (_, n) =>
          folder(
            Array(n + 1)
              .fill('d')
              .join('/'),
          ),
        ).join(''),
    ],
  ])('with %s is refused', async (_, lines) => {
    await expectRefused(HEAD + lines(), small.length);
    await expectUnharmed();
  });

  test('that makes 10 GiB of 10 KiB is refused, announced or not', async () => {
    // One file of a mebibyte under many names.
    const names = Array.from({ length: 10 * 1024 }, (_, n) => `f${String(n).padStart(6, '0')}`);
    const digest = digestOf(big);
    const list = HEAD + names.map((name) => file(name, big.length, digest)).join('');
    await expectRefused(list, 1024);
    expect(await expectRefused(list, 10 * GIBI)).toMatch(/cache|larger|more than/);
    // A size that is a lie.
    await expectRefused(`${HEAD}${file('x', 10 * GIBI, digestOf(small))}`, small.length);
    await expectUnharmed();
  });

  test('with more than a million entries is refused', { timeout: 120_000 }, async () => {
    const names = Array.from({ length: 1_000_001 }, (_, n) => folder(`d${String(n).padStart(7, '0')}`));
    await expectRefused(HEAD + names.join(''), 0);
    await expectUnharmed();
  });
});

test('outputs that are no plain files, or more than there is room for, are left out and said', {
  timeout: 120_000,
}, async () => {
  const script = [
    'mkdir out odd many; echo kept >out/kept',
    `ln -s ${outside} out/folder; ln -s /etc/passwd out/file; ln -s ../../.. out/up`,
    'mkfifo odd/pipe; mknod odd/null c 1 3 2>/dev/null; ln /etc/passwd odd/hard 2>/dev/null',
    'truncate -s 10G sparse; i=0; while [ $i -lt 300 ]; do : >many/$i; i=$((i+1)); done; true',
  ].join('\n');
  const outputs = ['out', 'odd', 'sparse', 'many'];
  const flags = outputs.flatMap((path) => ['--output', path]);
  const id = await submit(bed, ...flags, '--', 'sh', '-c', script);
  await untilState(bed, id, 'COMPLETED');
  const { result } = (await readJob(bed, id)) as unknown as {
    result: { outputs: { path: string; digest: string | null; problem: string | null }[] };
  };
  const of = (path: string) => result.outputs.find((one) => one.path === path);
  // Ten gibibytes that took no room where they lay are not read at all.
  expect(of('sparse')).toMatchObject({ digest: null, problem: expect.stringContaining('quota') });
  expect(of('odd')).toMatchObject({ digest: null, problem: expect.stringContaining('pipe') });
  expect(of('many')?.digest).toMatch(/^[0-9a-f]{64}$/);
  expect(of('out')?.problem).toContain('left out');
  const fetched = await bed.run(['fetch', id, 'out', '--to', 'here']);
  expect(fetched.code, fetched.stderr).toBe(0);
  const kept = join(bed.folder, 'here', 'out');
  expect(readFileSync(join(kept, 'kept'), 'utf8')).toBe('kept\n');
  for (const name of ['folder', 'file', 'up'])
    expect(statSync(join(kept, name), { throwIfNoEntry: false })).toBe(undefined);
  await expectUnharmed();
});
