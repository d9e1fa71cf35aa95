// What the tests of executors share: folders, requests, and the recorded history of one attempt.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import {
  type Execution,
  type ExecutionEvents,
  type Executor,
  noContainment,
  type ProcessEnd,
  type StartRequest,
} from '../../../../src/job/executor/executor.ts';
import { nativePaths } from '../../../../src/native.ts';
import { type JobSpec, type JobSpecInput, jobSpecSchema } from '../../../../src/protocol/spec.ts';

const root = fileURLToPath(new URL('../../../..', import.meta.url));
export const { shim: shimPath, addon: addonPath, contained: containedPath } = nativePaths(root);
if (!existsSync(shimPath)) throw new Error('native/build/flopd-shim is missing: run "node native/build.mjs"');
export const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
export const program = (name: string): string => join(root, 'test/fakes/programs', name);

/** A fresh folder that is removed after the test. */
export function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-job-'));
  chmodSync(folder, 0o755); // a job may have a user of its own
  // A shim whose program a test has just killed may still write its end record there.
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }));
  return folder;
}

export function specOf(input: Omit<JobSpecInput, 'version'>): JobSpec {
  return jobSpecSchema.parse({ version: 1, graceMs: 1000, ...input });
}

let attempts = 0;

/** What a request has beside its specification. */
export type RequestChange = (folder: string) => Partial<StartRequest>;

/** A specification, or one that is made once its workspace is there. */
export type SpecInput =
  | Omit<JobSpecInput, 'version'>
  | ((workspace: string) => Omit<JobSpecInput, 'version'>);

export function requestIn(
  jobsFolder: string,
  input: SpecInput,
  change: RequestChange = () => ({}),
): StartRequest {
  attempts += 1;
  const jobId = `job-${process.pid.toString(36)}x${attempts}`; // two runs at once must not find each other's jobs
  const folder = join(jobsFolder, `${jobId}.1`);
  mkdirSync(join(folder, 'workspace'), { recursive: true, mode: 0o700 });
  const spec = specOf(typeof input === 'function' ? input(join(folder, 'workspace')) : input);
  const environment = {
    PATH: '/usr/bin:/bin',
    HOME: join(folder, 'workspace'),
    FLOPD_JOB_ID: jobId,
    FLOPD_EPOCH: '1',
    FLOPD_NODE_ID: 'node-test',
    ...spec.environment,
  };
  return {
    jobId,
    epoch: 1,
    spec,
    folder,
    environment,
    workingDirectory: spec.workingDirectory ?? join(folder, 'workspace'),
    deviceNodes: [],
    bootId,
    containment: noContainment,
    outputQuotaBytes: null,
    leaseMs: null,
    after: [],
    client: null,
    ...change(folder),
  };
}

export interface Recorded {
  readonly history: string[];
  readonly events: ExecutionEvents;
  readonly started: Promise<number>;
  readonly ended: Promise<ProcessEnd>;
  /** Resolves when stdout has at least this many bytes. */
  grown(stdoutBytes: number): Promise<void>;
}

export function record(): Recorded {
  const history: string[] = [];
  let startedNow: (pid: number) => void = () => {};
  let neverStarted: (error: Error) => void = () => {};
  let endedNow: (end: ProcessEnd) => void = () => {};
  const growths: { bytes: number; resolve: () => void }[] = [];
  let stdout = 0;
  const started = new Promise<number>((resolve, reject) => {
    startedNow = resolve;
    neverStarted = reject;
  });
  started.catch(() => {}); // not everybody asks
  return {
    history,
    started,
    ended: new Promise((resolve) => {
      endedNow = resolve;
    }),
    grown: (bytes) =>
      new Promise((resolve) => {
        if (stdout >= bytes) resolve();
        else growths.push({ bytes, resolve });
      }),
    events: {
      started(pid) {
        history.push('started');
        startedNow(pid);
      },
      output(stdoutBytes) {
        history.push('output');
        stdout = stdoutBytes;
        for (const { bytes, resolve } of growths) if (stdout >= bytes) resolve();
      },
      ended(end) {
        history.push('ended');
        neverStarted(new Error(`it ended without a start: ${JSON.stringify(end)}`));
        endedNow(end);
      },
    },
  };
}

export interface Run extends Recorded {
  readonly request: StartRequest;
  readonly execution: Execution;
}

export function runIn(executor: Executor, jobsFolder: string, input: SpecInput, change?: RequestChange): Run {
  const request = requestIn(jobsFolder, input, change);
  const recorded = record();
  return { ...recorded, request, execution: executor.start(request, recorded.events) };
}

/** True while the process runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !['Z', 'X'].includes(stat.charAt(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

export async function until(condition: () => boolean, what: string, deadlineMs = 30_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`in ${deadlineMs} ms it did not come to: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Living processes that carry the job's name in their environment. */
export function processesOf(jobId: string): string[] {
  const found = spawnSync('grep', ['-lsz', `FLOPD_JOB_ID=${jobId}`, ...procEnvirons()], { encoding: 'utf8' });
  return found.stdout.split('\n').filter((path) => path !== '' && isAlive(Number(path.split('/')[2])));
}

function procEnvirons(): string[] {
  const { stdout } = spawnSync('sh', ['-c', 'ls -d /proc/[0-9]*/environ'], { encoding: 'utf8' });
  return stdout.trim().split('\n');
}
