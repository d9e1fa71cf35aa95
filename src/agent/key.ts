// The node's key: Ed25519, made here, readable by its user alone, never sent anywhere. What leaves is the public
// half at enrolment, and signatures.
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
import { errnoOf, Fault } from '../base/fault.ts';

/** The key at `path`, made when there is none. */
export function takeKey(path: string): KeyObject {
  return readKey(path) ?? makeKey(path);
}

/** The key at `path`, or null when there is none. Throws AGENT_KEY_EXPOSED or AGENT_KEY_DAMAGED. */
export function readKey(path: string): KeyObject | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw new Fault(
      'AGENT_KEY_DAMAGED',
      `cannot open the node key ${path}: ${errnoOf(error) ?? 'unknown error'}`,
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
      throw new Fault('AGENT_KEY_EXPOSED', `the node key ${path} is open to other users (mode ${octal})`, {
        remedy: `run "chmod 600 ${path}", and enrol this host anew if others may have read it`,
      });
    }
    return parseKey(readFileSync(fd, 'utf8'), path);
  } finally {
    closeSync(fd);
  }
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Falls through; the parser's own error might quote the key.
  }
  throw new Fault('AGENT_KEY_DAMAGED', `the node key ${path} is not an Ed25519 private key`, {
    remedy: 'restore it, or remove the folder it is in and enrol this host anew',
  });
}

/** Makes the key under another name and links it into place: whole or not at all, and never over an older one. */
function makeKey(path: string): KeyObject {
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
  const key = readKey(path);
  if (key === null) throw new Fault('AGENT_KEY_DAMAGED', `the node key ${path} has gone`);
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

/** The public half as the scheduler keeps it: DER (SPKI), base64. */
export function publicKeyText(key: KeyObject): string {
  return createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64');
}
