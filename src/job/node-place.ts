// Where this node stands: what its credential says, as far as a key of its scheduler that is good now has signed it for
// this very node. What somebody writes into the file of the credential moves the node nowhere.
import { type CredentialBody, readCredential } from '../protocol/credential.ts';
import { nowhere, type Place } from '../protocol/place.ts';
import { isSignedBy, type Signed } from '../protocol/signed.ts';
import type { Trust } from './trust.ts';

/** What the scheduler has signed of this node; null for anything else. */
export function readOwnCredential(
  signed: Signed | null,
  nodeId: string,
  trust: Pick<Trust, 'key' | 'schedulerId'>,
): CredentialBody | null {
  const key = signed === null ? null : trust.key(signed.keyId);
  if (signed === null || key === null) return null;
  const { body: text, signature } = signed;
  if (!isSignedBy(key, 'flopd.v2 node', text, signature)) return null;
  const body = readCredential(signed);
  return body?.nodeId === nodeId && body.schedulerId === trust.schedulerId() ? body : null;
}

/** Asked for each order: the same credential is looked at once, for as long as its key is good. */
export function createNodePlace(
  credential: () => Signed | null,
  nodeId: string,
  trust: Pick<Trust, 'key' | 'schedulerId'>,
): () => Place {
  let seen: { readonly signed: Signed; readonly place: Place } | null = null;
  return () => {
    const signed = credential();
    if (signed === null || trust.key(signed.keyId) === null) return nowhere;
    const isKnown = seen?.signed.body === signed.body && seen.signed.signature === signed.signature;
    if (!isKnown) {
      const place = readOwnCredential(signed, nodeId, trust)?.place ?? null;
      seen = place === null ? null : { signed, place };
    }
    return seen?.place ?? nowhere;
  };
}
