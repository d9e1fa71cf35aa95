// One run of a scheduler in the simulation: its real core over a disk and a network of the simulation.
import { createSilentLog, type Log } from '../../src/base/log.ts';
import { createRefusalLog } from '../../src/base/refusal-log.ts';
import { type Core, createCore } from '../../src/scheduler/core.ts';
import type { SchedulerHit } from '../../src/scheduler/fault-points.ts';
import { createFileTickets } from '../../src/scheduler/file-tickets.ts';
import { createJobRetention } from '../../src/scheduler/job-retention.ts';
import { createProgressBoard } from '../../src/scheduler/progress.ts';
import { createQueue } from '../../src/scheduler/queue/embedded.ts';
import type { Queue } from '../../src/scheduler/queue/queue.ts';
import { createRevocations } from '../../src/scheduler/revocations.ts';
import type { SchedulerKey } from '../../src/scheduler/scheduler-key.ts';
import type { OutputFiles, QueueRows } from './disks.ts';
import { SCHEDULER_ID } from './keys.ts';
import type { Network } from './network.ts';
import type { Life } from './time.ts';

export const OUTPUT_FOLDER = '/scheduler/output';

export interface SchedulerParts {
  readonly life: Life;
  readonly rows: QueueRows;
  readonly files: OutputFiles;
  readonly network: Network;
  readonly hit: SchedulerHit;
  readonly key: SchedulerKey;
  readonly random: () => number;
  readonly log?: Log;
  /** How long ended jobs are kept, and who looks at them before they go; null for ever. */
  readonly history: { readonly keepMs: number; readonly going: () => void } | null;
}

export interface SchedulerLife {
  readonly life: Life;
  readonly queue: Queue;
  readonly core: Core;
}

export function startSchedulerLife({
  life,
  rows,
  files,
  network,
  hit,
  ...parts
}: SchedulerParts): SchedulerLife {
  const log = parts.log ?? createSilentLog();
  const { clock } = life;
  let place = (): void => {};
  const queue = createQueue(rows.open(life), {
    path: '/scheduler/store.db',
    clock,
    log,
    resumed: () => place(),
  });
  const core = createCore({
    schedulerId: SCHEDULER_ID,
    ownNames: { has: () => true, list: () => ['127.0.0.1'] },
    queue,
    outputFolder: OUTPUT_FOLDER,
    outputDisk: files.open(life),
    clock,
    log,
    refusals: createRefusalLog(log, clock),
    access: {
      authenticate() {
        throw new Error('nobody enters a job of a simulation');
      },
      denied() {},
      hold: () => () => {},
    },
    received() {},
    key: parts.key,
    random: parts.random,
    progress: createProgressBoard(),
    tickets: createFileTickets(),
    revocations: createRevocations({ lines: [], append() {} }, clock),
    hit,
  });
  place = core.dispatcher.place;
  const { history } = parts;
  if (history !== null)
    createJobRetention({
      keepMs: history.keepMs,
      jobs: Number.POSITIVE_INFINITY,
      queue: {
        ...queue,
        removeJobs(jobs) {
          history.going();
          return queue.removeJobs(jobs);
        },
      },
      // What lies of output in the simulation's files is of no concern here.
      output: {
        lengths: core.output.lengths,
        syncedLengths: core.output.syncedLengths,
        removal: core.output.removal,
        notes: async () => [],
        remove: async () => true,
        forget: async () => {},
      },
      fleet: core.fleet,
      holds: core.dispatcher.holds,
      clock,
      log,
      audit() {},
      removed: () => {},
    });
  network.listener = { life, accept: (socket) => core.gateway.accept(socket, () => {}, '') };
  return { life, queue, core };
}
