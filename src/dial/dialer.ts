// How a scheduler is reached, for every connection that agent and command line make to it: the addresses of its name,
// the proxy between, whom to believe. A dialler gives options that `node:http(s).request` and `ws` take as they are, so
// that each caller keeps its own deadlines and limits. TLS is version 1.3; nobody follows a redirect.
import { type Agent, Agent as PlainAgent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { checkServerIdentity, createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { dialFault } from './failure.ts';
import { createNames, type Names } from './names.ts';
import { describeProxy, isLoopback, isTls, type ProxyOf, proxyOfEnvironment } from './proxy.ts';
import { systemAuthorities } from './trust.ts';
import { createTunnel } from './tunnel.ts';

/** An address of several that does not answer for so long is left for the next; the last one has no such limit. */
const NEXT_ADDRESS_MS = 1500;

/** Options of one connection, for `request` and `ws`. */
export interface DialOptions {
  readonly lookup: LookupFunction;
  readonly autoSelectFamily: true;
  readonly autoSelectFamilyAttemptTimeout: number;
  /** Only where a proxy stands between. */
  readonly agent?: Agent;
  readonly secureContext?: SecureContext;
  readonly checkServerIdentity?: (host: string, certificate: PeerCertificate) => Error | undefined;
  /** Said aloud, so that nothing in the environment can say otherwise. */
  readonly rejectUnauthorized: boolean;
}

export interface PoolLimits {
  readonly maxSockets: number;
  readonly idleMs: number;
}

export interface Dialer {
  /** For one connection to an address of the scheduler. Throws DIAL_PLAIN or DIAL_PROXY_UNFIT. */
  options(url: string | URL): DialOptions;
  /** An agent that keeps connections; its requests give `options` as well. The caller destroys it. */
  pool(url: string | URL, limits: PoolLimits): Agent;
  /** The error of such a connection as one that a person can act on. */
  explain(url: string | URL, error: unknown): Error;
}

export interface DialerParts {
  /** Whom to believe, in PEM, asked for each connection; null: those of the system. */
  readonly authorities: () => readonly string[] | null;
  /** Refuses every address without TLS, this machine's too: for who has once had it. */
  readonly tlsOnly?: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly names?: Names;
  readonly proxyOf?: ProxyOf;
  /** How long a proxy may take to answer; tests shorten it. */
  readonly proxyDeadlineMs?: number;
}

/** Reads and connects nothing yet. */
export function createDialer(parts: DialerParts): Dialer {
  const { clock, log } = parts;
  const names = parts.names ?? createNames({ clock, log });
  const proxyOf = parts.proxyOf ?? proxyOfEnvironment;
  const told = new Set<string>();
  let context: SecureContext | null = null;
  let believed: readonly string[] | null | undefined;

  /** Made anew only when the authorities are others: reading those of the system takes some milliseconds. */
  function secureContext(): SecureContext {
    const authorities = parts.authorities();
    if (context === null || authorities !== believed) {
      const ca = authorities ?? systemAuthorities();
      context = createSecureContext({ ca: typeof ca === 'string' ? ca : [...ca], minVersion: 'TLSv1.3' });
      believed = authorities;
    }
    return context;
  }

  function tlsOptions(url: URL): Partial<DialOptions> {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    return {
      secureContext: secureContext(),
      // Behind a proxy the TLS socket does not know whom it talks to, and Node would compare with "localhost".
      checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
    };
  }

  function proxyFor(url: URL): URL | null {
    const proxy = proxyOf(url);
    if (proxy === null) return null;
    const name = describeProxy(proxy);
    if (!told.has(name)) log.info({ proxy: name }, 'the scheduler is reached through a proxy');
    told.add(name);
    return proxy;
  }

  function tunnel(proxy: URL, url: URL, limits: PoolLimits | null): Agent {
    return createTunnel({
      proxy,
      isTls: isTls(url),
      lookup: names.lookup,
      keepAlive: limits !== null,
      ...limits,
      ...(parts.proxyDeadlineMs === undefined ? {} : { deadlineMs: parts.proxyDeadlineMs }),
    });
  }

  return {
    options(address) {
      const url = new URL(address);
      requireSafe(url, parts.tlsOnly === true);
      const proxy = proxyFor(url);
      return {
        lookup: names.lookup,
        autoSelectFamily: true,
        autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
        rejectUnauthorized: true,
        ...(isTls(url) ? tlsOptions(url) : {}),
        ...(proxy === null ? {} : { agent: tunnel(proxy, url, null) }),
      };
    },
    pool(address, { maxSockets, idleMs }) {
      const url = new URL(address);
      const proxy = proxyFor(url);
      if (proxy !== null) return tunnel(proxy, url, { maxSockets, idleMs });
      const limits = { keepAlive: true, maxSockets, timeout: idleMs };
      return isTls(url) ? new TlsAgent(limits) : new PlainAgent(limits);
    },
    explain(address, error) {
      const known = dialFault(String(address), error);
      if (known !== null) return known;
      return error instanceof Error ? error : new Error(String(error));
    },
  };
}

/**
 * Without TLS whoever sits between could read tokens and, later, send orders: only this machine is near enough to do
 * without, and not where TLS was once in use. Throws DIAL_PLAIN.
 */
function requireSafe(url: URL, tlsOnly: boolean): void {
  if (isTls(url)) return;
  if (!tlsOnly && isLoopback(url.hostname)) return;
  const why = tlsOnly ? 'this host has joined over TLS and uses nothing less' : 'it is not this machine';
  throw new Fault('DIAL_PLAIN', `${url.protocol}//${url.host} is no safe way to a scheduler: ${why}`, {
    field: 'scheduler',
    remedy: 'use its https:// address',
  });
}
