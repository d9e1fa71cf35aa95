// The job room as the agent sees it, and how it is made of its parts: walls, executors, the watch over what cannot be
// killed, jobs. It lives in the agent's process, or in one of its own (runner.ts) to which remote-jobs.ts speaks; the
// agent cannot tell.
import { dirname, join } from 'node:path';
import type { Audit } from '../audit/audit.ts';
import { limitAudit } from '../audit/limit.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import type { Finding } from '../device/accelerator.ts';
import type { JobDevices } from '../job/device-admission.ts';
import { createExecutors } from '../job/executor/catalogue.ts';
import type { JobFilesOptions } from '../job/files.ts';
import type { JobEvents, Jobs } from '../job/job.ts';
import { createNodePlace, readOwnCredential } from '../job/node-place.ts';
import { createOrderDoor, type OrderDoor } from '../job/order-check.ts';
import type { EnergyAnswer } from '../job/settle.ts';
import { createSubmitters } from '../job/submitters.ts';
import { createJobs } from '../job/supervisor.ts';
import { KEYS_FILE, openTrust } from '../job/trust.ts';
import type { Native, NativePaths } from '../native.ts';
import type { AuditHead } from '../protocol/audit.ts';
import type { JobReport } from '../protocol/control.ts';
import { joinCorridors } from '../protocol/corridor.ts';
import type { CredentialBody } from '../protocol/credential.ts';
import type { JobResult } from '../protocol/result.ts';
import type { Signed } from '../protocol/signed.ts';
import { createJobAudit } from './job-audit.ts';
import { jobEnvironment } from './job-environment.ts';
import { openWalls } from './job-walls.ts';
import { openNodeAudit } from './node-audit.ts';
import { createOffers } from './offers.ts';
import { openRegistryRules } from './registry-rules.ts';
import { createSurvivorWatch } from './survivors.ts';

/** What this node offers to jobs, and what it lacks for them, in sentences. */
export interface Offered {
  readonly executors: readonly string[];
  /** What went wrong and somebody should look at. */
  readonly problems: readonly string[];
  /** What jobs cannot have here. */
  readonly limitations: readonly string[];
  /** How far the audit log of the job room is on disk. */
  readonly audit: AuditHead | null;
  /** Classes of data that jobs may have here. */
  readonly dataClasses: readonly string[];
  /** Whether signed input of commands beside jobs is read (protocol/exec-input.ts); absent: no. */
  readonly readsProofs?: boolean | undefined;
}

/** What the job room tells beside the facts of jobs. */
export interface JobRoomEvents extends Omit<JobEvents, 'settled'> {
  /** An attempt has ended: told once, for those who count. */
  settled?(result: Pick<JobResult, 'state'>): void;
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
  /** Idempotent; see `Jobs.start` and `Jobs.stop`. What is not signed as it must be is refused. */
  order: OrderDoor['order'];
  /** All that is known of an attempt; null for one that is not held. */
  report(jobId: string, epoch: number): JobReport | null | Promise<JobReport | null>;
  /** Runs a command beside a running job. */
  exec: OrderDoor['exec'];
  learnKeys: OrderDoor['learnKeys'];
  /** What the scheduler signed anew of this node, its place among it. */
  learnCredential(credential: Signed): void;
  offered(): Offered;
  /** Why no order can be taken at present, a sentence for people; null where one can. */
  problem(): string | null;
  /** Resolves when `offered` is complete, or after a while. Rejects where nobody knows what is held. */
  settled(): Promise<void>;
}

/** What the job room needs of this host; the same for both ways to run it. */
export interface JobHost {
  /** Keeps journal, jobs and all else of the job room. */
  readonly folder: string;
  /** The state directory that `folder` lies in: jobs never see it. */
  readonly stateDir: string;
  readonly config: Pick<Config, 'jobs' | 'orders' | 'policy' | 'tokenFile'>;
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
  /** The scheduler by the enrolment. */
  readonly schedulerId: () => string;
  /** The keys that the scheduler tells first are believed, where enrolment knew none. */
  readonly trustsFirst: boolean;
  readonly bootId: string;
  readonly capacity: { readonly cpus: number; readonly memoryBytes: number };
  readonly devices: JobDevices;
  /** Why no orders are taken, or null. */
  readonly safeMode: () => string | null;
  /** What the scheduler signed of this node, as it is kept; it is verified here. Null for none. */
  readonly credential: () => Signed | null;
  /** A credential of this node, signed by its scheduler; absent where somebody else keeps it. */
  readonly keepCredential?: (credential: Signed, body: CredentialBody) => void;
  readonly access: JobFilesOptions['access'];
  readonly energy: (jobId: string, epoch: number) => EnergyAnswer | Promise<EnergyAnswer>;
  readonly events: JobRoomEvents;
  /** The log of this process; without it, the job room opens one of its own in its folder. */
  readonly audit?: Audit;
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
  const audit = parts.audit ?? openNodeAudit({ folder, nodeId, clock, log });
  const nodeRecord = limitAudit(audit.record, clock);
  const jobAudit = createJobAudit(audit, nodeRecord);
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
      registryRules: openRegistryRules(config.jobs.registries, clock, log),
      processes: config.jobs.processes,
      environment,
      onChange: () => events.changed('the executors of this node have changed'),
    },
    clock,
    log,
    onHatched: walls.place,
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
  const trust = openTrust({
    path: join(folder, KEYS_FILE),
    schedulerId: parts.schedulerId,
    trustsFirst: parts.trustsFirst,
    clock,
    log,
    audit: nodeRecord,
  });
  const place = createNodePlace(parts.credential, nodeId, trust);
  const jobs = await createJobs({
    folder,
    nodeId,
    bootId,
    executors: executors.map(survivors.watch),
    capacity,
    environment: jobEnvironment(environment),
    devices: parts.devices,
    walls,
    data: () => ({ place: place(), classes, corridors }),
    audit: nodeRecord,
    native,
    draining: safeMode,
    isCareful: safeMode() !== null,
    clock,
    log,
    files: { cacheBytes: config.jobs.cacheBytes, access: parts.access },
    energy: parts.energy,
    events: {
      ...events,
      began: (jobId, epoch, pid) => jobAudit.began(jobId, epoch, pid),
      settled(result) {
        jobAudit.ended(result);
        events.settled?.(result);
      },
    },
  }).catch((error: unknown) => {
    survivors.close();
    throw error;
  });
  started = jobs;
  jobAudit.takeUp(jobs);

  const { signatures, submitters } = config.orders;
  const unsigned =
    signatures === 'optional'
      ? ['orders that nobody signed are carried out (orders.signatures: optional)']
      : [];
  const door = createOrderDoor({
    jobs,
    nodeId,
    trust,
    signatures,
    submitters: submitters === null ? null : createSubmitters(submitters),
    granted: ({ jobId, epoch, spec, devices }) => events.granted(jobId, epoch, spec.resources.cpus, devices),
    clock,
    log,
    audit: jobAudit.noted,
  });

  return {
    ...jobs,
    order: door.order,
    exec: door.exec,
    learnKeys: door.learnKeys,
    learnCredential(credential) {
      if (parts.keepCredential === undefined) return;
      const body = readOwnCredential(credential, nodeId, trust);
      if (body !== null) parts.keepCredential(credential, body);
      else log.warn({}, 'a credential was not kept: its scheduler has not signed it for this node');
    },
    offered() {
      const { executors: names, limitations } = offers.offered();
      const trustProblem = trust.problem();
      return {
        executors: names,
        problems: [
          ...survivors.problems(),
          ...jobs.problems(),
          ...(trustProblem === null ? [] : [trustProblem]),
        ],
        limitations: [...limitations, ...walls.limitations(), ...unsigned],
        audit: audit.head(),
        dataClasses: classes,
        readsProofs: true,
      };
    },
    problem: () => jobs.problem(),
    settled: () => offers.settled(),
    async close() {
      await jobs.close();
      survivors.close();
      if (parts.audit === undefined) await audit.close();
    },
  };
}
