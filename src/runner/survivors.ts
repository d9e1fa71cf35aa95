// Processes that outlive their jobs although they were killed: they wait inside the kernel, mostly for a driver or a
// disk. Until it lets go of them the node says so, and the devices of those jobs take no others. Their shims wait for
// them; when such a shim has gone, so have they. The list is kept over a restart of the agent.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { type Clock, every } from '../base/clock.ts';
import { describeError, errnoOf } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Finding } from '../device/accelerator.ts';
import type { ExecutionEvents, Executor, Survivors } from '../job/executor/executor.ts';

const LOOK_PERIOD_MS = 5000;
/** Field of /proc/PID/stat, counted from the state that follows the name. */
const START_TIME_FIELD = 19;

const leftSchema = z.strictObject({
  bootId: z.string(),
  left: z
    .array(
      z.strictObject({
        jobId: z.string(),
        devices: z.array(z.string()),
        survivors: z.strictObject({ count: z.number(), shimPid: z.number(), shimStartTicks: z.number() }),
      }),
    )
    .max(10_000),
});

export interface SurvivorsOptions {
  /** Of the agent; keeps the list. */
  readonly folder: string;
  readonly bootId: string;
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
  const path = join(options.folder, 'survivors.json');
  let left: Left[] = read();
  const timer = every(clock, LOOK_PERIOD_MS, look);

  function look(): void {
    const before = left.length;
    left = left.filter(isThere);
    for (const each of left) tell(each);
    if (left.length !== before) changed();
  }

  /** What the last agent of this boot knew. */
  function read(): Left[] {
    try {
      const kept = leftSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
      return kept.bootId === options.bootId ? kept.left : [];
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT')
        log.warn({ reason: describeError(error) }, 'the list of left processes cannot be read');
      return [];
    }
  }

  /** A disk that is full costs the memory of them over a restart, never the agent. */
  function changed(): void {
    try {
      writeFileAtomic(path, JSON.stringify({ bootId: options.bootId, left }), 0o600);
    } catch (error) {
      log.error({ reason: describeError(error) }, 'the list of left processes cannot be kept');
    }
    onChange();
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
    changed();
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
