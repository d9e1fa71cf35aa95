// What nodes tell of attempts before their programs run ("fetching inputs, 120 MB of 2 GB"). In memory only: it is
// for the sentence of a job, is told anew every second or so, and is forgotten when the job moves on.
import type { JobState } from '../protocol/result.ts';

/** Jobs of which something is remembered; the longest untouched are forgotten first. */
const REMEMBERED_MAX = 10_000;

export interface ProgressBoard {
  /** Remembers the last clause of an attempt. */
  put(jobId: string, epoch: number, text: string): void;
  /** The last clause of a job that is being started; null where there is none. */
  of(job: { readonly id: string; readonly epoch: number; readonly state: JobState }): string | null;
}

export function createProgressBoard(): ProgressBoard {
  const clauses = new Map<string, { readonly epoch: number; readonly text: string }>();
  return {
    put(jobId, epoch, text) {
      clauses.delete(jobId);
      clauses.set(jobId, { epoch, text });
      if (clauses.size <= REMEMBERED_MAX) return;
      const [oldest] = clauses.keys();
      if (oldest !== undefined) clauses.delete(oldest);
    },
    of({ id, epoch, state }) {
      const clause = clauses.get(id);
      if (clause === undefined) return null;
      if (state === 'STARTING' && clause.epoch === epoch) return clause.text;
      clauses.delete(id);
      return null;
    },
  };
}
