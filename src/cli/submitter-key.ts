// Signs submissions: with the user's own key, which `flopd login` makes and registers, or on the scheduler's own machine
// with the key beside its local token. What is signed is the text that is sent, for one scheduler, at one time.
import { createHash, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../base/folder.ts';
import { type KeyOwner, publicKeyText, readKey, takeKey } from '../base/key-file.ts';
import { userFolder } from '../config/file.ts';
import type { Environment } from '../config/keys.ts';
import { submissionText } from '../protocol/order.ts';
import { signText } from '../protocol/signed.ts';
import { type KeyRequest, userKeyText } from '../protocol/user-api.ts';

/** Signs what is submitted to one scheduler. */
export interface Signer {
  /** Headers that go with the text of a specification. */
  headers(text: string): Readonly<Record<string, string>>;
  /** The same by another clock, which shows this time (ms since 1970) now. */
  by(nowMs: number): Signer;
}

const owner: KeyOwner = {
  code: 'USER',
  what: 'your key',
  exposedRemedy: 'delete it and log in again',
  damagedRemedy: 'delete it and log in again: a new one is made',
};

function userKeyFile(environment: Environment): string {
  return join(userFolder(environment), 'key.pem');
}

/** What registers this user's key with a scheduler; makes the key where there is none. Throws USER_KEY_EXPOSED or USER_KEY_DAMAGED. */
export function registration(environment: Environment, schedulerId: string, user: string): KeyRequest {
  makeFolder(userFolder(environment));
  const key = takeKey(userKeyFile(environment), owner);
  const publicKey = publicKeyText(key);
  return { publicKey, signature: signText(key, 'flopd.v2 user', userKeyText(schedulerId, user, publicKey)) };
}

/** With the key of a login; null where there is none any more. */
export function userSigner(environment: Environment, schedulerId: string): Signer | null {
  const key = readKey(userKeyFile(environment), owner);
  return key === null ? null : createSigner(key, schedulerId);
}

/** With the key of the state directory of a scheduler; null where this user cannot read it. */
export function localSigner(stateDir: string): Signer | null {
  const folder = join(stateDir, 'scheduler');
  try {
    const schedulerId = readFileSync(join(folder, 'id'), 'utf8').trim();
    const key = readKey(join(folder, 'local-key.pem'), owner);
    return key === null ? null : createSigner(key, schedulerId);
  } catch {
    // One that an older flopd left: submissions go unsigned, as they did there.
    return null;
  }
}

function createSigner(key: KeyObject, schedulerId: string, offsetMs = 0): Signer {
  const publicKey = publicKeyText(key);
  return {
    by: (nowMs) => createSigner(key, schedulerId, nowMs - Date.now()),
    headers(text) {
      // To the microsecond: the same specification twice in a millisecond would else be taken for a repeat.
      const signedAtMs = Math.round((Date.now() + offsetMs + (performance.now() % 1)) * 1000) / 1000;
      const digest = createHash('sha256').update(text).digest('hex');
      return {
        'flopd-key': publicKey,
        'flopd-signed-at': String(signedAtMs),
        'flopd-signature': signText(key, 'flopd.v2 job', submissionText(schedulerId, signedAtMs, digest)),
      };
    },
  };
}
