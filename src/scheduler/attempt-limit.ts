// How often an address may show a wrong secret: at most so many failures in a minute, then it is told to wait. Guessing
// 256 bits is hopeless anyway; this bounds what guessing costs. Addresses of one IPv6 network (/64) count as one.
import type { Clock } from '../base/clock.ts';

const PERIOD_MS = 60_000;
/** Addresses that are remembered at a time; the oldest is forgotten for a new one. */
const MAX_ADDRESSES = 4096;

export interface AttemptLimit {
  /** Seconds that this address has to wait before it may try again; null where it may. */
  waitSeconds(address: string | undefined): number | null;
  failed(address: string | undefined): void;
}

export function createAttemptLimit(failuresPerMinute: number, clock: Clock): AttemptLimit {
  const periods = new Map<string, { readonly sinceMs: number; failures: number }>();

  function current(address: string): { readonly sinceMs: number; failures: number } | null {
    const period = periods.get(address);
    if (period === undefined || clock.monotonicMs() - period.sinceMs >= PERIOD_MS) return null;
    return period;
  }

  return {
    waitSeconds(given) {
      const period = current(networkOf(given));
      if (period === null || period.failures < failuresPerMinute) return null;
      return Math.max(1, Math.ceil((period.sinceMs + PERIOD_MS - clock.monotonicMs()) / 1000));
    },
    failed(given) {
      const address = networkOf(given);
      const period = current(address);
      if (period !== null) {
        period.failures += 1;
        return;
      }
      periods.delete(address);
      const [oldest] = periods.keys();
      if (periods.size >= MAX_ADDRESSES && oldest !== undefined) periods.delete(oldest);
      periods.set(address, { sinceMs: clock.monotonicMs(), failures: 1 });
    },
  };
}

/** The address, or the /64 of an IPv6 address. */
function networkOf(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  if (address.startsWith('::ffff:')) return address.slice('::ffff:'.length);
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  // What `::` leaves out are zeros; only the first four groups matter.
  if (tail !== undefined) while (groups.length < 4) groups.push('0');
  return `${groups.slice(0, 4).join(':')}::/64`;
}
