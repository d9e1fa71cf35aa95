// The scheduler without its store, its port and its files: every part between the queue and the sessions of agents,
// built in order and joined. scheduler.ts puts it behind HTTP; a simulation runs it as it is.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { createDispatcher, type Dispatcher } from './dispatcher.ts';
import { createDrains, type Drains } from './drain.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { FileTickets } from './file-tickets.ts';
import { createFleet, type Fleet } from './fleet.ts';
import { createGateway, type Gateway } from './gateway.ts';
import { createOutputStore, type OutputStore } from './output.ts';
import type { OutputDisk } from './output-disk.ts';
import { createPlacement, type Placement } from './placement.ts';
import type { ProgressBoard } from './progress.ts';
import type { Queue } from './queue/queue.ts';
import { createRefusalLog, type RefusalLog } from './refusal-log.ts';
import { createWatchers, type Watchers } from './watchers.ts';

export interface CoreOptions {
  readonly schedulerId: string;
  readonly listenHost: string;
  readonly queue: Queue;
  /** Folder of the output of jobs; exists. */
  readonly outputFolder: string;
  readonly outputDisk?: OutputDisk;
  readonly clock: Clock;
  readonly log: Log;
  /** Told of each message of an agent, by its type. */
  readonly received: (type: string) => void;
  readonly progress: ProgressBoard;
  readonly tickets: FileTickets;
  readonly hit?: SchedulerHit;
}

export interface Core {
  readonly placement: Placement;
  readonly fleet: Fleet;
  readonly refusals: RefusalLog;
  readonly watchers: Watchers;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly drains: Drains;
  readonly gateway: Gateway;
}

/** Takes up the jobs in the queue. Call `dispatcher.place` whenever the store has space again. */
export function createCore(options: CoreOptions): Core {
  const { schedulerId, listenHost, queue, clock, log } = options;
  const hit = options.hit ?? (() => {});
  const placement = createPlacement();
  const fleet = createFleet({ queue, placement, clock, freed: () => dispatcher.place() });
  const refusals = createRefusalLog(log, clock);
  const watchers = createWatchers();
  const output = createOutputStore({
    folder: options.outputFolder,
    clock,
    log,
    events: {
      grew: (jobId) => watchers.grew(jobId),
      synced(jobId, epoch, lengths) {
        const nodeId = queue.job(jobId)?.nodeId ?? null;
        if (nodeId !== null) fleet.session(nodeId)?.outputSynced(jobId, epoch, lengths);
      },
    },
    ...(options.outputDisk === undefined ? {} : { disk: options.outputDisk }),
  });
  const dispatcher: Dispatcher = createDispatcher({
    queue,
    placement,
    fleet,
    output,
    clock,
    log,
    refusals,
    changed: watchers.changed,
    hit,
  });
  const place = dispatcher.place;
  const drains = createDrains({ queue, fleet, clock, log, place });
  const { received, progress, tickets } = options;
  const gateway = createGateway({
    schedulerId,
    listenHost,
    queue,
    fleet,
    output,
    dispatcher,
    clock,
    log,
    refusals,
    received,
    progress,
    tickets,
    hit,
  });
  return {
    placement,
    fleet,
    refusals,
    watchers,
    output,
    dispatcher,
    drains,
    gateway,
  };
}
