// A private key in a file: Ed25519, made here, readable by its user alone, never sent anywhere. What leaves is the
// public half, and signatures.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, Fault } from './fault.ts';

/** Whose key it is: faults are `<code>_KEY_EXPOSED` and `<code>_KEY_DAMAGED`. */
export interface KeyOwner {
  readonly code: 'AGENT' | 'SCHEDULER' | 'USER';
  /** As a sentence names it. */
  readonly what: string;
  /** What to do when others may have read it, and when it is damaged. */
  readonly exposedRemedy: string;
  readonly damagedRemedy: string;
}

/** The key at `path`, made when there is none. Throws <code>_KEY_EXPOSED or <code>_KEY_DAMAGED. */
export function takeKey(path: string, owner: KeyOwner): KeyObject {
  return readKey(path, owner) ?? makeKey(path, owner);
}

/** The key at `path`, or null when there is none. Throws <code>_KEY_EXPOSED or <code>_KEY_DAMAGED. */
export function readKey(path: string, owner: KeyOwner): KeyObject | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw new Fault(
      `${owner.code}_KEY_DAMAGED`,
      `cannot open ${owner.what} ${path}: ${errnoOf(error) ?? 'unknown error'}`,
      {
        remedy: 'make it a plain file that this user owns',
        cause: error,
      },
    );
  }
  try {
    const { mode } = fstatSync(fd);
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw new Fault(
        `${owner.code}_KEY_EXPOSED`,
        `${owner.what} ${path} is open to other users (mode ${octal})`,
        { remedy: `run "chmod 600 ${path}", and ${owner.exposedRemedy} if others may have read it` },
      );
    }
    return parseKey(readFileSync(fd, 'utf8'), path, owner);
  } finally {
    closeSync(fd);
  }
}

function parseKey(pem: string, path: string, owner: KeyOwner): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Falls through; the parser's own error might quote the key.
  }
  throw new Fault(`${owner.code}_KEY_DAMAGED`, `${owner.what} ${path} is not an Ed25519 private key`, {
    remedy: owner.damagedRemedy,
  });
}

/** Makes the key under another name and links it into place: whole or not at all, and never over an older one. */
function makeKey(path: string, owner: KeyOwner): KeyObject {
  const { privateKey } = generateKeyPairSync('ed25519');
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, privateKey.export({ type: 'pkcs8', format: 'pem' }), {
    mode: 0o600,
    flag: 'w',
    flush: true,
  });
  try {
    linkSync(temporary, path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  } finally {
    unlinkSync(temporary);
  }
  syncFolder(dirname(path));
  const key = readKey(path, owner);
  if (key === null) throw new Fault(`${owner.code}_KEY_DAMAGED`, `${owner.what} ${path} has gone`);
  return key;
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The public half as it is sent and kept: DER (SPKI), base64. */
export function publicKeyText(key: KeyObject): string {
  return createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64');
}
