// What the scheduler signs of its nodes (protocol/credential.ts), from their records; and whether what a node shows was
// signed here.
import { type CredentialBody, readCredential, signedCredentialText } from '../protocol/credential.ts';
import { type Labels, nowhere, type Place } from '../protocol/place.ts';
import type { Signed, SignedPurpose } from '../protocol/signed.ts';
import type { NodeRecord } from './queue/queue.ts';

/** The scheduler's keys: signs with the present one, knows what any of them has signed. */
export interface CredentialSigner {
  sign(purpose: SignedPurpose, body: string): Signed;
  isOurs(purpose: SignedPurpose, signed: Signed): boolean;
}

export interface NodeCredentials {
  /** Of the key that signs at present. */
  keyId(): string;
  /** The credential of the record as it is. */
  issue(record: NodeRecord): Signed;
  /** What a node shows, where this scheduler signed it for this node; null otherwise. */
  read(nodeId: string, signed: Signed | null): CredentialBody | null;
  /** The same, where it is of a later serial than the record. */
  later(record: NodeRecord, shown: Signed | null): CredentialBody | null;
  /** A credential for a node that has shown this one: null where it is up to date. */
  newer(record: NodeRecord, shown: Signed | null): Signed | null;
}

export function createNodeCredentials(schedulerId: string, signer: CredentialSigner): NodeCredentials {
  function issue(record: NodeRecord): Signed {
    const { id: nodeId, publicKey, enrolledAtMs } = record;
    const body: CredentialBody = {
      version: 2,
      schedulerId,
      nodeId,
      publicKey,
      enrolledAtMs,
      place: placeOf(record),
      labels: labelsOf(record),
      serial: serialOf(record),
    };
    return signer.sign('flopd.v2 node', signedCredentialText(body));
  }

  function read(nodeId: string, signed: Signed | null): CredentialBody | null {
    const body = signed === null ? null : readCredential(signed);
    if (signed === null || body?.nodeId !== nodeId || body.schedulerId !== schedulerId) return null;
    return signer.isOurs('flopd.v2 node', signed) ? body : null;
  }

  return {
    keyId: () => signer.sign('flopd.v2 node', '').keyId,
    issue,
    read,
    later(record, shown) {
      // Looked at before it is verified: of ten thousand nodes that come back at once none shows a later one.
      const serial = shown === null ? null : readCredential(shown)?.serial;
      if (serial == null || serial <= serialOf(record)) return null;
      return read(record.id, shown);
    },
    newer(record, shown) {
      const present = issue(record);
      const isPresent = shown?.body === present.body && shown.signature === present.signature;
      return isPresent ? null : present;
    },
  };
}

/** Where the node stands; nowhere, as long as no token and no admin has said it. */
export function placeOf(record: NodeRecord | null): Place {
  return record?.place ?? nowhere;
}

export function labelsOf(record: NodeRecord | null): Labels {
  return record?.labels ?? {};
}

/** Of its present credential. */
export function serialOf(record: NodeRecord): number {
  return record.serial ?? 1;
}
