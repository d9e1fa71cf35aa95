// The privilege split with the built program: an agent that may not start jobs, and a runner that speaks to nobody but
// it. As root the agent is another user; as anybody else both are the same, and all but the users is as real.
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

const isRoot = process.getuid?.() === 0;
const nobody = { uid: 65_534, gid: 65_534 };
const asAgent = isRoot ? { user: nobody } : {};

let bed: Bed;
let agent: Daemon;
let runner: Daemon;
let joinedLines = '';

const at = (...steps: string[]): string => join(bed.folder, ...steps);
const startRunner = (): Promise<Daemon> =>
  bed.start(['runner', '--state-dir', at('runner'), '--runner', at('runner.sock'), ...runnerUser]);
const startAgent = (): Promise<Daemon> =>
  bed.start(['agent', '--state-dir', at('agent'), '--runner', at('runner.sock')], asAgent);
const runnerUser = isRoot ? ['--runner-user', 'nobody'] : [];

beforeAll(async () => {
  bed = createBed();
  const { endpoint } = await bed.start(['scheduler']);
  const joined = await bed.run([
    ...['join', endpoint.url, '--token-file', join(bed.stateDir, 'scheduler', 'join-token')],
    ...['--state-dir', at('agent'), '--runner-state-dir', at('runner'), ...runnerUser],
  ]);
  expect(joined.stderr).toBe('');
  joinedLines = joined.stdout;
  runner = await startRunner();
  agent = await startAgent();
});
afterAll(() => bed.close());

async function killed(daemon: Daemon): Promise<void> {
  daemon.kill('SIGKILL');
  await daemon.finished();
}

const LINES = 25;
const expected = Array.from({ length: LINES }, (_, i) => `line ${i}\n`).join('');
const script = (starts: string): string[] => [
  'sh',
  '-c',
  `echo started >>${starts}; i=0; while [ $i -lt ${LINES} ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 5`,
];

async function expectWhole(id: string, starts: string): Promise<void> {
  expect((await bed.run(['wait', id])).code).toBe(5);
  expect(await readJob(bed, id)).toMatchObject({ state: 'FAILED', epoch: 1, result: { exitCode: 5 } });
  expect((await bed.run(['logs', id])).stdout).toBe(expected);
  expect(readFileSync(starts, 'utf8')).toBe('started\n');
}

describe('an agent with a runner', () => {
  test('starts no job itself: without the socket of its runner it does not start', async () => {
    expect(joinedLines).toContain(`flopd agent --state-dir ${at('agent')} --runner `);
    mkdirSync(at('alone', 'agent'), { recursive: true, mode: 0o700 });
    copyFileSync(at('agent', 'agent', 'node.json'), at('alone', 'agent', 'node.json'));
    const { code, stderr } = await bed.run(['agent', '--state-dir', at('alone')]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/joined with a job runner.*--runner PATH/)]);
  });

  test('runs jobs as before: output, exit code, files, commands beside them, stops', async () => {
    mkdirSync(at('data'));
    writeFileSync(at('data', 'a'), 'alpha\n');
    const run = await bed.run([
      ...['run', '--input', 'data', '--output', 'out', '--'],
      ...['sh', '-c', 'id -u; cat data/a; mkdir out; cp data/a out/b; exit 3'],
    ]);
    expect(run.code, run.stderr).toBe(3);
    const [uid, line] = run.stdout.split('\n');
    expect(line).toBe('alpha');
    if (isRoot) expect(Number(uid)).toBeGreaterThanOrEqual(2_000_000_000);
    expect(readFileSync(at('out', 'b'), 'utf8')).toBe('alpha\n');

    const id = await submit(bed, '--', 'sh', '-c', 'echo up; exec sleep 4242');
    await until('its output', async () => (await bed.run(['logs', id])).stdout === 'up\n');
    const beside = await bed.run(['exec', id, '--', 'sh', '-c', 'echo $FLOPD_JOB_ID; exit 7']);
    expect([beside.code, beside.stdout]).toEqual([7, `${id}\n`]);
    await bed.run(['cancel', id]);
    await untilState(bed, id, 'CANCELLED');

    // What the runner keeps is none of the agent's business.
    if (isRoot) {
      expect(statSync(at('runner', 'runner')).uid).toBe(0);
      expect(statSync(at('agent', 'agent', 'key.pem')).uid).toBe(nobody.uid);
      expect(existsSync(at('agent', 'agent', 'jobs'))).toBe(false);
      const status = readFileSync(`/proc/${agent.pid}/status`, 'utf8');
      expect(/^CapEff:\s*0+$/m.test(status)).toBe(true);
    }
  });

  test('loses no job when it is killed, when the runner is, and when both are', async () => {
    const starts = bed.shared('starts');
    const id = await submit(bed, '--', ...script(starts));
    await until('that it runs', () => readFileSync(starts, 'utf8') !== '');
    await killed(agent);
    agent = await startAgent();
    await killed(runner);
    runner = await startRunner();
    await until('output', async () => (await bed.run(['logs', id])).stdout.includes('line 10\n'));
    await Promise.all([killed(agent), killed(runner)]);
    runner = await startRunner();
    agent = await startAgent();
    await expectWhole(id, starts);

    // The agent, not the runner, is the witness of the scheduler's log.
    const heads = async (log: string): Promise<number> => {
      const { stdout } = await bed.run([
        'audit',
        'list',
        '--path',
        log,
        '--kind',
        'scheduler.head',
        '-o',
        'json',
      ]);
      return (JSON.parse(stdout) as { records: object[] }).records.length;
    };
    await until('a head', async () => (await heads(at('agent', 'agent', 'audit'))) > 0);
    expect(await heads(at('runner', 'runner', 'audit'))).toBe(0);
    const verified = await bed.run(['audit', 'verify', '--witness', at('agent')]);
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
    const agents = ['--path', at('agent', 'agent', 'audit')];
    const against = await bed.run([
      'audit',
      'verify',
      ...agents,
      '--against',
      join(bed.stateDir, 'scheduler', 'audit'),
    ]);
    expect([against.code, against.stdout]).toEqual([0, expect.stringContaining('as witnesses were told')]);
  });

  test('answers for a runner that is away: orders wait or are refused, results are told when it is back', async () => {
    const starts = bed.shared('more-starts');
    const id = await submit(bed, '--', ...script(starts));
    await until('that it runs', () => readFileSync(starts, 'utf8') !== '');
    await killed(runner);
    const later = await submit(bed, '--', 'echo', 'later');
    await until('that the node says so', async () =>
      (await bed.run(['nodes', '-o', 'json'])).stdout.includes('job runner'),
    );
    runner = await startRunner();
    expect((await bed.run(['wait', later])).code).toBe(0);
    await expectWhole(id, starts);
  });
});
