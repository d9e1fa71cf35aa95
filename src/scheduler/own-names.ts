// Under which names and addresses this scheduler is reached: what a Host header may say, and what its certificate is
// for. Whoever listens on all addresses has those of the machine, which may change while it runs.
import { hostname, networkInterfaces } from 'node:os';
import type { Clock } from '../base/clock.ts';
import { isLoopbackName, plainHost } from '../base/loopback.ts';

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '::1'];
/** Hosts that stand for all addresses of the machine. */
export const EVERYWHERE: ReadonlySet<string> = new Set(['0.0.0.0', '::']);
/** How old the list of the machine's addresses may be. */
const FRESH_MS = 10_000;

export interface OwnNames {
  /** Whether this host part of a URL, in lower case or not, means this scheduler. */
  has(name: string): boolean;
  /** All of them: DNS names and addresses without brackets, each once. */
  list(): readonly string[];
}

export interface OwnNamesParts {
  /** What it was told to listen on. */
  readonly listenHost: string;
  /** Further ones by configuration. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly hostName?: () => string;
  readonly addresses?: () => readonly string[];
}

export function createOwnNames(parts: OwnNamesParts): OwnNames {
  const { listenHost, names, clock, hostName = hostname, addresses = machineAddresses } = parts;
  const isEverywhere = EVERYWHERE.has(listenHost);
  const isWide = !isLoopbackName(listenHost);
  // On loopback the machine's own name means somebody else's port.
  const fixed = new Set(
    [...LOOPBACK_NAMES, ...(isEverywhere ? [] : [listenHost]), ...names].map((name) => plainHost(name)),
  );
  let all: ReadonlySet<string> = fixed;
  let readMs = Number.NEGATIVE_INFINITY;

  function present(): ReadonlySet<string> {
    const nowMs = clock.monotonicMs();
    if (!isWide || nowMs - readMs < FRESH_MS) return all;
    readMs = nowMs;
    const own = plainHost(hostName());
    all = new Set([
      ...fixed,
      ...(own === '' ? [] : [own]),
      ...(isEverywhere ? addresses() : []).map(plainHost),
    ]);
    return all;
  }
  return {
    has: (name) => fixed.has(plainHost(name)) || present().has(plainHost(name)),
    list: () => [...present()],
  };
}

/** Addresses of the machine that others can reach it by: no loopback, no link-local ones. */
function machineAddresses(): string[] {
  let found: ReturnType<typeof networkInterfaces>;
  try {
    found = networkInterfaces();
  } catch {
    // Not allowed to ask (AF_NETLINK in a service): then by its names alone.
    return [];
  }
  return Object.values(found)
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !/^(?:fe80:|169\.254\.)/i.test(address))
    .map(({ address }) => address);
}
