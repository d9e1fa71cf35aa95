// The scheduler without its store, its port and its files: every part between the queue and the sessions of agents,
// built in order and joined. scheduler.ts puts it behind HTTP; a simulation runs it as it is.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import { type AuditSink, noAudit, type SignedHead } from '../protocol/audit.ts';
import { versionsFrom } from '../protocol/version.ts';
import type { Admission } from './access/access.ts';
import { type CloneWatch, createCloneWatch } from './clone-watch.ts';
import { createDataRules, type DataRules, type DataRulesOptions } from './data-rules.ts';
import { createDispatcher, type Dispatcher } from './dispatcher.ts';
import { createDrains, type Drains } from './drain.ts';
import { createExecs, type Execs } from './exec.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { FileTickets } from './file-tickets.ts';
import { createFleet, type Fleet } from './fleet.ts';
import { createGateway, type Gateway, HEARTBEAT_MS } from './gateway.ts';
import { createLeases, type Leases } from './leases.ts';
import { createNodeAdmission } from './node-admission.ts';
import { createNodeCredentials, type NodeCredentials } from './node-credentials.ts';
import { createNodeHeads, withHeads } from './node-heads.ts';
import { createNodeRemovals, type NodeRemovals } from './node-removal.ts';
import { createNodeStandings, type NodeStandings } from './node-standing.ts';
import { createOrders } from './orders.ts';
import { createOutputStore, type OutputStore } from './output.ts';
import type { OutputDisk } from './output-disk.ts';
import type { OwnNames } from './own-names.ts';
import { createPlacement, type Placement } from './placement.ts';
import type { ProgressBoard } from './progress.ts';
import type { Queue } from './queue/queue.ts';
import type { Revocations } from './revocations.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import { createWatchers, type Watchers } from './watchers.ts';

export interface CoreOptions {
  readonly schedulerId: string;
  readonly ownNames: OwnNames;
  readonly queue: Queue;
  /** Folder of the output of jobs; exists. */
  readonly outputFolder: string;
  readonly outputDisk?: OutputDisk;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  /** Who may speak to a running job. */
  readonly access: Admission;
  /** Told of each message of an agent, by its type. */
  readonly received: (type: string) => void;
  readonly key: SchedulerKey;
  /** Uniform in [0, 1); spreads retries. */
  readonly random: () => number;
  readonly progress: ProgressBoard;
  readonly tickets: FileTickets;
  /** Agents that speak nothing newer than what is before this version are refused. */
  readonly leastVersion?: number;
  /** Takes proofs that name no TLS connection (node-admission.ts); without it, does not. */
  readonly takesUnbound?: boolean;
  readonly revocations: Revocations;
  readonly audit?: AuditSink;
  readonly auditHead?: () => SignedHead | null;
  /** Where this scheduler stands, and corridors of its operator. */
  readonly policy?: Pick<DataRulesOptions, 'place' | 'corridors'>;
  /** Private authorities of the scheduler, PEM; without it, none. */
  readonly authorities?: () => readonly string[];
  readonly hit?: SchedulerHit;
}

export interface Core {
  readonly placement: Placement;
  readonly data: DataRules;
  readonly fleet: Fleet;
  readonly watchers: Watchers;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly drains: Drains;
  readonly execs: Execs;
  readonly removals: NodeRemovals;
  readonly standings: NodeStandings;
  readonly clones: CloneWatch;
  readonly credentials: NodeCredentials;
  /** Watches over leases until it is closed. */
  readonly leases: Leases;
  readonly gateway: Gateway;
}

/** Takes up the jobs in the queue. Call `dispatcher.place` whenever the store has space again. */
export function createCore(options: CoreOptions): Core {
  const { schedulerId, ownNames, queue, clock, log } = options;
  const { key, random, received, refusals, access, progress, tickets } = options;
  const hit = options.hit ?? (() => {});
  const audit = options.audit ?? noAudit;
  const orders = createOrders(schedulerId, key, clock);
  const versions = versionsFrom(options.leastVersion ?? 1);
  const placement = createPlacement();
  const data = createDataRules({ ...options.policy, clock, audit });
  const fleet = createFleet({ queue, placement, clock, freed: () => dispatcher.place() });
  const watchers = createWatchers();
  const output = createOutputStore({
    folder: options.outputFolder,
    clock,
    log,
    events: {
      grew: (jobId) => watchers.grew(jobId),
      synced(jobId, epoch, lengths) {
        const job = queue.job(jobId);
        const past = job?.attempts.find((attempt) => attempt.epoch === epoch);
        const nodeId = past?.nodeId ?? job?.nodeId ?? null;
        if (nodeId !== null) fleet.session(nodeId)?.outputSynced(jobId, epoch, lengths);
      },
    },
    ...(options.outputDisk === undefined ? {} : { disk: options.outputDisk }),
  });
  const dispatcher: Dispatcher = createDispatcher({
    queue,
    audit,
    placement,
    fleet,
    output,
    clock,
    log,
    refusals,
    readOrder: orders.read,
    random,
    changed: watchers.changed,
    data,
    hit,
  });
  const place = dispatcher.place;
  const drains = createDrains({ queue, fleet, clock, log, place, audit });
  const execs = createExecs({ ownNames, queue, fleet, access, clock, log, refusals, audit });
  const { revocations } = options;
  const credentials = createNodeCredentials(schedulerId, key.signer);
  const clones = createCloneWatch({ queue, fleet, clock, log, audit, place });
  const removals = createNodeRemovals({ queue, fleet, clock, log, revocations, audit, end: dispatcher.end });
  const standings = createNodeStandings({ queue, fleet, credentials, revocations, clock, log, place });
  const admission = createNodeAdmission({
    key,
    versions,
    takesUnbound: options.takesUnbound ?? false,
    credentials,
    revocations,
    clones,
    queue,
    fleet,
    log,
    audit,
  });
  const leases = createLeases({
    queue,
    fleet,
    heartbeatMs: HEARTBEAT_MS,
    clock,
    end: (job, end) => void dispatcher.end(job, end).catch(() => {}),
  });
  const gateway = createGateway({
    schedulerId,
    audit,
    key,
    orders,
    versions,
    admission: withHeads(admission, createNodeHeads(queue, audit, log)),
    ownNames,
    queue,
    fleet,
    output,
    dispatcher,
    execs,
    clock,
    log,
    refusals,
    received,
    progress,
    tickets,
    hit,
    ...(options.authorities === undefined ? {} : { authorities: options.authorities }),
    ...(options.auditHead === undefined ? {} : { auditHead: options.auditHead }),
  });
  return {
    placement,
    data,
    fleet,
    watchers,
    output,
    dispatcher,
    drains,
    execs,
    removals,
    standings,
    clones,
    credentials,
    leases,
    gateway,
  };
}
