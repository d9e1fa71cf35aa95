// Which audit logs a command speaks of: the folder that was named, or those of the scheduler and the node in the state
// directory; and the keys that may have signed them.

import { createPublicKey } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { HEAD_FILE } from '../audit/head.ts';
import { AUDIT_KEY_FILE, auditKeyOwner } from '../audit/key.ts';
import { listSegments } from '../audit/segment.ts';
import { describeError, Fault } from '../base/fault.ts';
import { publicKeyText, readKey } from '../base/key-file.ts';
import { readPublicKey } from '../protocol/signed.ts';
import type { Context } from './context.ts';
import { addConfigFlags, readConfig } from './flags.ts';
import { usageFault } from './usage.ts';

/** Where daemons keep their logs in a state directory. */
const PLACES = ['scheduler/audit', 'agent/audit', 'runner/audit'];

export interface AuditFolder {
  readonly path: string;
  /** Of those who may have signed it; null where none is known. */
  readonly trusted: readonly string[] | null;
}

export function addAuditFlags(command: Command): Command {
  return addConfigFlags(
    command.option('--path <FOLDER>', 'a log, or a copy of one, instead of those of the state directory'),
    ['stateDir'],
  );
}

/** Throws Fault AUDIT_NOT_FOUND. */
export async function findAuditFolders(command: Command, context: Context): Promise<AuditFolder[]> {
  const { path } = command.opts() as { path?: string };
  const { stateDir } = await readConfig(command, context);
  const named =
    path === undefined ? PLACES.map((place) => join(stateDir, place)) : [resolve(context.folder, path)];
  const found = named.filter(hasLog);
  if (found.length > 0) return found.map((folder) => ({ path: folder, trusted: ownKey(folder) }));
  throw new Fault('AUDIT_NOT_FOUND', `there is no audit log in ${path === undefined ? stateDir : named[0]}`, {
    remedy:
      'name the folder that holds audit-000001.jsonl with --path FOLDER, or the state directory with --state-dir DIR',
  });
}

/** Throws Fault AUDIT_UNREADABLE. */
export function hasLog(folder: string): boolean {
  try {
    return existsSync(join(folder, HEAD_FILE)) || listSegments(folder).length > 0;
  } catch (error) {
    throw new Fault('AUDIT_UNREADABLE', `${folder} cannot be read (${describeError(error)})`, {
      remedy: 'run as the user of the daemon that writes it, or check a copy with --path FOLDER',
      cause: error,
    });
  }
}

/** The public half of the key beside the log, where this user may read it. */
function ownKey(folder: string): readonly string[] | null {
  try {
    const key = readKey(join(dirname(folder), AUDIT_KEY_FILE), auditKeyOwner('AGENT'));
    return key === null ? null : [publicKeyText(key)];
  } catch {
    return null;
  }
}

/** A key as people give it: PEM in a file, or base64 of its DER. Throws a usage Fault. */
export function readKeyArgument(text: string, context: Context): string {
  if (readPublicKey(text) !== null) return text;
  const path = resolve(context.folder, text);
  try {
    const given = readFileSync(path, 'utf8').trim();
    if (readPublicKey(given) !== null) return given;
    const key = createPublicKey(given);
    if (key.asymmetricKeyType === 'ed25519')
      return key.export({ format: 'der', type: 'spki' }).toString('base64');
  } catch {
    // Said below.
  }
  throw usageFault(
    '--public-key: it is no Ed25519 public key',
    'give its base64 (DER), or a file that holds it, also as PEM',
  );
}
