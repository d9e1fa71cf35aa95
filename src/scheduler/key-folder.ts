// Where the scheduler's keys lie, beside the job store and not in it: a store that is lost or restored from a copy loses
// no node and no job.
//
//   key.pem            the first key: all there is until the first rotation
//   keys/KEYID.pem     those that came after it
//   keys.json          from when each of them signs, until when its orders are good, and the statements to nodes
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import { type KeyOwner, publicKeyText, readKey, takeKey } from '../base/key-file.ts';
import { keyIdOf, publicKeySchema, signedSchema } from '../protocol/signed.ts';
import { createKeyRing, type KeyRing, type RingKey, type RingState, type RingStore } from './key-ring.ts';

const owner: KeyOwner = {
  code: 'SCHEDULER',
  what: 'the scheduler key',
  exposedRemedy: 'make a new one with "flopd scheduler key rotate"',
  damagedRemedy: 'restore it, or delete it together with keys.json and keys/: nodes then have to join again',
};

const FIRST = 'key.pem';

const fileSchema = z.object({
  version: z.literal(1),
  keys: z
    .array(
      z.object({
        file: z.string().regex(/^(key\.pem|keys\/[0-9a-f]{16}\.pem)$/),
        publicKey: publicKeySchema,
        notBeforeMs: z.number(),
        signsFromMs: z.number(),
        notAfterMs: z.number().nullable(),
      }),
    )
    .min(1),
  statements: z.array(signedSchema).min(1),
});

/**
 * Opens the keys in the folder, or makes the first one. Throws SCHEDULER_KEY_EXPOSED, SCHEDULER_KEY_DAMAGED or
 * SCHEDULER_KEYS_DAMAGED.
 */
export function openKeyFolder(folder: string, schedulerId: string, clock: Pick<Clock, 'wallMs'>): KeyRing {
  const first = takeKey(join(folder, FIRST), owner);
  const store = storeIn(folder);
  const state = readState(folder, publicKeyText(first));
  if (state !== null) return createKeyRing(schedulerId, state, store, clock);
  const alone: RingState = {
    keys: [{ privateKey: first, notBeforeMs: 0, signsFromMs: 0, notAfterMs: null }],
    statements: [],
  };
  const ring = createKeyRing(schedulerId, alone, store, clock);
  // From the start, so that a later loss of it is noticed.
  store.write({ keys: alone.keys, statements: ring.statements() });
  return ring;
}

/** Null where there is none, or one of a key that somebody has deleted before there was a second. */
function readState(folder: string, first: string): RingState | null {
  const path = join(folder, 'keys.json');
  const text = readText(path);
  if (text === null) {
    const later = existsSync(join(folder, 'keys')) ? readdirSync(join(folder, 'keys')) : [];
    if (later.length > 0) throw damaged(path, 'it is missing, and there are keys that it named');
    return null;
  }
  const parsed = fileSchema.safeParse(parseJson(text));
  if (!parsed.success) throw damaged(path, 'it is not what this scheduler wrote');
  if (parsed.data.keys.length === 1 && parsed.data.keys[0]?.publicKey !== first) return null;
  const keys = parsed.data.keys.map(({ file, publicKey, ...times }): RingKey => {
    const privateKey = readKey(join(folder, file), owner);
    if (privateKey === null || publicKeyText(privateKey) !== publicKey)
      throw damaged(path, `${file} is not the key that it names`);
    return { privateKey, ...times };
  });
  return { keys, statements: parsed.data.statements };
}

function storeIn(folder: string): RingStore {
  const fileOf = (keyId: string): string => join('keys', `${keyId}.pem`);
  return {
    makeKey() {
      const { privateKey } = generateKeyPairSync('ed25519');
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
      makeFolder(join(folder, 'keys'), 0o700);
      writeFileAtomic(join(folder, fileOf(keyIdOf(publicKeyText(privateKey)))), pem, 0o600);
      return createPrivateKey(pem);
    },
    write({ keys, statements }) {
      const named = keys.map(({ privateKey, notBeforeMs, signsFromMs, notAfterMs }, at) => {
        const publicKey = publicKeyText(privateKey);
        const file = at === 0 ? FIRST : fileOf(keyIdOf(publicKey));
        return { file, publicKey, notBeforeMs, signsFromMs, notAfterMs };
      });
      const text = JSON.stringify({ version: 1, keys: named, statements }, null, 1);
      writeFileAtomic(join(folder, 'keys.json'), `${text}\n`, 0o600);
    },
  };
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function damaged(path: string, why: string): Fault {
  return new Fault('SCHEDULER_KEYS_DAMAGED', `${path} cannot be used: ${why}`, {
    field: 'stateDir',
    remedy: 'restore it with the folder keys/; without it nodes have to join again',
  });
}
