// The key that signs the heads of a chain. It is the chain's own, beside its folder and not in it: whoever copies the
// folder copies no secret, and the process that writes the log needs no other key (the job room in its own process has
// none of the node's).
import { join } from 'node:path';
import { type KeyOwner, takeKey } from '../base/key-file.ts';
import { type AuditSigner, createAuditSigner } from './head.ts';

export const AUDIT_KEY_FILE = 'audit-key.pem';

export const auditKeyOwner = (code: KeyOwner['code']): KeyOwner => ({
  code,
  what: 'the key of the audit log',
  exposedRemedy: 'make a new one by deleting it',
  damagedRemedy: 'restore it, or delete it: the log goes on behind a marked break',
});

/** The key in this folder, made where there is none. Throws <code>_KEY_EXPOSED or <code>_KEY_DAMAGED. */
export function takeAuditSigner(folder: string, code: KeyOwner['code']): AuditSigner {
  return createAuditSigner(takeKey(join(folder, AUDIT_KEY_FILE), auditKeyOwner(code)));
}
