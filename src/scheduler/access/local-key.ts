// The key of the user `local`: made beside the token of the state directory, so that whoever may use that token can sign
// what they submit without having to set anything up.
import { join } from 'node:path';
import { type KeyOwner, publicKeyText, takeKey } from '../../base/key-file.ts';

/** Name of the file in the scheduler's folder; the command line finds it there. */
export const LOCAL_KEY_FILE = 'local-key.pem';

const owner: KeyOwner = {
  code: 'SCHEDULER',
  what: "the local user's key",
  exposedRemedy: 'delete it, so that a new one is made',
  damagedRemedy: 'delete it: a new one is made at the next start',
};

/** Its public half; makes the key where there is none. Throws SCHEDULER_KEY_EXPOSED or SCHEDULER_KEY_DAMAGED. */
export function openLocalKey(folder: string): string {
  return publicKeyText(takeKey(join(folder, LOCAL_KEY_FILE), owner));
}
