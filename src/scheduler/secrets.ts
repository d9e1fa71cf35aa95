// Tokens of the scheduler: 256 random bits each, in files that only their owner can read, and in memory only as
// hashes. Comparing hashes of equal length takes the same time for every wrong guess.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';

const TOKEN_BYTES = 32;
/** Shortest token that is accepted from a file: 128 bits in base 64. */
const MIN_TOKEN_LENGTH = 22;

export interface Secret {
  /** Whether the text is the secret; in constant time. */
  matches(text: string): boolean;
}

/** Reads the secret in the file, or makes one. Mends the mode of a file that others could read. */
export function openSecret(path: string, log: Log): Secret {
  const text = readSecret(path) ?? createSecret(path);
  if (text.length < MIN_TOKEN_LENGTH) {
    throw new Fault(
      'SCHEDULER_TOKEN_WEAK',
      `the token in ${path} is shorter than ${MIN_TOKEN_LENGTH} characters`,
      {
        field: 'stateDir',
        remedy: 'delete the file; a new token is made at the next start',
      },
    );
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    log.warn({ path }, 'others could read a token file; made it private');
    chmodSync(path, 0o600);
  }
  const expected = digest(text);
  return { matches: (candidate) => timingSafeEqual(digest(candidate), expected) };
}

function readSecret(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function createSecret(path: string): string {
  const text = randomBytes(TOKEN_BYTES).toString('base64url');
  writeFileAtomic(path, `${text}\n`, 0o600);
  return text;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
