// What people call jobs and arrays in requests: whole ids, unambiguous starts of them (`isIdStart`), and `arr-ID.3` or `arr-ID[3]`
// for a job of an array.
import { Fault } from '../base/fault.ts';
import { isIdStart } from '../base/id.ts';
import { memberId, parseMemberName } from '../protocol/array.ts';
import type { ArrayTally, JobRecord, Queue } from './queue/queue.ts';

/** Ids named when a prefix fits several. */
const AMBIGUOUS_SHOWN = 5;
const REMEDY =
  'see the list of jobs; an id may be cut to its first four letters or more, behind its word. Ended jobs are kept as long as history.keepMs and history.jobs of the scheduler say';

/** Throws Fault API_NOT_FOUND or API_AMBIGUOUS. */
export function findJob(name: string, queue: Queue): JobRecord {
  const known = queue.job(name);
  if (known !== null) return known;
  const member = parseMemberName(name);
  if (member !== null) {
    const { id } = findArray(member.arrayId, queue);
    const job = queue.job(memberId(id, member.index));
    if (job !== null) return job;
    throw new Fault('API_NOT_FOUND', `array ${id} has no job ${member.index}`, {
      remedy: `see "flopd job ${id}"`,
    });
  }
  if (name.startsWith('arr-')) {
    const { id, first } = findArray(name, queue);
    throw new Fault('API_NOT_FOUND', `${id} is an array, not a job`, {
      remedy: `name one of its jobs, for example ${id}.${first}`,
    });
  }
  // Ids are lower case; a start may leave out the word that all of them share.
  const start = name.startsWith('job-') ? name : `job-${name}`;
  const found = isIdStart('job', start) ? queue.jobsByPrefix(start, AMBIGUOUS_SHOWN + 1) : [];
  const [only] = found;
  if (only === undefined) {
    throw new Fault('API_NOT_FOUND', `there is no job "${shown(name)}"`, { remedy: REMEDY });
  }
  if (found.length > 1) {
    const ids = found.map((job) => job.id);
    throw ambiguous('job', name, ids);
  }
  return only;
}

/** Throws Fault API_NOT_FOUND or API_AMBIGUOUS. */
export function findArray(name: string, queue: Pick<Queue, 'array' | 'arraysByPrefix'>): ArrayTally {
  const known = name.startsWith('arr-') ? queue.array(name) : null;
  if (known !== null) return known;
  const ids = isIdStart('arr', name) ? queue.arraysByPrefix(name, AMBIGUOUS_SHOWN + 1) : [];
  if (ids.length > 1) throw ambiguous('array', name, ids);
  const only = ids[0] === undefined ? null : queue.array(ids[0]);
  if (only !== null) return only;
  throw new Fault('API_NOT_FOUND', `there is no array "${shown(name)}"`, { remedy: REMEDY });
}

export function ambiguous(kind: string, name: string, ids: readonly string[]): Fault {
  const named = ids.slice(0, AMBIGUOUS_SHOWN).join(', ');
  const more = ids.length > AMBIGUOUS_SHOWN ? ' and more' : '';
  return new Fault('API_AMBIGUOUS', `"${shown(name)}" fits several ${kind}s: ${named}${more}`, {
    remedy: 'give more of the id',
  });
}

/** Text of a request, fit for an error message. */
export function shown(text: string): string {
  return text.slice(0, 64).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}
