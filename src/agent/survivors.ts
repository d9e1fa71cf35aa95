// Processes that outlive their jobs although they were killed: they wait inside the kernel, mostly for a driver or a
// disk. Until it lets go of them the node says so, and the devices of those jobs take no others. Their shims wait for
// them; when such a shim has gone, so have they.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, every } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Finding } from '../device/accelerator.ts';
import type { ExecutionEvents, Executor, Survivors } from '../job/executor/executor.ts';

const LOOK_PERIOD_MS = 5000;
/** Field of /proc/PID/stat, counted from the state that follows the name. */
const START_TIME_FIELD = 19;

export interface SurvivorsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly procRoot: string;
  /** Devices that a job holds at present. */
  readonly heldBy: (jobId: string) => readonly string[];
  /** These devices take no jobs; said again for as long as it stands. */
  readonly unfit: (ids: readonly string[], finding: Finding) => void;
  /** There are other survivors than before. */
  readonly onChange: () => void;
}

export interface SurvivorWatch {
  /** The executor, whose ends are looked at on their way. */
  watch(executor: Executor): Executor;
  /** One sentence for each job that has left processes. */
  problems(): readonly string[];
  close(): void;
}

interface Left {
  readonly jobId: string;
  readonly devices: readonly string[];
  readonly survivors: Survivors;
}

export function createSurvivorWatch(options: SurvivorsOptions): SurvivorWatch {
  const { clock, log, heldBy, unfit, onChange } = options;
  let left: Left[] = [];
  const timer = every(clock, LOOK_PERIOD_MS, look);

  function look(): void {
    const before = left.length;
    left = left.filter(isThere);
    for (const each of left) tell(each);
    if (left.length !== before) onChange();
  }

  function isThere({ jobId, survivors }: Left): boolean {
    if (startTicksOf(options.procRoot, survivors.shimPid) === survivors.shimStartTicks) return true;
    log.info({ jobId }, 'the processes that a job had left are gone');
    return false;
  }

  function tell({ jobId, devices, survivors }: Left): void {
    if (devices.length === 0) return;
    const text = `job ${jobId} has left ${countOf(survivors)} on it that cannot be ended`;
    unfit(devices, { code: 'job-unkillable', rung: 'noNewJobs', text });
  }

  function note(jobId: string, survivors: Survivors): void {
    const each = { jobId, devices: heldBy(jobId), survivors };
    log.error({ jobId, devices: each.devices, ...survivors }, 'processes of a job cannot be ended');
    left.push(each);
    tell(each);
    onChange();
  }

  const watched = (jobId: string, events: ExecutionEvents): ExecutionEvents => ({
    ...events,
    ended(end) {
      if (end.survivors !== null) note(jobId, end.survivors);
      events.ended(end);
    },
  });

  return {
    watch: (executor) => ({
      ...executor,
      start: (request, events) => executor.start(request, watched(request.jobId, events)),
      recover: (request, events) => executor.recover(request, watched(request.jobId, events)),
    }),
    problems: () =>
      left.map(
        ({ jobId, survivors }) =>
          `job ${jobId} has left ${countOf(survivors)} that the kernel does not let go of; its devices take no jobs until then`,
      ),
    close: () => timer.cancel(),
  };
}

const countOf = ({ count }: Survivors): string => (count === 1 ? 'a process' : `${count} processes`);

/** Start time of a process in clock ticks since boot; null where there is none. */
function startTicksOf(procRoot: string, pid: number): number | null {
  try {
    const stat = readFileSync(join(procRoot, String(pid), 'stat'), 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : Number(fields[START_TIME_FIELD]);
  } catch {
    return null;
  }
}
