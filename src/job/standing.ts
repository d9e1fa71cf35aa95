// Where this node stands: what its credential says, if a key of its scheduler signed it (trust.ts). The credential comes with
// the enrolment and, when something has changed, over the link; whoever passed it on has no part in what is believed. A
// node without one, or with one that nobody vouches for, stands nowhere.
import type { Log } from '../base/log.ts';
import { type CredentialBody, readCredential } from '../protocol/credential.ts';
import { nowhere, type Place } from '../protocol/place.ts';
import { isSignedBy, type Signed } from '../protocol/signed.ts';
import type { Trust } from './trust.ts';

export interface Standing {
  place(): Place;
  /** Takes over a later credential, if it is to be believed. Never throws. */
  learn(credential: Signed): void;
}

export interface StandingParts {
  readonly nodeId: string;
  readonly trust: Pick<Trust, 'key' | 'schedulerId'>;
  /** The credential that is kept; null for none. */
  readonly present: () => Signed | null;
  /** Keeps a later one, on disk; without it somebody else does. */
  readonly keep?: (credential: Signed) => void;
  readonly log: Log;
}

export function createStanding({ nodeId, trust, present, keep, log }: StandingParts): Standing {
  /** Checked once: a key that is good no more has signed well what it signed before. */
  let checked: { readonly signature: string; readonly body: CredentialBody } | null = null;

  function believe(credential: Signed): CredentialBody | null {
    if (checked?.signature === credential.signature) return checked.body;
    const body = readCredential(credential);
    if (body === null || body.nodeId !== nodeId || body.schedulerId !== trust.schedulerId()) return null;
    const key = trust.key(credential.keyId);
    if (key === null || !isSignedBy(key, 'flopd.v2 node', credential.body, credential.signature)) return null;
    return body;
  }

  /** What the credential that is kept says, if it is to be believed. */
  function known(): CredentialBody | null {
    const credential = present();
    if (credential === null) return null;
    const body = believe(credential);
    checked = body === null ? null : { signature: credential.signature, body };
    return body;
  }

  return {
    place: () => known()?.place ?? nowhere,
    learn(credential) {
      const before = known();
      const body = believe(credential);
      if (body === null) {
        log.warn({}, 'a credential is not believed: no key of the scheduler signed it for this node');
        return;
      }
      if (keep === undefined || credential.signature === checked?.signature) return;
      // Another key of this node comes by enrolling it again, and from nowhere else.
      if (before !== null && (body.serial < before.serial || body.publicKey !== before.publicKey)) {
        log.warn(
          { serial: body.serial, known: before.serial },
          'a credential was not taken: it is earlier, or of another key',
        );
        return;
      }
      keep(credential);
    },
  };
}
