// An executor that does what a test says, and a job room around it with a clock that stands still.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type {
  ExecutionEvents,
  Executor,
  RecoverRequest,
  StartRequest,
} from '../../../src/job/executor/executor.ts';
import { createJobs, type JobsOptions } from '../../../src/job/supervisor.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { createFakeClock } from './fake-clock.ts';
import { createMemoryDisk, type MemoryDisk } from './memory-disk.ts';

export interface ScriptedRun {
  readonly name: string;
  readonly request: StartRequest | RecoverRequest;
  readonly how: 'started' | 'recovered';
  readonly events: ExecutionEvents;
  readonly stops: number[];
  readonly renewals: number[];
  detached: boolean;
}

export function createScriptedExecutor() {
  const runs: ScriptedRun[] = [];
  const take = (how: ScriptedRun['how'], request: StartRequest | RecoverRequest, events: ExecutionEvents) => {
    const run: ScriptedRun = {
      name: `${request.jobId}.${request.epoch}`,
      request,
      how,
      events,
      stops: [],
      renewals: [],
      detached: false,
    };
    runs.push(run);
    return {
      stop: (graceMs: number) => void run.stops.push(graceMs),
      renew: (leaseMs: number) => void run.renewals.push(leaseMs),
      detach() {
        run.detached = true;
      },
    };
  };
  const executor: Executor = {
    name: 'process',
    probe: () => null,
    start: (request, events) => take('started', request, events),
    recover: (request, events) => take('recovered', request, events),
    close() {},
  };
  const run = (name: string): ScriptedRun => {
    const found = runs.findLast((other) => other.name === name);
    if (found === undefined) throw new Error(`${name} never came to the executor`);
    return found;
  };
  return { executor, runs, run };
}

export interface Room {
  readonly folder: string;
  readonly disk: MemoryDisk;
  readonly history: string[];
  readonly results: JobResult[];
}

export function createRoom(): Room {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-jobs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return { folder, disk: createMemoryDisk(), history: [], results: [] };
}

/** One life of an agent in the room. */
export async function openRoom(room: Room, change: Partial<JobsOptions> = {}) {
  const clock = createFakeClock();
  const scripted = createScriptedExecutor();
  const jobs = await createJobs({
    folder: room.folder,
    nodeId: 'node-1',
    bootId: 'boot-1',
    executors: [scripted.executor],
    capacity: { cpus: 2, memoryBytes: 1000 },
    environment: {},
    clock,
    log: createSilentLog(),
    disk: room.disk,
    random: () => 0,
    events: {
      started: (jobId, epoch, pid) => void room.history.push(`started ${jobId}.${epoch} ${pid}`),
      progress: (jobId: string, epoch: number, text: string) =>
        void room.history.push(`progress ${jobId}.${epoch} ${text}`),
      outputGrew: (jobId, epoch, out, err) =>
        void room.history.push(`output ${jobId}.${epoch} ${out} ${err}`),
      ended(result) {
        room.history.push(`ended ${result.jobId}.${result.epoch} ${result.state}`);
        room.results.push(result);
      },
    },
    ...change,
  });
  return { jobs, clock, ...scripted };
}
