// What a waiting job passes before placement looks at it, in this order:
//
//   dependencies  the jobs that it waits for have ended as asked
//   back-off      the time before its next attempt is over
//   array         fewer jobs of its array than `maxRunning` are with nodes or with placement
//
// So placement has only jobs that could start now. A job of an array that has been let through keeps its slot until it
// ends or has to back off; then the one with the lowest index gets it. Wall time is asked only when a job is taken in:
// a clock that jumps later changes nothing.
import type { Clock, Timer } from '../base/clock.ts';
import { createDependencies, describeNever, describeWait } from './dependencies.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import { createWaitingLine, type WaitingLine } from './queue/waiting-line.ts';
import { longestDelayMs } from './retry.ts';
import { describeSeconds } from './words.ts';

export interface Gates {
  /** Takes in a job that is PENDING. */
  wait(job: JobRecord): void;
  /** The job is with a node: it takes its slot and waits for nothing. */
  active(job: JobRecord): void;
  /** The job has ended, or was never taken in: others may pass now. */
  left(job: JobRecord): void;
  /** Why placement has not been told of the job, a sentence; null when nothing holds it back. */
  reason(job: JobRecord): string | null;
}

export interface GateParts {
  readonly queue: Pick<Queue, 'job' | 'array'>;
  readonly clock: Clock;
  /** It may be placed now. */
  pass(job: JobRecord): void;
  /** What it waits for will never come true: ends it, which calls `left`. */
  refuse(job: JobRecord, cause: string): void;
  /** Jobs have been let through by the passing of time: look for work. */
  place(): void;
}

/** The slots of one array. */
interface Slots {
  readonly max: number;
  readonly taken: Set<string>;
  readonly line: WaitingLine<{ readonly id: string; readonly priority: number; readonly sequence: number }>;
}

export function createGates(parts: GateParts): Gates {
  const { queue, clock } = parts;
  const dependencies = createDependencies(queue);
  const backoffs = new Map<string, { readonly timer: Timer; readonly overMs: number }>();
  const arrays = new Map<string, Slots>();
  /** Jobs that have ended and whose dependents have not been looked at: chains may be long, the stack is not. */
  const ended: JobRecord[] = [];
  let settling = false;

  function wait(job: JobRecord): void {
    // What has been ordered once has passed its dependencies.
    const outcome = job.epoch > 0 ? 'met' : dependencies.wait(job);
    if (outcome === 'never') parts.refuse(job, describeNever(job.spec.dependencies, queue));
    else if (outcome === 'met') backOff(job);
  }

  function backOff(job: JobRecord): void {
    const restMs = Math.min((job.notBeforeMs ?? 0) - clock.wallMs(), longestDelayMs(job));
    if (job.notBeforeMs === null || restMs <= 0) {
      takeSlot(job);
      return;
    }
    giveSlot(job);
    const timer = clock.after(restMs, () => {
      if (!backoffs.delete(job.id)) return;
      takeSlot(job);
      parts.place();
    });
    backoffs.set(job.id, { timer, overMs: clock.monotonicMs() + restMs });
  }

  function slotsOf({ array, spec }: JobRecord): Slots | null {
    const max = spec.array?.maxRunning ?? null;
    if (array === null || max === null) return null;
    const known = arrays.get(array.id);
    if (known !== undefined) return known;
    const slots: Slots = { max, taken: new Set(), line: createWaitingLine() };
    arrays.set(array.id, slots);
    return slots;
  }

  function takeSlot(job: JobRecord): void {
    const slots = slotsOf(job);
    if (slots !== null && !slots.taken.has(job.id)) {
      if (slots.taken.size >= slots.max) {
        slots.line.add({ id: job.id, priority: 0, sequence: job.array?.index ?? 0 });
        return;
      }
      slots.taken.add(job.id);
    }
    parts.pass(job);
  }

  /** The job needs its slot no longer: the next one of its array passes. */
  function giveSlot(job: JobRecord): void {
    const slots = job.array === null ? undefined : arrays.get(job.array.id);
    if (job.array === null || slots === undefined) return;
    slots.line.remove(job.id);
    slots.taken.delete(job.id);
    for (const { id } of slots.line) {
      if (slots.taken.size >= slots.max) break;
      slots.line.remove(id);
      const next = queue.job(id);
      if (next?.state !== 'PENDING') continue;
      slots.taken.add(id);
      parts.pass(next);
    }
    if (slots.taken.size === 0 && slots.line.size === 0) arrays.delete(job.array.id);
  }

  /** It stands before no gate any more; a slot that it has is left to it. */
  function forget(jobId: string): void {
    dependencies.forget(jobId);
    backoffs.get(jobId)?.timer.cancel();
    backoffs.delete(jobId);
  }

  return {
    wait,
    active(job) {
      forget(job.id);
      const slots = slotsOf(job);
      slots?.line.remove(job.id);
      slots?.taken.add(job.id);
    },
    left(job) {
      forget(job.id);
      giveSlot(job);
      ended.push(job);
      if (settling) return;
      settling = true;
      try {
        for (let one = ended.pop(); one !== undefined; one = ended.pop()) {
          const { met, never } = dependencies.settle(one);
          for (const id of met) {
            const waiting = queue.job(id);
            if (waiting?.state === 'PENDING') backOff(waiting);
          }
          for (const id of never) {
            const waiting = queue.job(id);
            if (waiting?.state === 'PENDING')
              parts.refuse(waiting, describeNever(waiting.spec.dependencies, queue));
          }
        }
      } finally {
        settling = false;
      }
    },
    reason(job) {
      if (dependencies.isWaiting(job.id)) return `waiting: ${describeWait(job.spec.dependencies, queue)}`;
      const backoff = backoffs.get(job.id);
      if (backoff !== undefined) {
        const restSeconds = Math.max(0, backoff.overMs - clock.monotonicMs()) / 1000;
        return `waiting: started again in ${describeSeconds(Math.ceil(restSeconds))}`;
      }
      const slots = job.array === null ? undefined : arrays.get(job.array.id);
      const ahead = slots?.line.ahead(job.id) ?? -1;
      if (job.array === null || slots === undefined || ahead < 0) return null;
      return `waiting: ${job.array.id} may have ${slots.max} of its ${job.array.size} jobs with nodes at a time; ${describeAhead(ahead)}`;
    },
  };
}

function describeAhead(ahead: number): string {
  if (ahead === 0) return 'this one is next';
  return ahead === 1 ? '1 of its jobs is ahead' : `${ahead} of its jobs are ahead`;
}
