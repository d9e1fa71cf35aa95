// What these tests read of `-o json`: the published contract of jobs and nodes, as a user's script would see it.
import { expect } from 'vitest';
import { type Bed, until } from './bed.ts';

export interface JobJson {
  readonly id: string;
  readonly state: string;
  readonly reason: string;
  readonly epoch: number;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly result: {
    readonly state: string;
    readonly endKind: string;
    readonly exitCode: number | null;
    readonly signal: number | null;
    readonly cause: string;
    readonly stoppedBy: string | null;
    readonly stdoutBytes: number;
    readonly limits: Record<string, string>;
    readonly isolation: Record<string, string>;
    readonly usage: {
      readonly durationMs: number | null;
      readonly flop: number | null;
      readonly absent: Record<string, string>;
    };
  } | null;
}

/** Submits without waiting; returns the id. */
export async function submit(bed: Bed, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await bed.run(['run', '--detach', ...args]);
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/^job-[0-9a-z]+\n$/);
  return stdout.trim();
}

export async function readJob(bed: Bed, id: string): Promise<JobJson> {
  const { code, stdout, stderr } = await bed.run(['job', id, '-o', 'json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as JobJson;
}

export async function readJobs(bed: Bed): Promise<readonly JobJson[]> {
  const { code, stdout, stderr } = await bed.run(['jobs', '-o', 'json']);
  expect(code, stderr).toBe(0);
  const value = JSON.parse(stdout) as { jobs: readonly JobJson[] } | readonly JobJson[];
  return 'jobs' in value ? value.jobs : value;
}

/** Waits until the job is in one of the states. */
export function untilState(bed: Bed, id: string, ...states: string[]): Promise<JobJson> {
  return until(`job ${id} in ${states.join(' or ')}`, async () => {
    const job = await readJob(bed, id);
    return states.includes(job.state) ? job : null;
  });
}
