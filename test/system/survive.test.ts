// kill -9 of each daemon in the middle of a job: the job goes on, its output is complete, its exit code is right,
// and it has run once. `seq` in the job's own file tells how often it started.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Bed, createBed, type Daemon, pause, processesOfJob, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

const LINES = 40;
const expected = Array.from({ length: LINES }, (_, i) => `line ${i}\n`).join('');
/** Writes 40 lines in about 4 s, half of the bytes to stderr, and exits 5. */
const script = (starts: string): string[] => [
  'sh',
  '-c',
  `echo started >>${starts}; i=0; while [ $i -lt ${LINES} ]; do echo line $i; echo line $i >&2; i=$((i+1)); sleep 0.1; done; exit 5`,
];

async function killed(daemon: Daemon): Promise<void> {
  daemon.kill('SIGKILL');
  await daemon.finished();
}

async function expectWhole(id: string, starts: string): Promise<void> {
  const waited = await bed.run(['wait', id]);
  expect(waited.code, waited.stderr).toBe(5);
  const job = await readJob(bed, id);
  expect(job).toMatchObject({ state: 'FAILED', epoch: 1, result: { exitCode: 5, endKind: 'exited' } });
  expect(job.result?.usage.durationMs).toBeGreaterThan(3500);
  const logs = await bed.run(['logs', id]);
  expect(logs.stdout).toBe(expected);
  expect(logs.stderr).toBe(expected);
  expect(readFileSync(starts, 'utf8')).toBe('started\n');
}

async function outputOf(id: string): Promise<string> {
  return (await bed.run(['logs', id])).stdout;
}

describe('a running job survives', () => {
  test('kill -9 of `up`, and another one while it is down', async () => {
    const starts = bed.shared('starts');
    const first = await bed.start(['up']);
    const id = await submit(bed, '--', ...script(starts));
    await until('some output', async () => (await outputOf(id)).includes('line 3\n'));
    await killed(first);
    const second = await bed.start(['up']);
    await until('more output', async () => (await outputOf(id)).includes('line 15\n'));
    await killed(second);
    await bed.start(['up']);
    await expectWhole(id, starts);
  });

  test('when it ends while nobody watches', async () => {
    const starts = bed.shared('starts');
    const up = await bed.start(['up']);
    const id = await submit(bed, '--', ...script(starts));
    await untilState(bed, id, 'RUNNING');
    await until('that it runs', () => readFileSync(starts, 'utf8') !== '');
    await killed(up);
    await until('that it has ended', () => processesOfJob(id).length === 0);
    await bed.start(['up']);
    await expectWhole(id, starts);
  });

  test('a clean stop of `up`, which leaves it alone', async () => {
    const starts = bed.shared('starts');
    const up = await bed.start(['up']);
    const id = await submit(bed, '--', ...script(starts));
    await until('that it runs', () => readFileSync(starts, 'utf8') !== '');
    up.kill('SIGTERM');
    await up.finished();
    await bed.start(['up']);
    await expectWhole(id, starts);
  });
});

describe('with the daemons apart, a running job survives', () => {
  /** A scheduler and a joined agent, each with a state directory of its own. */
  async function startApart(): Promise<{
    scheduler: Daemon;
    agent: Daemon;
    agentOptions: { environment: Record<string, string> };
  }> {
    const scheduler = await bed.start(['scheduler']);
    const agentOptions = { environment: { FLOPD_STATE_DIR: join(bed.folder, 'agent-state') } };
    const token = readFileSync(join(bed.stateDir, 'scheduler', 'join-token'), 'utf8').trim();
    const joined = await bed.run(['join', scheduler.endpoint.url, '--token', token], agentOptions);
    expect(joined.code, joined.stderr).toBe(0);
    const agent = await bed.start(['agent'], agentOptions);
    await until('the node', async () => (await bed.run(['nodes', '-o', 'json'])).stdout.includes('"ready"'));
    return { scheduler, agent, agentOptions };
  }

  test('kill -9 of the agent', async () => {
    const starts = bed.shared('starts');
    const { agent, agentOptions } = await startApart();
    const follower = bed.spawn(['run', '--', ...script(starts)]);
    await until('some output', () => follower.stdout().includes('line 3\n'));
    await killed(agent);
    await pause(1000);
    await bed.start(['agent'], agentOptions);
    const end = await follower.finished();
    expect(end.code).toBe(5);
    expect(end.stdout).toBe(expected);
    const id = /job-[0-9a-z]+/.exec((await bed.run(['jobs'])).stdout)?.[0] ?? '';
    await expectWhole(id, starts);
  });

  test('kill -9 of the scheduler, and whoever follows it reads on', async () => {
    const starts = bed.shared('starts');
    const { scheduler } = await startApart();
    const follower = bed.spawn(['run', '--', ...script(starts)]);
    await until('some output', () => follower.stdout().includes('line 3\n'));
    await killed(scheduler);
    await pause(1000);
    await bed.start(['scheduler', '--listen', new URL(scheduler.endpoint.url).host]);
    const end = await follower.finished();
    expect(end.code, end.stderr).toBe(5);
    expect(end.stdout).toBe(expected);
    const id = /job-[0-9a-z]+/.exec((await bed.run(['jobs'])).stdout)?.[0] ?? '';
    await expectWhole(id, starts);
  });

  test('kill -9 of both, started again in either order', async () => {
    const starts = bed.shared('starts');
    const { scheduler, agent, agentOptions } = await startApart();
    const id = await submit(bed, '--', ...script(starts));
    await until('that it runs', () => readFileSync(starts, 'utf8') !== '');
    await Promise.all([killed(agent), killed(scheduler)]);
    // The agent first: it must wait for its scheduler, not give up.
    const again = bed.start(['agent'], agentOptions);
    await pause(500);
    await bed.start(['scheduler', '--listen', new URL(scheduler.endpoint.url).host]);
    await again;
    await expectWhole(id, starts);
  });

  test('and a job cancelled while its agent is away ends when the agent is back', async () => {
    const starts = bed.shared('starts');
    const { agent, agentOptions } = await startApart();
    const id = await submit(bed, '--', 'sh', '-c', `echo started >>${starts}; exec sleep 300`);
    await until('that it runs', () => readFileSync(starts, 'utf8') !== '');
    await untilState(bed, id, 'RUNNING');
    await killed(agent);
    expect((await bed.run(['cancel', id])).code).toBe(0);
    await bed.start(['agent'], agentOptions);
    const job = await untilState(bed, id, 'CANCELLED');
    expect(job.result).toMatchObject({ endKind: 'stopped', signal: 15 });
  });
});
