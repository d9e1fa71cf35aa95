// Which jobs a runner holds, as far as it has told: whole lists at the beginning of each connection, changes after it.
import type { HeldJob } from '../protocol/control.ts';
import type { RunnerToAgent } from './protocol.ts';

export interface HeldMirror {
  /** Takes what a message says of jobs; other messages say nothing. */
  hear(message: RunnerToAgent): void;
  /** A connection begins: its list is complete with `complete`, and the present one stands until then. */
  begin(): void;
  complete(): void;
  /** Nobody needs it any more. */
  forget(jobId: string, epoch: number): void;
  has(jobId: string, epoch: number): boolean;
  list(): HeldJob[];
  /** Devices of those that have not ended. */
  devices(): ReadonlySet<string>;
  runningCount(): number;
}

const keyOf = (jobId: string, epoch: number): string => `${jobId}.${epoch}`;

export function createHeldMirror(): HeldMirror {
  let held = new Map<string, HeldJob>();
  let fresh: HeldJob[] = [];

  function change(jobId: string, epoch: number, how: (job: HeldJob) => HeldJob): void {
    const job = held.get(keyOf(jobId, epoch));
    if (job !== undefined) held.set(keyOf(jobId, epoch), how(job));
  }

  return {
    hear(message) {
      switch (message.type) {
        case 'jobs':
          fresh.push(...message.held);
          return;
        case 'granted': {
          const { jobId, epoch, devices } = message;
          const key = keyOf(jobId, epoch);
          if (!held.has(key)) held.set(key, { jobId, epoch, phase: 'accepted', devices });
          return;
        }
        case 'jobStarted':
          change(message.jobId, message.epoch, (job) =>
            job.phase === 'ended' ? job : { ...job, phase: 'running' },
          );
          return;
        case 'ended': {
          const { jobId, epoch } = message.result;
          change(jobId, epoch, (job) => ({ ...job, phase: 'ended', devices: [] }));
          return;
        }
      }
    },
    begin() {
      fresh = [];
    },
    complete() {
      held = new Map(fresh.map((job) => [keyOf(job.jobId, job.epoch), job]));
      fresh = [];
    },
    forget: (jobId, epoch) => void held.delete(keyOf(jobId, epoch)),
    has: (jobId, epoch) => held.has(keyOf(jobId, epoch)),
    list: () => [...held.values()],
    devices() {
      const ids = new Set<string>();
      for (const { phase, devices } of held.values())
        if (phase !== 'ended') for (const id of devices ?? []) ids.add(id);
      return ids;
    },
    runningCount() {
      let count = 0;
      for (const { phase } of held.values()) if (phase === 'running') count += 1;
      return count;
    },
  };
}
