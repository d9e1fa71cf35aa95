// Authorities and certificates for tests, made by the scheduler's own writer of them.
import { makeAuthority, makeLeaf, type Pair, type Validity } from '../../src/scheduler/tls/certificate.ts';

const DAY_MS = 86_400_000;

export function validity(fromMs = Date.now() - DAY_MS, untilMs = Date.now() + DAY_MS): Validity {
  return { fromMs, untilMs };
}

export function authority(name = 'test authority'): Promise<Pair> {
  return makeAuthority(name, validity());
}

/** What a TLS server takes: a certificate for these names, with its authority behind it. */
export async function serverPair(
  by: Pair,
  names: readonly string[] = ['127.0.0.1', 'localhost'],
  time: Validity = validity(),
): Promise<{ readonly key: string; readonly cert: string }> {
  const leaf = await makeLeaf(names, by, time);
  return { key: leaf.key, cert: `${leaf.certificate}${by.certificate}` };
}
