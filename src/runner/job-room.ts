// The job room as the agent sees it, and how it is made of its parts: walls, executors, the watch over what cannot be
// killed, jobs. It lives in the agent's process, or in one of its own (runner.ts) to which remote-jobs.ts speaks; the
// agent cannot tell.
import { dirname } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import type { Finding } from '../device/accelerator.ts';
import type { JobDevices } from '../job/device-admission.ts';
import { createExecutors } from '../job/executor/catalogue.ts';
import type { JobFilesOptions } from '../job/files.ts';
import type { JobEvents, Jobs, OrderAnswer } from '../job/job.ts';
import type { EnergyAnswer } from '../job/settle.ts';
import { createJobs } from '../job/supervisor.ts';
import type { Native, NativePaths } from '../native.ts';
import type { JobReport, StartOrder, StopOrder } from '../protocol/control.ts';
import { joinCorridors } from '../protocol/corridor.ts';
import type { Exec, ExecEvents, ExecOrder } from '../protocol/exec.ts';
import type { Place } from '../protocol/place.ts';
import { jobEnvironment } from './job-environment.ts';
import { openWalls } from './job-walls.ts';
import { createOffers } from './offers.ts';
import { createSurvivorWatch } from './survivors.ts';

/** What this node offers to jobs, and what it lacks for them, in sentences. */
export interface Offered {
  readonly executors: readonly string[];
  /** What went wrong and somebody should look at. */
  readonly problems: readonly string[];
  /** What jobs cannot have here. */
  readonly limitations: readonly string[];
  /** Classes of data that jobs may have here. */
  readonly dataClasses: readonly string[];
}

/** What the job room tells beside the facts of jobs. */
export interface JobRoomEvents extends JobEvents {
  /** An order was accepted: its attempt holds these CPUs and devices. */
  granted(jobId: string, epoch: number, cpus: number, devices: readonly string[]): void;
  /** What is offered has changed; why, as a clause. */
  changed(why: string): void;
  /** These devices take no jobs; said again for as long as it stands. */
  unfit(ids: readonly string[], finding: Finding): void;
}

export interface JobRoom
  extends Pick<
    Jobs,
    | 'held'
    | 'heldDevices'
    | 'runningCount'
    | 'unsettled'
    | 'contact'
    | 'acknowledged'
    | 'delivered'
    | 'readOutput'
    | 'deviceFailed'
    | 'close'
  > {
  /** Idempotent; see `Jobs.start` and `Jobs.stop`. */
  order(order: StartOrder | StopOrder): Promise<OrderAnswer>;
  /** All that is known of an attempt; null for one that is not held. */
  report(jobId: string, epoch: number): JobReport | null | Promise<JobReport | null>;
  /** Runs a command beside a running job. */
  exec(order: ExecOrder, events: ExecEvents): Exec;
  offered(): Offered;
  /** Resolves when `offered` is complete, or after a while. Never rejects. */
  settled(): Promise<void>;
}

/** What the job room needs of this host; the same for both ways to run it. */
export interface JobHost {
  /** Keeps journal, jobs and all else of the job room. */
  readonly folder: string;
  /** The state directory that `folder` lies in: jobs never see it. */
  readonly stateDir: string;
  readonly config: Pick<Config, 'jobs' | 'policy' | 'tokenFile'>;
  readonly native: Native | null;
  readonly paths: NativePaths;
  readonly procRoot: string;
  readonly sysRoot: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface JobRoomParts {
  readonly nodeId: string;
  readonly bootId: string;
  readonly capacity: { readonly cpus: number; readonly memoryBytes: number };
  readonly devices: JobDevices;
  /** Why no orders are taken, or null. */
  readonly safeMode: () => string | null;
  /** Where this node stands, by its signed credential. */
  readonly place: () => Place;
  readonly access: JobFilesOptions['access'];
  readonly energy: (jobId: string, epoch: number) => EnergyAnswer | Promise<EnergyAnswer>;
  readonly events: JobRoomEvents;
}

/** Begins to look at the host at once; the job room opens with what it found. */
export interface PreparedJobRoom {
  /** Takes up every job that is known, and is ready for orders. Rejects where the folder cannot be used. */
  open(parts: JobRoomParts): Promise<JobRoom>;
}

export function prepareJobRoom(host: JobHost): PreparedJobRoom {
  const wallsOpening = openWalls({ ...host, build: dirname(host.paths.shim) });
  return { open: async (parts) => openJobRoom(host, parts, await wallsOpening) };
}

async function openJobRoom(
  host: JobHost,
  parts: JobRoomParts,
  walls: Awaited<ReturnType<typeof openWalls>>,
): Promise<JobRoom> {
  const { folder, config, native, paths, procRoot, environment, clock, log } = host;
  const { nodeId, bootId, capacity, events, safeMode } = parts;
  const { classes } = config.policy;
  const corridors = joinCorridors(config.policy.corridors);
  let started: Jobs | null = null;
  // All of them go to the job room: one that cannot start jobs now may still take up those that run.
  const executors = createExecutors({
    shimPath: paths.shim,
    native,
    containers: {
      containedPath: paths.contained,
      nodeId,
      bootId,
      runtime: config.jobs.containerRuntime,
      pull: config.jobs.pull,
      pullTimeoutMs: config.jobs.pullTimeoutMs,
      processes: config.jobs.processes,
      environment,
      onChange: () => events.changed('the executors of this node have changed'),
    },
    clock,
    log,
  });
  const offers = createOffers(executors, clock, log);
  const survivors = createSurvivorWatch({
    clock,
    log,
    folder,
    bootId,
    procRoot,
    heldBy: (jobId) => started?.held().find((job) => job.jobId === jobId)?.devices ?? [],
    unfit: (ids, finding) => events.unfit(ids, finding),
    onChange: () => events.changed('processes of ended jobs are left, or gone'),
  });
  const jobs = await createJobs({
    folder,
    nodeId,
    bootId,
    executors: executors.map(survivors.watch),
    capacity,
    environment: jobEnvironment(environment),
    devices: parts.devices,
    walls,
    data: () => ({ place: parts.place(), classes, corridors }),
    native,
    draining: safeMode,
    isCareful: safeMode() !== null,
    clock,
    log,
    files: { cacheBytes: config.jobs.cacheBytes, access: parts.access },
    energy: parts.energy,
    events,
  }).catch((error: unknown) => {
    survivors.close();
    throw error;
  });
  started = jobs;

  return {
    ...jobs,
    async order(order) {
      if (order.type === 'stop') return jobs.stop(order);
      const answer = await jobs.start(order);
      if (answer.outcome === 'accepted')
        events.granted(order.jobId, order.epoch, order.spec.resources.cpus, order.devices);
      return answer;
    },
    exec: (order, told) => jobs.execs.start(order, told),
    offered() {
      const { executors: names, limitations } = offers.offered();
      return {
        executors: names,
        problems: [...survivors.problems(), ...jobs.problems()],
        limitations: [...limitations, ...walls.limitations()],
        dataClasses: classes,
      };
    },
    settled: () => offers.settled(),
    async close() {
      await jobs.close();
      survivors.close();
    },
  };
}
