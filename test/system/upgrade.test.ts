// An agent is replaced by a build of the next version while a hundred jobs run, and then rolled back; the next version
// speaks a newer protocol, sends fields that this one does not know, and writes records that it does not know into the
// journal (src/protocol/next.ts). Nothing of that disturbs a job.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Apart, startAgent, untilReady } from './apart.ts';
import { type Bed, createBed, type Daemon, root, until } from './bed.ts';
import { type JobJson, readJob, submit, untilState } from './job-view.ts';

const JOBS = 100;
const DEADLINE_MS = 90_000;
let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

/** Builds the next version into a folder of its own. */
function buildNext(folder: string): string {
  mkdirSync(folder);
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  cpSync(join(root, 'native', 'build'), join(folder, 'native', 'build'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  execFileSync(process.execPath, [join(root, 'src', 'build.mjs')], {
    env: { ...process.env, FLOPD_NEXT: '1', FLOPD_DIST: join(folder, 'dist') },
    stdio: 'pipe',
  });
  return folder;
}

test('a hundred running jobs are not disturbed by an agent of the next version, nor by the way back', async () => {
  const next = buildNext(join(bed.folder, 'next'));
  const scheduler = await bed.start(['scheduler']);
  const agent = await startAgent(bed, scheduler, 'node-a');
  const [ledger, gate] = [join(bed.folder, 'ledger'), join(bed.folder, 'gate')];
  execFileSync('mkfifo', [gate]);
  chmodSync(gate, 0o666);
  // Blocks until somebody opens the gate for writing.
  const script = ['sh', '-c', `echo $FLOPD_JOB_ID >>${ledger}; read line <${gate}; echo done`];
  const starts = (): readonly string[] => readFileSync(ledger, 'utf8').trimEnd().split('\n');
  writeFileSync(ledger, '');
  chmodSync(ledger, 0o666);

  const submitted = await bed.run([
    'run',
    '--detach',
    '--array',
    `1-${JOBS}`,
    '--cpus',
    '0.01',
    '--',
    ...script,
  ]);
  expect(submitted.code, submitted.stderr).toBe(0);
  await until('all of them', () => starts().length === JOBS, DEADLINE_MS);
  const running = await until('that all are known to run', async () => {
    const jobs = await allJobs();
    return jobs.length === JOBS && jobs.every(({ state }) => state === 'RUNNING') ? jobs : null;
  });

  const swap = async (from: Daemon, to: Apart['options']): Promise<Daemon> => {
    from.kill('SIGTERM');
    await from.finished();
    const daemon = await bed.start(['agent'], to);
    await untilReady(bed, 'node-a');
    return daemon;
  };
  const upgraded = await swap(agent.daemon, { ...agent.options, program: next });
  // What starts and ends under the next version stands in the journal in its words.
  const during = await submit(bed, '--cpus', '0.01', '--', ...script);
  await untilState(bed, during, 'RUNNING');
  const ended = await bed.run(['run', '--cpus', '0.01', '--', 'sh', '-c', 'exit 9']);
  expect(ended.code, ended.stderr).toBe(9);
  const journal = (): string => readFileSync(join(bed.folder, 'state-node-a', 'agent', 'journal'), 'utf8');
  await until('its records', () => journal().includes('fromNext'));

  const back = await swap(upgraded, agent.options);
  expect(await readJob(bed, during)).toMatchObject({ state: 'RUNNING', epoch: 1 });
  expect(await allJobs()).toEqual(expect.arrayContaining(running.map(unchanged)));
  await until('the log', () => back.stdout().includes('not understood'));

  // And a scheduler of the next version before an agent of this one.
  scheduler.kill('SIGTERM');
  await scheduler.finished();
  await bed.start(['scheduler', '--listen', new URL(scheduler.endpoint.url).host], { program: next });
  await untilReady(bed, 'node-a');
  const after = await bed.run(['run', '--cpus', '0.01', '--', 'sh', '-c', 'echo served; exit 6']);
  expect([after.code, after.stdout]).toEqual([6, 'served\n']);

  writeFileSync(gate, '');
  const all = await until(
    'the end of all',
    async () => {
      const jobs = (await allJobs()).filter(({ state }) => state !== 'FAILED');
      return jobs.every(({ state }) => state === 'COMPLETED') ? jobs : null;
    },
    DEADLINE_MS,
  );
  expect(all).toHaveLength(JOBS + 1);
  for (const job of all) expect(job).toMatchObject({ epoch: 1, result: { exitCode: 0, endKind: 'exited' } });
  expect(new Set(starts()).size).toBe(JOBS + 1);
  expect(starts()).toHaveLength(JOBS + 1);
});

async function allJobs(): Promise<readonly JobJson[]> {
  const { code, stdout, stderr } = await bed.run(['jobs', '--limit', '1000', '-o', 'json']);
  expect(code, stderr).toBe(0);
  return (JSON.parse(stdout) as { jobs: readonly JobJson[] }).jobs;
}

/** Same attempt, same start, still running. */
function unchanged({ id, epoch, startedAt }: JobJson): object {
  return expect.objectContaining({ id, epoch, startedAt, state: 'RUNNING' });
}
