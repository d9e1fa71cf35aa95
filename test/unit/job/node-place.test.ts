import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createNodePlace, readOwnCredential } from '../../../src/job/node-place.ts';
import { signedCredentialText } from '../../../src/protocol/credential.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import { keyIdOf, type Signed, type SignedPurpose, signText } from '../../../src/protocol/signed.ts';

const scheduler = generateKeyPairSync('ed25519');
const publicKey = scheduler.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
const trust = {
  schedulerId: () => 'scheduler-1',
  key: (keyId: string) => (keyId === keyIdOf(publicKey) ? scheduler.publicKey : null),
};
const body = {
  version: 2 as const,
  schedulerId: 'scheduler-1',
  nodeId: 'node-1',
  publicKey,
  enrolledAtMs: 1,
  place: { ...nowhere, jurisdiction: 'HK' },
  labels: {},
  serial: 1,
};
function signed(change: Partial<typeof body> = {}, purpose: SignedPurpose = 'flopd.v2 node'): Signed {
  const text = signedCredentialText({ ...body, ...change });
  return { keyId: keyIdOf(publicKey), body: text, signature: signText(scheduler.privateKey, purpose, text) };
}
const placeBy = (credential: Signed | null, by = trust) => createNodePlace(() => credential, 'node-1', by)();

describe('the place of this node', () => {
  it('is what its scheduler has signed for it', () => {
    expect(placeBy(signed()).jurisdiction).toBe('HK');
    expect(readOwnCredential(signed(), 'node-1', trust)?.serial).toBe(1);
  });

  it.each<[string, Signed | null]>([
    ['there is no credential', null],
    ['its text was changed', { ...signed(), body: signed().body.replace('HK', 'SG') }],
    ['it is signed for something else', signed({}, 'flopd.v2 order')],
    ['it is of another node', signed({ nodeId: 'node-2' })],
    ['it is of another scheduler', signed({ schedulerId: 'scheduler-2' })],
    ['its key is unknown', { ...signed(), keyId: '0'.repeat(16) }],
    ['its signature is of another text', { ...signed(), signature: signed({ serial: 2 }).signature }],
  ])('is nowhere where %s', (_, credential) => {
    expect(placeBy(credential)).toEqual(nowhere);
  });

  it('follows a new credential, and is nowhere when the key is good no more', () => {
    let present = signed();
    let isGood = true;
    const place = createNodePlace(() => present, 'node-1', {
      ...trust,
      key: (id) => (isGood ? trust.key(id) : null),
    });
    expect(place().jurisdiction).toBe('HK');
    present = signed({ serial: 2, place: { ...nowhere, jurisdiction: 'SG' } });
    expect(place().jurisdiction).toBe('SG');
    isGood = false;
    expect(place()).toEqual(nowhere);
  });
});
