// How often an address may fail to show a good token. A guess at 256 random bits is hopeless however often it is made:
// this is not what keeps anybody out. It keeps a flood of failures cheap and tells whoever makes it to stop. What is
// right is let in from any address at any time, so that nobody locks out a neighbour behind the same address.
import { isIPv6 } from 'node:net';
import type { Clock } from '../../base/clock.ts';

export const ATTEMPTS_PER_MINUTE = 20;
/** Seconds after which one more failure is answered in full. */
export const ATTEMPT_RETRY_SECONDS = 60 / ATTEMPTS_PER_MINUTE;
/** Addresses that are remembered; the oldest go first. */
const MAX_ADDRESSES = 8192;

export interface Attempts {
  /** Counts a failure; false when this address has made too many lately. */
  failed(address: string | undefined): boolean;
}

export function createAttempts(clock: Clock): Attempts {
  const buckets = new Map<string, { left: number; atMs: number }>();
  return {
    failed(address) {
      const key = networkOf(address ?? '');
      const nowMs = clock.monotonicMs();
      const bucket = buckets.get(key) ?? { left: ATTEMPTS_PER_MINUTE, atMs: nowMs };
      const regained = (nowMs - bucket.atMs) / (ATTEMPT_RETRY_SECONDS * 1000);
      bucket.left = Math.min(ATTEMPTS_PER_MINUTE, bucket.left + regained);
      bucket.atMs = nowMs;
      buckets.delete(key);
      buckets.set(key, bucket);
      const [oldest] = buckets.keys();
      if (buckets.size > MAX_ADDRESSES && oldest !== undefined) buckets.delete(oldest);
      if (bucket.left < 1) return false;
      bucket.left -= 1;
      return true;
    },
  };
}

/** One host of IPv6 has a whole /64 to itself. */
function networkOf(address: string): string {
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.split('%', 1)[0]?.split('::', 2) ?? [];
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros =
    tail === undefined ? [] : Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return [...left, ...zeros, ...right].slice(0, 4).join(':');
}
