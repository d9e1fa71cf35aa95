// In which state each job of an array is: one byte a job. Filled when somebody first asks for the array, from the disk
// and what memory knows better, and kept true by every change from then on; those not asked for longest are forgotten.
import { type JobState, jobStates } from '../../protocol/result.ts';
import type { ArrayTally, JobRecord } from './queue.ts';

/** Jobs of arrays that are known at the same time. */
const MAX_MEMBERS = 2_000_000;
/** States as bytes; 0 stands for a job that is not there. */
const codes = new Map<JobState, number>(jobStates.map((state, at) => [state, at + 1]));
const codeOf = (state: JobState): number => codes.get(state) ?? 0;

export interface ArrayRow {
  readonly index: number;
  readonly state: JobState;
}

export interface ArrayIndex {
  /** Makes an array known of which no job is on disk. */
  create(id: string, first: number, size: number): void;
  /** A job has this state now. */
  note(job: Pick<JobRecord, 'array' | 'state'>): void;
  /** A job is no longer there. */
  forget(job: Pick<JobRecord, 'array'>): void;
  get(id: string): ArrayTally | null;
  /** Ids known now. */
  ids(): Iterable<string>;
}

interface Tally extends ArrayTally {
  set(index: number, code: number): void;
}

/** `load` gives the jobs of an array that are not yet known here; none for an unknown array. */
export function createArrayIndex(load: (id: string) => readonly ArrayRow[], limit = MAX_MEMBERS): ArrayIndex {
  /** Longest unused first. */
  const tallies = new Map<string, Tally>();
  let members = 0;

  function keep(tally: Tally): Tally {
    tallies.set(tally.id, tally);
    members += span(tally);
    for (const [id, oldest] of tallies) {
      if (members <= limit || id === tally.id) break;
      drop(oldest);
    }
    return tally;
  }

  function drop(tally: Tally): void {
    if (tallies.delete(tally.id)) members -= span(tally);
  }

  function read(id: string): Tally | null {
    const rows = load(id);
    const [head] = rows;
    if (head === undefined) return null;
    let [first, last] = [head.index, head.index];
    for (const { index } of rows) {
      first = Math.min(first, index);
      last = Math.max(last, index);
    }
    const tally = createTally(id, first, last);
    for (const { index, state } of rows) tally.set(index, codeOf(state));
    return keep(tally);
  }

  return {
    create(id, first, size) {
      keep(createTally(id, first, first + size - 1));
    },
    note({ array, state }) {
      const tally = array === null ? undefined : tallies.get(array.id);
      if (array === null || tally === undefined) return;
      // A job that a node brought back may lie beyond those known so far: then it is read anew.
      if (array.index < tally.first || array.index > tally.last) drop(tally);
      else tally.set(array.index, codeOf(state));
    },
    forget({ array }) {
      const tally = array === null ? undefined : tallies.get(array.id);
      if (array === null || tally === undefined) return;
      tally.set(array.index, 0);
      if (tally.size === 0) drop(tally);
    },
    get(id) {
      const known = tallies.get(id);
      if (known === undefined) return read(id);
      tallies.delete(id);
      tallies.set(id, known);
      return known;
    },
    ids: () => tallies.keys(),
  };
}

const span = ({ first, last }: ArrayTally): number => last - first + 1;

function createTally(id: string, first: number, last: number): Tally {
  const states = new Uint8Array(last - first + 1);
  const counts = new Uint32Array(jobStates.length + 1);
  counts[0] = states.length;
  return {
    id,
    first,
    last,
    get size() {
      return states.length - (counts[0] ?? 0);
    },
    state: (index) => jobStates[(states[index - first] ?? 0) - 1] ?? null,
    count: (state) => counts[codeOf(state)] ?? 0,
    set(index, code) {
      const at = index - first;
      const before = states[at];
      if (before === undefined || before === code) return;
      states[at] = code;
      counts[before] = (counts[before] ?? 0) - 1;
      counts[code] = (counts[code] ?? 0) + 1;
    },
  };
}
