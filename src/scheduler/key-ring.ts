// The scheduler's signing keys: which of them signs now, which are known again, and what nodes are told of them.
//
// A rotation makes a next key and tells nodes of it at once; after an overlap it signs. The one before stays good for the
// orders that it signed, and for ever for what it signed about nodes and jobs: those are known again by any key here. With
// no overlap the keys until then are revoked: no node takes an order of theirs any more as soon as it hears of it, and they
// vouch for no node here: whoever has one could make members. What they ordered is still known again, since it runs.
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { publicKeyText } from '../base/key-file.ts';
import { type KeysBody, MAX_STATEMENTS, REVOKED_MS } from '../protocol/keys.ts';
import { ORDER_LIFE_MS, ORDER_SKEW_MS } from '../protocol/order.ts';
import { isSignedBy, keyIdOf, type Signed, type SignedPurpose, sealText } from '../protocol/signed.ts';

/** A key with the times (wall clock) in which it counts. */
export interface RingKey {
  readonly privateKey: KeyObject;
  readonly notBeforeMs: number;
  /** It signs from then on. */
  readonly signsFromMs: number;
  /** Orders of it are good until then; null for the last, REVOKED_MS for none of them any more. */
  readonly notAfterMs: number | null;
}

export interface RingState {
  /** Oldest first; never empty. */
  readonly keys: readonly RingKey[];
  /** Statements to nodes, oldest first; the last is about these keys. Empty before the first rotation. */
  readonly statements: readonly Signed[];
}

/** Where a ring is kept. */
export interface RingStore {
  /** A new key that is on disk. */
  makeKey(): KeyObject;
  /** Resolved on return: the ring is on disk. Throws the system's error, and then nothing has changed. */
  write(state: RingState): void;
}

/** A key as people see it. */
export interface RingKeyView {
  readonly keyId: string;
  /** DER (SPKI), base64. */
  readonly publicKey: string;
  readonly signsFromMs: number;
  readonly notAfterMs: number | null;
}

export interface KeyRing {
  /** With the key that signs at present. */
  sign(purpose: SignedPurpose, body: string): Signed;
  /** Whether a key of this scheduler, present or past, signed this; of nodes, one that is not revoked. */
  isOurs(purpose: SignedPurpose, signed: Signed): boolean;
  /** The key that signs at present. */
  signing(): KeyObject;
  /** All public keys that are not revoked, oldest first. */
  publicKeys(): readonly KeyObject[];
  /** The first key: what version 1 sealed was sealed with it. */
  readonly first: KeyObject;
  /** By which nodes learn the keys, oldest first. */
  statements(): readonly Signed[];
  keys(): readonly RingKeyView[];
  /**
   * Makes the next key; it signs after `overlapMs`. 0 revokes all others. Throws SCHEDULER_ROTATION_PENDING while the last
   * one has not begun to sign, unless that is revoked too.
   */
  rotate(overlapMs: number): RingKeyView;
}

interface Held extends RingKey {
  readonly keyId: string;
  readonly publicKey: string;
  readonly key: KeyObject;
}

export function createKeyRing(
  schedulerId: string,
  state: RingState,
  store: RingStore,
  clock: Pick<Clock, 'wallMs'>,
): KeyRing {
  let held: readonly Held[] = state.keys.map(hold);
  let statements = state.statements.length > 0 ? state.statements : [state1()];

  /** Always the same, as long as there is one key. */
  function state1(): Signed {
    const first = firstOf(held);
    return stateKeys(schedulerId, 1, [first], first);
  }

  function signer(nowMs: number): Held {
    // A clock that goes back does not bring back what is revoked.
    const good = held.filter(({ notAfterMs }) => notAfterMs !== REVOKED_MS);
    let present = firstOf(good);
    for (const one of good) if (one.signsFromMs <= nowMs) present = one;
    return present;
  }

  return {
    sign(purpose, body) {
      const { privateKey, keyId } = signer(clock.wallMs());
      return sealText(privateKey, keyId, purpose, body);
    },
    isOurs(purpose, { keyId, body, signature }) {
      const one = held.find((key) => key.keyId === keyId);
      if (one?.notAfterMs === REVOKED_MS && purpose === 'flopd.v2 node') return false;
      return one !== undefined && isSignedBy(one.key, purpose, body, signature);
    },
    signing: () => signer(clock.wallMs()).privateKey,
    publicKeys: () => held.filter(({ notAfterMs }) => notAfterMs !== REVOKED_MS).map(({ key }) => key),
    first: firstOf(held).privateKey,
    statements: () => statements,
    keys: () => held.map(viewOf),
    rotate(overlapMs) {
      const nowMs = clock.wallMs();
      const last = held.at(-1) ?? firstOf(held);
      const revokes = overlapMs === 0;
      if (last.signsFromMs > nowMs && !revokes) {
        throw new Fault(
          'SCHEDULER_ROTATION_PENDING',
          `the last key made, ${last.keyId}, signs only from ${new Date(last.signsFromMs).toISOString()}`,
          { remedy: 'rotate again after that; an overlap of 0 revokes it, and the one before, now' },
        );
      }
      const signsFromMs = nowMs + overlapMs;
      // Nothing was signed with it before it was there. A time, of a clock that was ahead, would lock out every node later.
      const next = hold({ privateKey: store.makeKey(), notBeforeMs: 0, signsFromMs, notAfterMs: null });
      const isGood = ({ notAfterMs }: Held): boolean => notAfterMs === null || notAfterMs > nowMs;
      const retired = revokes
        ? held.map((one): Held => ({ ...one, notAfterMs: REVOKED_MS }))
        : [...held.slice(0, -1), { ...last, notAfterMs: signsFromMs + ORDER_LIFE_MS + ORDER_SKEW_MS }];
      const keys = [...retired, next];
      const serial = serialOf(statements.at(-1)) + 1;
      // The last one signs the statement, so it stands in it.
      const good = keys.filter((one) => isGood(one) || one.keyId === last.keyId).slice(-8);
      const stated = [...statements, stateKeys(schedulerId, serial, good, last)].slice(-MAX_STATEMENTS);
      store.write({ keys, statements: stated });
      held = keys;
      statements = stated;
      return viewOf(next);
    },
  };
}

function hold(key: RingKey): Held {
  const publicKey = publicKeyText(key.privateKey);
  return { ...key, publicKey, keyId: keyIdOf(publicKey), key: createPublicKey(key.privateKey) };
}

function firstOf(held: readonly Held[]): Held {
  const [first] = held;
  if (first === undefined) throw new Error('a ring without a key');
  return first;
}

function viewOf({ keyId, publicKey, signsFromMs, notAfterMs }: Held): RingKeyView {
  return { keyId, publicKey, signsFromMs, notAfterMs };
}

function stateKeys(schedulerId: string, serial: number, keys: readonly Held[], by: Held): Signed {
  const body: KeysBody = {
    version: 1,
    schedulerId,
    serial,
    keys: keys.map(({ publicKey, notBeforeMs, notAfterMs }) => ({ publicKey, notBeforeMs, notAfterMs })),
  };
  return sealText(by.privateKey, by.keyId, 'flopd.v2 keys', JSON.stringify(body));
}

function serialOf(statement: Signed | undefined): number {
  return statement === undefined ? 0 : (JSON.parse(statement.body) as KeysBody).serial;
}
