// A host that asks a scheduler for a name, over plain HTTP: its key, and what it is answered.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { EnrolAnswer } from '../../src/protocol/api.ts';
import type { FakeIdentity } from './agent.ts';

export interface FakeHost {
  readonly privateKey: KeyObject;
  /** DER (SPKI), base64. */
  readonly publicKey: string;
}

export function fakeHost(): FakeHost {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64') };
}

/** Asks to be enrolled with this token. */
export async function askToJoin(
  url: string,
  token: string,
  host: FakeHost,
  change: object = {},
): Promise<{ readonly status: number; readonly body: unknown }> {
  const response = await fetch(`${url}/v1/enrol`, {
    method: 'POST',
    body: JSON.stringify({ version: 1, token, publicKey: host.publicKey, name: 'host', ...change }),
  });
  return { status: response.status, body: await response.json() };
}

/** The same, and it must be taken. */
export async function joinAs(
  url: string,
  token: string,
  host: FakeHost,
  change: object = {},
): Promise<FakeIdentity> {
  const { status, body } = await askToJoin(url, token, host, change);
  if (status !== 200) throw new Error(`enrolment answered ${status}: ${JSON.stringify(body)}`);
  return { ...(body as EnrolAnswer), ...host };
}
