// Jobs by what a user types: the id, or an unambiguous start of it.
import { Fault } from '../base/fault.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

/** Ids named when a start fits several. */
const AMBIGUOUS_SHOWN = 5;

/** Throws Fault API_NOT_FOUND or API_AMBIGUOUS. */
export function findJob(queue: Pick<Queue, 'job' | 'jobsByPrefix'>, name: string): JobRecord {
  const known = queue.job(name);
  if (known !== null) return known;
  // Ids are lower case; a start may leave out the word that all of them share.
  const start = name.startsWith('job-') ? name : `job-${name}`;
  const found = /^job-[0-9a-z]*$/.test(start) ? queue.jobsByPrefix(start, AMBIGUOUS_SHOWN + 1) : [];
  const [only] = found;
  if (only === undefined) {
    throw new Fault('API_NOT_FOUND', `there is no job "${shown(name)}"`, {
      remedy: 'see the list of jobs',
    });
  }
  if (found.length === 1) return only;
  throw ambiguous(
    'job',
    name,
    found.map((job) => job.id),
  );
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
