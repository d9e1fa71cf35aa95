// A scheduler that keeps what has ended for two seconds only.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { readJob, readJobs, submit } from './job-view.ts';

let bed: Bed;
let up: Daemon;
beforeAll(async () => {
  bed = createBed();
  up = await bed.start(['up', '--history-keep', '2s', '--output-keep', '1s']);
});
afterAll(() => bed.close());

test('jobs and arrays that ended are gone with all that was theirs, what runs and what is waited for is not', async () => {
  const [gate, gateOfWaited] = [join(bed.folder, 'gate'), join(bed.folder, 'gate-of-waited')];
  const waitFor = (path: string) => ['sh', '-c', `while [ ! -e ${path} ]; do sleep 0.2; done`];
  const waited = await submit(bed, '--', ...waitFor(gateOfWaited));
  const runs = await submit(bed, '--', ...waitFor(gate));
  const follower = await submit(bed, '--after', waited, '--after', runs, '--', 'true');
  writeFileSync(gateOfWaited, '');
  const gone = await submit(bed, '--', 'echo', 'hello');
  const array = await bed.run(['run', '--detach', '--array', '0-4', '--', 'echo', 'hi']);
  expect(array.code, array.stderr).toBe(0);
  await until('that all are gone', async () => {
    const ids = (await readJobs(bed)).map(({ id }) => id).sort();
    return ids.join() === [waited, runs, follower].sort().join();
  });
  const asked = await bed.run(['job', gone]);
  expect(asked.code).not.toBe(0);
  expect(asked.stderr).toContain(`there is no job "${gone}"`);
  expect(asked.stderr).toContain('history.keepMs');
  expect((await bed.run(['job', array.stdout.trim()])).code).toBe(asked.code);
  const outputs = readdirSync(join(bed.stateDir, 'scheduler', 'output'));
  expect(outputs.filter((name) => name.includes(gone) || /^job-[0-9a-z]{10}i/.test(name))).toEqual([]);
  await untilRemoved(6);
  const metrics = await (await fetch(new URL('/metrics', up.endpoint.url))).text();
  expect(metrics).toContain('flopd_scheduler_jobs_removed_total{why="age"} 6\n');
  // What is waited for is known after a restart as well: nothing is given up for want of it.
  up.kill('SIGKILL');
  await up.finished();
  up = await bed.start(['up', '--history-keep', '2s', '--output-keep', '1s']);
  expect((await readJob(bed, follower)).state).toBe('PENDING');
  expect((await readJob(bed, waited)).state).toBe('COMPLETED');
  expect(existsSync(gate)).toBe(false);
  writeFileSync(gate, '');
  await until('that these are gone as well', async () => (await readJobs(bed)).length === 0);
  await untilRemoved(9);
  const ends = (await records('job.ended')).filter(({ facts }) => facts.jobId === follower);
  expect(ends.map(({ facts }) => facts.state)).toEqual(['COMPLETED']);
});

interface Record {
  readonly facts: { readonly jobId?: string; readonly state?: string; readonly forAge?: number };
}

async function records(kind: string): Promise<readonly Record[]> {
  const { code, stdout, stderr } = await bed.run(['audit', 'list', '--kind', kind, '-o', 'json']);
  expect(code, stderr).toBe(0);
  return (JSON.parse(stdout) as { records: readonly Record[] }).records;
}

function untilRemoved(jobs: number): Promise<unknown> {
  return until(`the record of ${jobs} removed jobs`, async () => {
    const sums = (await records('jobs.removed')).map(({ facts }) => facts.forAge ?? 0);
    return sums.reduce((sum, one) => sum + one, 0) === jobs;
  });
}
