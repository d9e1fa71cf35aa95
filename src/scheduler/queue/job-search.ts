// Finding jobs of the embedded queue: in memory, among the changes on their way to the disk, and on the disk, each in
// its latest form. Memory alone answers until it has let go of finished jobs.
import { memberId, memberPrefix } from '../../protocol/array.ts';
import type { ArrayIndex, ArrayRow } from './array-index.ts';
import type { ChangeLine } from './change-line.ts';
import type { Indexed, JobIndex } from './job-index.ts';
import type { JobFilter, JobRecord } from './queue.ts';
import type { StoreReader } from './store.ts';

/** Rows read at a time when arrays are shown as one. */
const PAGE = 200;

export interface JobSearch {
  find(id: string): Indexed | null;
  byPrefix(prefix: string, limit: number): readonly JobRecord[];
  /** `end` is greater than every sequence. */
  jobs(filter: JobFilter, end: number): readonly JobRecord[];
  arrayRows(id: string): readonly ArrayRow[];
  arraysByPrefix(prefix: string, limit: number): readonly string[];
}

export function createJobSearch(
  reader: StoreReader,
  index: JobIndex,
  line: ChangeLine,
  arrays: ArrayIndex,
): JobSearch {
  function find(id: string): Indexed | null {
    const known = index.get(id) ?? line.job(id);
    return known === null && index.partial && !line.isRemoved(id) ? reader.job(id) : known;
  }

  /**
   * Records from disk with those that are on their way there. The disk is asked for as many more as the line may
   * change, so that none is missing from the first `limit`.
   */
  function together(read: (limit: number) => readonly Indexed[], limit: number): Indexed[] {
    const coming = line.jobs();
    const latest = new Map<string, Indexed>();
    for (const entry of read(limit + coming.size + line.removals())) {
      if (line.isRemoved(entry.job.id)) continue;
      latest.set(entry.job.id, index.get(entry.job.id) ?? entry);
    }
    for (const [id, entry] of coming) latest.set(id, entry);
    return [...latest.values()];
  }

  function ofArray({ array, state, limit }: JobFilter): readonly JobRecord[] {
    const tally = array === undefined ? null : arrays.get(array);
    const found: JobRecord[] = [];
    if (tally === null) return found;
    for (let at = tally.first; at <= tally.last && found.length < limit; at += 1) {
      const present = tally.state(at);
      if (present === null || (state !== undefined && present !== state)) continue;
      const entry = find(memberId(tally.id, at));
      if (entry !== null) found.push(entry.job);
    }
    return found;
  }

  /** Sequences of an array follow each other, so that it is passed over in one step. */
  function grouped({ state, limit }: JobFilter, end: number): readonly JobRecord[] {
    const found: JobRecord[] = [];
    const known = [...index.entries(), ...(index.partial ? line.jobs().values() : [])];
    const memory = state === undefined ? known : known.filter(({ job }) => job.state === state);
    memory.sort((a, b) => b.sequence - a.sequence);
    let page: readonly Indexed[] = [];
    let below = end;
    let more = index.partial;
    const arraysSeen = new Set<string>();
    for (let [inMemory, inPage] = [0, 0]; found.length < limit; ) {
      while ((memory[inMemory]?.sequence ?? -1) >= below) inMemory += 1;
      while ((page[inPage]?.sequence ?? -1) >= below) inPage += 1;
      if (more && inPage >= page.length) {
        page = reader.below(below, state, PAGE);
        inPage = 0;
        more = page.length > 0;
      }
      const [a, b] = [memory[inMemory], page[inPage]];
      const next = a === undefined || (b !== undefined && b.sequence > a.sequence) ? b : a;
      if (next === undefined) break;
      if (line.isRemoved(next.job.id)) {
        below = next.sequence;
        continue;
      }
      const entry = index.get(next.job.id) ?? line.job(next.job.id) ?? next;
      below = entry.specOf;
      const array = entry.job.array?.id;
      // Those that came back from nodes after the store was lost (adoption.ts) do not follow each other.
      if (array !== undefined && arraysSeen.has(array)) continue;
      if (array !== undefined) arraysSeen.add(array);
      if (state === undefined || isIn(entry.job, state)) found.push(entry.job);
    }
    return found;
  }

  function isIn(job: JobRecord, state: JobRecord['state']): boolean {
    if (job.array === null) return job.state === state;
    return (arrays.get(job.array.id)?.count(state) ?? 0) > 0;
  }

  return {
    find,
    byPrefix(prefix, limit) {
      const matching: JobRecord[] = [];
      const entries = index.partial
        ? together((most) => reader.byPrefix(prefix, most), limit)
        : index.entries();
      for (const { job } of entries) {
        if (job.id.startsWith(prefix)) matching.push(job);
        if (matching.length >= limit) break;
      }
      return matching;
    },
    jobs(filter, end) {
      const { state, limit } = filter;
      if (filter.array !== undefined) return ofArray(filter);
      if (filter.grouped === true) return grouped(filter, end);
      const entries = index.partial ? together((most) => reader.newest(state, most), limit) : index.entries();
      const matching = [...entries].filter(({ job }) => state === undefined || job.state === state);
      matching.sort((a, b) => b.sequence - a.sequence);
      return matching.slice(0, limit).map(({ job }) => job);
    },
    arrayRows(id) {
      const rows = new Map(reader.array(id).map((row) => [row.index, row]));
      const prefix = memberPrefix(id);
      const note = ({ job }: Indexed): void => {
        if (job.array?.id === id) rows.set(job.array.index, { index: job.array.index, state: job.state });
      };
      for (const [jobId, entry] of line.jobs()) if (jobId.startsWith(prefix)) note(entry);
      for (const at of [...rows.keys()]) {
        if (line.isRemoved(`${prefix}${at}`)) rows.delete(at);
        const entry = index.get(`${prefix}${at}`);
        if (entry !== null) note(entry);
      }
      return [...rows.values()];
    },
    arraysByPrefix(prefix, limit) {
      const found = new Set<string>();
      for (const id of arrays.ids()) if (id.startsWith(prefix)) found.add(id);
      for (const id of reader.arraysByPrefix(prefix, limit)) found.add(id);
      return [...found].slice(0, limit);
    },
  };
}
