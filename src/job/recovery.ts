// What an earlier agent left, taken up: the records of its journal, and the folders of its attempts. One record or one
// attempt that cannot be taken up must not keep the others from being supervised: it is told, and left as it is.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Native } from '../native.ts';
import type { Book, Walled } from './book.ts';
import type { Life } from './life.ts';
import { ownerOf, removeFolder, removeIfEmpty } from './output.ts';

const UNREAD_LOGGED_MAX = 20;
const ATTEMPT_FOLDER = /^([a-z]+-[0-9a-z]{1,32})\.([1-9]\d{0,14})$/;

/** Everything that an earlier agent left: attempts of the journal, and folders that the journal does not know. */
export function recoverAll(
  book: Book,
  life: Life,
  jobsFolder: string,
  native: Native | null,
  log: Log,
): readonly string[] {
  const problems: string[] = [];
  for (const entry of readdirSync(jobsFolder)) {
    const match = ATTEMPT_FOLDER.exec(entry);
    if (match === null) continue;
    const jobId = match[1] ?? '';
    const epoch = Number(match[2]);
    if (book.find(jobId, epoch) !== null) continue;
    if (removeIfEmpty(join(jobsFolder, entry))) continue; // made for an order whose intent never reached the disk
    if (book.closed(jobId, epoch) === null) {
      log.warn({ jobId, epoch }, 'a job is not in the journal; it is taken up from its folder');
      const walled = wallsOf(join(jobsFolder, entry));
      book.add({ jobId, epoch, order: null, bootId: null, granted: null, walled });
    } else
      void removeFolder(join(jobsFolder, entry), native).catch((error: unknown) =>
        log.warn({ err: error }, 'old folder stays'),
      );
  }
  for (const attempt of [...book.attempts()]) {
    if (attempt.result !== null) {
      queueMicrotask(() => life.retell(attempt));
      life.removeIfDone(attempt, false);
      continue;
    }
    const { jobId, epoch } = attempt;
    if (attempt.order === null) attempt.walled ??= wallsOf(join(jobsFolder, `${jobId}.${epoch}`));
    try {
      life.recover(attempt);
    } catch (error) {
      // One that cannot be taken up must not keep the others from being supervised.
      log.error(
        { err: error, jobId, epoch },
        'a job cannot be taken up; it is left alone until the next start',
      );
      problems.push(`${jobId} cannot be taken up: ${describeError(error)}`);
    }
  }
  return problems;
}

/** Of an attempt whose order is lost nothing is known but whose its folder is. */
function wallsOf(folder: string): Walled | null {
  const userId = ownerOf(folder);
  return userId === null ? null : { userId, limits: {}, isolation: {} };
}

/** A record that is not understood, or that breaks what reads it, is told and stays in the journal. */
export function replayAll(book: Book, records: readonly unknown[], log: Log): string[] {
  let unread = 0;
  for (const record of records) {
    try {
      if (book.replay(record)) continue;
    } catch (error) {
      log.error({ err: error }, 'journal: a record cannot be taken in');
    }
    unread += 1;
    if (unread <= UNREAD_LOGGED_MAX)
      log.error({ record: JSON.stringify(record).slice(0, 200) }, 'journal: a record is not understood');
  }
  return unread === 0 ? [] : [`${unread} records of the job journal are not understood and kept aside`];
}
