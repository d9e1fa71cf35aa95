// What an earlier agent left, taken up: the records of its journal, and the folders of its attempts. One record or one
// attempt that cannot be taken up must not keep the others from being supervised: it is told, and left as it is.
import { join } from 'node:path';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Attempt, Book, Walled } from './book.ts';
import type { JobFolders } from './folders.ts';
import type { Life } from './life.ts';

const UNREAD_LOGGED_MAX = 20;
const ATTEMPT_FOLDER = /^([a-z]+-[0-9a-z]{1,32})\.([1-9]\d{0,14})$/;

export interface Left {
  readonly book: Book;
  readonly life: Life;
  readonly folders: JobFolders;
  readonly jobsFolder: string;
  /** Names in that folder. */
  readonly found: readonly string[];
  readonly log: Log;
}

/** Everything that an earlier agent left: attempts of the journal, and folders that the journal does not know. */
export function recoverAll({ book, life, folders, jobsFolder, found, log }: Left): readonly string[] {
  const problems: string[] = [];
  for (const entry of found) {
    const match = ATTEMPT_FOLDER.exec(entry);
    if (match === null) continue;
    const jobId = match[1] ?? '';
    const epoch = Number(match[2]);
    if (book.find(jobId, epoch) !== null) continue;
    // Made for an order whose intent never reached the disk.
    if (folders.removeIfEmpty(join(jobsFolder, entry))) continue;
    if (book.closed(jobId, epoch) === null) {
      log.warn({ jobId, epoch }, 'a job is not in the journal; it is taken up from its folder');
      const walled = wallsOf(folders, join(jobsFolder, entry));
      book.add({ jobId, epoch, order: null, bootId: null, granted: null, walled });
    } else
      void folders
        .remove(join(jobsFolder, entry))
        .catch((error: unknown) => log.warn({ err: error }, 'old folder stays'));
  }
  for (const attempt of [...book.attempts()]) {
    if (attempt.result !== null) {
      queueMicrotask(() => life.retell(attempt));
      life.removeIfDone(attempt, isHalfRemoved(attempt, folders, life.folderOf(attempt)));
      continue;
    }
    const { jobId, epoch } = attempt;
    if (attempt.order === null) attempt.walled ??= wallsOf(folders, join(jobsFolder, `${jobId}.${epoch}`));
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

/** The last agent died while it removed the folder: what is not there any more had been delivered. */
function isHalfRemoved({ result, acknowledged }: Attempt, folders: JobFolders, folder: string): boolean {
  if (result === null || !acknowledged) return false;
  const { stdoutBytes, stderrBytes } = folders.storedBytes(folder);
  return stdoutBytes < result.stdoutBytes || stderrBytes < result.stderrBytes;
}

/** Of an attempt whose order is lost nothing is known but whose its folder is. */
function wallsOf(folders: JobFolders, folder: string): Walled | null {
  const userId = folders.ownerOf(folder);
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
