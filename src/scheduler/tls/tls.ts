// TLS of the scheduler's port: which certificate it shows, when that changes, and whom peers may trust. TLS 1.3 alone.
// A new certificate holds for connections that begin after it; those that are open stay.
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { SecureContextOptions, Server as TlsServer } from 'node:tls';
import { type Clock, every, type Timer } from '../../base/clock.ts';
import { Fault } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import { isLoopbackName } from '../../base/loopback.ts';
import { EVERYWHERE, type OwnNames } from '../own-names.ts';
import type { CertificateSource } from './certificate-source.ts';
import { createIssuing } from './issuer.ts';
import { openOwnCertificate } from './own-certificate.ts';
import { forgetBundle, openPrivateAuthority, type PrivateAuthority } from './private-authority.ts';

export interface TlsOptions {
  readonly mode: 'auto' | 'on' | 'off';
  /** Own files, both or neither. */
  readonly certFile: string | null;
  readonly keyFile: string | null;
  readonly names: readonly string[];
  readonly lifetimeMs: number;
  readonly overlapMs: number;
}

const DAY_MS = 86_400_000;
export const defaultTls: TlsOptions = {
  mode: 'auto',
  certFile: null,
  keyFile: null,
  names: [],
  lifetimeMs: 90 * DAY_MS,
  overlapMs: 7 * DAY_MS,
};

/** Files are looked at this often; short lives of certificates are looked at more often. */
const LOOK_MS = 10_000;
const LOOKS_PER_LIFE = 20;

export interface Tls {
  /** What the server is made with. */
  secureContext(): SecureContextOptions;
  /** Hands each later certificate to the server, until `close`. */
  serve(server: Pick<TlsServer, 'setSecureContext'>): void;
  authorities(): readonly string[];
  /** Called when `authorities` gives something else, with who wanted it so; null: it was due. */
  onAuthorities(fn: (by: string | null) => void): void;
  /** Pin of the private authority, or null. */
  authorityPin(): string | null;
  /** The private authority, or null where the certificate is from files. */
  readonly authority: PrivateAuthority | null;
  /**
   * Begins or hastens the succession of the private authority. Rejects with TLS_ROTATING, TLS_FILES or
   * TLS_ISSUER_FAILED.
   */
  rotate(now: boolean, by: string): Promise<void>;
  /** Wall clock. */
  expiresAtMs(): number;
  /** A host by which programs of this machine reach the port and that the certificate names. */
  hostHere(listenHost: string): string;
  /** Resolves when nothing is written any more. */
  close(): Promise<void>;
}

export interface TlsParts {
  readonly listenHost: string;
  readonly folder: string;
  readonly schedulerId: string;
  readonly ownNames: OwnNames;
  /** How many nodes are enrolled. */
  readonly nodes: () => number;
  /** The built src/bin/certificate-issuer.ts; null writes certificates in this process. */
  readonly issuerScript: URL | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** Whether this scheduler speaks TLS. Throws SCHEDULER_LISTEN_OPEN where it must and may not, TLS_FILES_HALF, TLS_FILES_OFF. */
export function requireTls(options: TlsOptions, listenHost: string): boolean {
  if ((options.certFile === null) !== (options.keyFile === null)) {
    const isKey = options.keyFile === null;
    throw new Fault(
      'TLS_FILES_HALF',
      `a ${isKey ? 'certificate' : 'key'} is named without its ${isKey ? 'key' : 'certificate'}`,
      {
        field: isKey ? 'tls.keyFile' : 'tls.certFile',
        remedy: 'name both with --tls-cert and --tls-key, or neither for a private authority',
      },
    );
  }
  if (options.mode === 'off' && options.certFile !== null)
    throw new Fault('TLS_FILES_OFF', 'a certificate is named, but TLS is off', {
      field: 'tls.mode',
      remedy: 'leave --tls away, or the certificate',
    });
  if (options.mode === 'on') return true;
  if (options.mode === 'auto') return options.certFile !== null || !isLoopbackName(listenHost);
  if (isLoopbackName(listenHost)) return false;
  throw new Fault('SCHEDULER_LISTEN_OPEN', `refusing to listen on ${listenHost} without TLS`, {
    field: 'tls.mode',
    remedy: 'leave --tls away or set it to auto; or listen on 127.0.0.1 and reach it through an SSH tunnel',
  });
}

/** Null for a scheduler without TLS. Rejects with what the two sources of certificates throw. */
export async function openTls(options: TlsOptions, parts: TlsParts): Promise<Tls | null> {
  const { clock, log, folder } = parts;
  if (!requireTls(options, parts.listenHost)) {
    forgetBundle(folder);
    return null;
  }
  const { certFile, keyFile, lifetimeMs, overlapMs } = options;
  const authority =
    certFile === null || keyFile === null
      ? await openPrivateAuthority({
          ...parts,
          names: parts.ownNames.list,
          lifetimeMs,
          overlapMs,
          withIssuer: createIssuing(parts.issuerScript),
        })
      : null;
  if (authority === null) forgetBundle(folder);
  const source: CertificateSource =
    authority ?? openOwnCertificate({ certFile: certFile ?? '', keyFile: keyFile ?? '', clock, log });
  const servers = new Set<Pick<TlsServer, 'setSecureContext'>>();
  const listeners: ((by: string | null) => void)[] = [];

  function secureContext(): SecureContextOptions {
    const { cert, key } = source.certificate();
    return { cert, key, minVersion: 'TLSv1.3' };
  }

  function renew(): void {
    for (const server of servers) server.setSecureContext(secureContext());
  }

  const shortest = Math.min(lifetimeMs, overlapMs);
  const period = authority === null ? LOOK_MS : Math.min(LOOK_MS, Math.max(100, shortest / LOOKS_PER_LIFE));
  let timer: Timer | null = null;
  let looking: Promise<void> | null = null;
  let rotating: Promise<void> | null = null;

  async function look(): Promise<void> {
    const changed = await source.look();
    if (changed.certificate) renew();
    if (changed.authorities) tell(null);
  }

  function tell(by: string | null): void {
    for (const listener of listeners) listener(by);
  }

  return {
    secureContext,
    serve(server) {
      servers.add(server);
      timer ??= every(clock, period, () => {
        looking ??= look().finally(() => {
          looking = null;
        });
      });
    },
    authorities: source.authorities,
    onAuthorities: (fn) => void listeners.push(fn),
    authorityPin: () => authority?.pin() ?? null,
    authority,
    async rotate(now, by) {
      if (authority === null)
        throw new Fault(
          'TLS_FILES',
          'this scheduler has no authority of its own: its certificate is from files',
          {
            remedy: 'put a new certificate in the place of the old one; it is read again by itself',
          },
        );
      const before = authority.authorities().join('');
      rotating = authority.rotate(now);
      try {
        await rotating;
      } finally {
        // One that fails may have gone half of the way.
        renew();
        if (authority.authorities().join('') !== before) tell(by);
      }
    },
    expiresAtMs: () => source.certificate().expiresAtMs,
    hostHere: (listenHost) => hostHere(source.certificate().cert, listenHost),
    async close() {
      timer?.cancel();
      servers.clear();
      await Promise.allSettled([looking, rotating]);
    },
  };
}

/** The first of the likely hosts that the certificate is good for; else the likeliest, which own files may not name. */
function hostHere(cert: string, listenHost: string): string {
  const certificate = new X509Certificate(cert);
  const isNamed = (host: string): boolean =>
    (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined;
  const likely = EVERYWHERE.has(listenHost) ? ['127.0.0.1', '::1', 'localhost'] : [listenHost];
  const own = [...(certificate.subjectAltName ?? '').matchAll(/DNS:([^,*\s]+)/g)].map(
    (match) => match[1] ?? '',
  );
  return [...likely, ...own].find(isNamed) ?? likely[0] ?? listenHost;
}
