// The audit log over real processes: what people and nodes decide stands in it once, on both sides; what is changed behind
// its back is found, by this host or by the other.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startAgent, untilReady } from './apart.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { submit, untilState } from './job-view.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

interface LogRecord {
  readonly owner: string;
  readonly kind: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

const token = (stateDir = bed.stateDir): string =>
  readFileSync(join(stateDir, 'scheduler', 'token'), 'utf8').trim();

async function call(daemon: Daemon, path: string, body: object, given = token()): Promise<unknown> {
  const response = await fetch(`${daemon.endpoint.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${given}` },
    body: JSON.stringify(body),
  });
  return response.json();
}

async function list(...flags: string[]): Promise<readonly LogRecord[]> {
  const { code, stdout, stderr } = await bed.run(['audit', 'list', '--limit', '0', '-o', 'json', ...flags]);
  expect(code, stderr).toBe(0);
  return (JSON.parse(stdout) as { records: LogRecord[] }).records;
}

/** How far the scheduler's log has come by its own signed word. */
function headSequence(): number {
  const text = readFileSync(join(bed.stateDir, 'scheduler', 'audit', 'audit-head.json'), 'utf8');
  return JSON.parse(JSON.parse(text).body).sequence;
}

async function untilRecorded(kind: string): Promise<void> {
  await until(`a record ${kind}`, async () => (await list('--kind', kind)).length > 0);
}

async function stop(daemon: Daemon): Promise<void> {
  daemon.kill('SIGTERM');
  await daemon.finished();
}

const verify = (...flags: string[]) => bed.run(['audit', 'verify', ...flags]);

test('every decision stands in the log once, with who made it, and without secrets or the words of jobs', async () => {
  const up = await bed.start(['up', '--node-name', 'host-a']);
  const secret = 'a-word-of-the-job';
  const failed = await bed.run([
    'run',
    '--name',
    secret,
    '--env',
    `WORD=${secret}`,
    '--',
    'sh',
    '-c',
    `echo ${secret}; exit 3`,
  ]);
  expect(failed.code).toBe(3);
  const id = await submit(bed, '--', 'sleep', '300');
  await untilState(bed, id, 'RUNNING');
  expect((await bed.run(['exec', id, '--', 'true'])).code).toBe(0);
  await bed.run(['cancel', id]);
  await untilState(bed, id, 'CANCELLED');
  await bed.run(['drain', 'host-a', '--reason', 'new\nfan']);
  await bed.run(['resume', 'host-a']);
  await call(up, '/v1/jobs', {}, 'not-the-token');
  const user = (await call(up, '/v1/users', { name: 'ann', role: 'viewer' })) as { token: string };
  await call(up, '/v1/users/ann/role', { role: 'operator' });
  await call(up, '/v1/users/ann/revoke', {});
  const joining = (await call(up, '/v1/join-tokens', {})) as { id: string; token: string };
  await call(up, `/v1/join-tokens/${joining.id}/revoke`, {});
  await call(up, '/v1/nodes/host-a/label', { labels: { rack: '7' } });
  await untilRecorded('node.changed');
  const records = await list();
  const counted = (kind: string): number => records.filter((one) => one.kind === kind).length;
  for (const kind of ['job.submitted', 'job.ordered', 'job.ended', 'attempt.started', 'attempt.ended'])
    expect(counted(kind), kind).toBe(2);
  // Two jobs and a command beside one of them.
  expect(counted('order.accepted')).toBe(3);
  const once = [
    'job.cancelled',
    'job.entered',
    'order.stopped',
    'node.enrolled',
    'node.drained',
    'node.resumed',
  ];
  const access = [
    'access.denied',
    'user.created',
    'user.changed',
    'user.revoked',
    'token.created',
    'token.revoked',
  ];
  for (const kind of [...once, ...access, 'node.changed']) expect(counted(kind), kind).toBe(1);
  expect(records.find(({ kind }) => kind === 'node.drained')?.facts).toMatchObject({
    by: 'local',
    reason: 'new\ufffdfan',
  });

  const texts = [join(bed.stateDir, 'scheduler', 'audit'), join(bed.stateDir, 'agent', 'audit')]
    .flatMap((folder) => readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8')))
    .join('\n');
  const secrets = [secret, token(), user.token, joining.token];
  for (const text of secrets) {
    expect(text.length).toBeGreaterThan(8);
    expect(texts).not.toContain(text);
  }
  const table = await bed.run(['audit', 'list', '--job', id]);
  expect(table.stdout).toContain('job.cancelled');
  const whole = await verify();
  expect(whole.code, whole.stdout).toBe(0);
  expect(whole.stdout.match(/the chain holds/g)).toHaveLength(2);
});

test('the chain holds after kill -9; a byte that is changed then is found, told by the next start, and never mended', async () => {
  const first = await bed.start(['up']);
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
  first.kill('SIGKILL');
  await first.finished();
  expect((await verify()).code).toBe(0);
  const path = join(bed.stateDir, 'scheduler', 'audit', 'audit-000001.jsonl');
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.replace('"by":"local"', '"by":"nobody"'));
  const found = await verify();
  expect(found.code).toBe(1);
  expect(found.stdout).toMatch(/record \d+, audit-000001\.jsonl line \d+: it was changed/);
  const second = await bed.start(['up'], { environment: { FLOPD_LOG_LEVEL: 'error' } });
  expect(second.stderr()).toContain('the log is damaged');
  const page = await (await fetch(`${second.endpoint.url}/metrics`)).text();
  expect(page).toMatch(/^flopd_scheduler_audit_healthy 0$/m);
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
  await untilRecorded('chain.broken');
  expect((await verify()).stdout).toContain('found damaged');
  expect(readFileSync(path, 'utf8')).toContain('"by":"nobody"');
});

test('a node that puts back an older copy of its own log is found by its scheduler', async () => {
  const node = join(bed.folder, 'node');
  const environment = { FLOPD_STATE_DIR: node };
  const scheduler = await bed.start(['scheduler']);
  const joinToken = readFileSync(join(bed.stateDir, 'scheduler', 'join-token'), 'utf8').trim();
  const joined = await bed.run(['join', scheduler.endpoint.url, '--token', joinToken], { environment });
  expect(joined.code, joined.stderr).toBe(0);
  const agent = async (): Promise<Daemon> => bed.start(['agent'], { environment });
  const first = await agent();
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
  await stop(first);
  const log = join(node, 'agent', 'audit');
  const kept = join(bed.folder, 'kept');
  mkdirSync(kept);
  cpSync(log, kept, { recursive: true });
  const second = await agent();
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
  await stop(second);
  const third = await agent();
  await until('two heads', async () => (await list('--kind', 'node.head')).length >= 3);
  await stop(third);
  const against = ['--against', join(bed.stateDir, 'scheduler', 'audit')];
  expect((await verify('--path', log, ...against)).code).toBe(0);

  rmSync(log, { recursive: true });
  cpSync(kept, log, { recursive: true });
  expect((await verify('--path', log)).code).toBe(0);
  expect((await verify('--path', log, ...against)).stdout).toContain('it is not there any more');
  await agent();
  await untilRecorded('node.rewound');
});

test('a scheduler whose own log was written anew is found by its node, and by the log of that node', async () => {
  const first = await bed.start(['scheduler']);
  const node = await startAgent(bed, first, 'node-a');
  const log = join(node.options.environment.FLOPD_STATE_DIR ?? '', 'agent', 'audit');
  const told = (kind: string) => list('--path', log, '--kind', kind);
  const head = await until('a head', async () => (await told('scheduler.head'))[0] ?? null);
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
  // A new session tells how far the log has come by now.
  await until('a later head', async () => headSequence() > Number(head.facts.sequence));
  await stop(node.daemon);
  await bed.start(['agent'], node.options);
  await untilReady(bed, 'node-a');
  await until('two heads', async () => (await told('scheduler.head')).length >= 2);
  const honest = await verify('--witness', log);
  expect(honest.code, honest.stdout + honest.stderr).toBe(0);
  await stop(first);
  rmSync(join(bed.stateDir, 'scheduler', 'audit'), { recursive: true });
  await bed.start(['scheduler', '--listen', new URL(first.endpoint.url).host]);
  await until('the node to notice', async () => (await told('scheduler.rewound')).length > 0);
  expect((await verify()).code).toBe(0);
  const found = await verify('--witness', log);
  expect(found.code).toBe(1);
  expect(found.stdout).toContain('was told of');
});
