// Who wants to know when a job changes or its output grows: the followers of one job each.
import type { JobRecord } from './queue/queue.ts';

export interface Watcher {
  changed(job: JobRecord): void;
  grew(): void;
}

export interface Watchers {
  /** Returns the function that ends the watch. */
  watch(jobId: string, watcher: Watcher): () => void;
  changed(job: JobRecord): void;
  grew(jobId: string): void;
  readonly count: number;
}

export function createWatchers(): Watchers {
  const byJob = new Map<string, Set<Watcher>>();
  let count = 0;
  return {
    watch(jobId, watcher) {
      const watching = byJob.get(jobId) ?? new Set();
      byJob.set(jobId, watching);
      watching.add(watcher);
      count += 1;
      return () => {
        if (!watching.delete(watcher)) return;
        count -= 1;
        if (watching.size === 0) byJob.delete(jobId);
      };
    },
    changed(job) {
      for (const watcher of byJob.get(job.id) ?? []) watcher.changed(job);
    },
    grew(jobId) {
      for (const watcher of byJob.get(jobId) ?? []) watcher.grew();
    },
    get count() {
      return count;
    },
  };
}
