import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import { createStanding, type StandingParts } from '../../../src/job/standing.ts';
import { type CredentialBody, signedCredentialText } from '../../../src/protocol/credential.ts';
import { keyIdOf, type Signed, type SignedPurpose, signText } from '../../../src/protocol/signed.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const spki = (key: KeyObject): string => key.export({ format: 'der', type: 'spki' }).toString('base64');
const keyId = keyIdOf(spki(publicKey));

function credential(change: Partial<CredentialBody> = {}, purpose: SignedPurpose = 'flopd.v2 node'): Signed {
  const body = signedCredentialText({
    version: 2,
    schedulerId: 'scheduler-1',
    nodeId: 'node-1',
    publicKey: spki(publicKey),
    enrolledAtMs: 1,
    place: { jurisdiction: 'CN-GD', hub: null, cluster: null, city: null },
    labels: {},
    serial: 1,
    ...change,
  });
  return { keyId, body, signature: signText(privateKey, purpose, body) };
}

let kept: Signed | null = null;
let known: KeyObject | null = publicKey;
beforeEach(() => {
  kept = null;
  known = publicKey;
});

const open = (change: Partial<StandingParts> = {}) =>
  createStanding({
    nodeId: 'node-1',
    trust: { key: (id) => (id === keyId ? known : null), schedulerId: () => 'scheduler-1' },
    present: () => kept,
    keep(later) {
      kept = later;
    },
    log: createSilentLog(),
    ...change,
  });

describe('where a node stands', () => {
  test('is nowhere without a credential, and where a believed one says', () => {
    const standing = open();
    expect(standing.place().jurisdiction).toBeNull();
    standing.learn(credential());
    expect(standing.place().jurisdiction).toBe('CN-GD');
    expect(open().place().jurisdiction).toBe('CN-GD');
  });

  test.each<[string, Signed]>([
    ['of another node', credential({ nodeId: 'node-2' })],
    ['of another scheduler', credential({ schedulerId: 'scheduler-2' })],
    ['signed for something else', credential({}, 'flopd.v2 order')],
    ['changed after it was signed', { ...credential(), body: credential().body.replace('CN-GD', 'HK') }],
    ['of a key that nobody knows', { ...credential(), keyId: '0123456789abcdef' }],
    ['that is none', { keyId, body: '{}', signature: signText(privateKey, 'flopd.v2 node', '{}') }],
  ])('is not told by a credential %s', (_, bad) => {
    const standing = open();
    standing.learn(bad);
    expect(kept).toBeNull();
    kept = bad;
    expect(standing.place().jurisdiction).toBeNull();
  });

  test('follows a later credential, and goes back to no earlier one', () => {
    const standing = open();
    const second = credential({
      serial: 2,
      place: { jurisdiction: 'HK', hub: null, cluster: null, city: null },
    });
    standing.learn(credential());
    standing.learn(second);
    expect(standing.place().jurisdiction).toBe('HK');
    standing.learn(credential());
    expect(kept).toBe(second);
    expect(standing.place().jurisdiction).toBe('HK');
  });

  test('stays known when the key that signed it is good no more, but not after a new start', () => {
    const standing = open();
    standing.learn(credential());
    expect(standing.place().jurisdiction).toBe('CN-GD');
    known = null;
    expect(standing.place().jurisdiction).toBe('CN-GD');
    expect(open().place().jurisdiction).toBeNull();
  });
});
