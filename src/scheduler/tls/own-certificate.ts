// A certificate of the operator's own, from two files. They are looked at again and again; a pair that has changed and
// fits is used from then on, one that does not is told of and the one before stays.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { splitCertificates } from '../../base/authority-pin.ts';
import type { Clock } from '../../base/clock.ts';
import { describeError, errnoOf, Fault } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { CertificateSource, ServerCertificate } from './certificate-source.ts';

const DAY_MS = 86_400_000;
/** Told of once a day from here on. */
const WARN_BEFORE_MS = 21 * DAY_MS;
const MAX_FILE_BYTES = 256 * 1024;

export interface OwnCertificateParts {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Throws TLS_FILE_UNREADABLE, TLS_CERTIFICATE_INVALID, TLS_KEY_INVALID or TLS_KEY_FOREIGN with the key to mend. */
export function openOwnCertificate(parts: OwnCertificateParts): CertificateSource {
  const { certFile, keyFile, clock, log } = parts;
  let stamp = stampOf(parts);
  let used = readPair(parts);
  let warnedMs = Number.NEGATIVE_INFINITY;
  warn();

  function warn(): void {
    const nowMs = clock.wallMs();
    const leftMs = used.expiresAtMs - nowMs;
    if (leftMs > WARN_BEFORE_MS || clock.monotonicMs() - warnedMs < DAY_MS) return;
    warnedMs = clock.monotonicMs();
    const expiresAt = new Date(used.expiresAtMs).toISOString();
    if (leftMs <= 0) log.error({ certFile, expiresAt }, 'the certificate has expired: nobody will connect');
    else log.warn({ certFile, expiresAt }, 'the certificate expires soon; put a new one in its place');
  }

  return {
    certificate: () => used,
    authorities: () => [],
    async look() {
      warn();
      const now = stampOf(parts);
      if (now === stamp) return { certificate: false, authorities: false };
      stamp = now;
      try {
        const pair = readPair(parts);
        const nowMs = clock.wallMs();
        if (pair.expiresAtMs <= nowMs && used.expiresAtMs > nowMs)
          throw invalidCertificate(certFile, 'holds a certificate that has expired already');
        if (pair.cert === used.cert && pair.key === used.key)
          return { certificate: false, authorities: false };
        used = pair;
        warnedMs = Number.NEGATIVE_INFINITY;
        log.info(
          { certFile, expiresAt: new Date(pair.expiresAtMs).toISOString() },
          'a new certificate is used',
        );
        warn();
        return { certificate: true, authorities: false };
      } catch (error) {
        log.error(
          { certFile, keyFile, cause: describeError(error) },
          'the new certificate cannot be used; the one before stays',
        );
        return { certificate: false, authorities: false };
      }
    },
  };
}

/** Changes whenever one of the files was written or replaced. */
function stampOf({ certFile, keyFile }: OwnCertificateParts): string {
  return [certFile, keyFile]
    .map((path) => {
      try {
        const { mtimeMs, ino, size } = statSync(path);
        return `${mtimeMs}/${ino}/${size}`;
      } catch (error) {
        return errnoOf(error) ?? 'unreadable';
      }
    })
    .join(' ');
}

function readPair({ certFile, keyFile, log }: OwnCertificateParts): ServerCertificate {
  const cert = readText(certFile, 'tls.certFile');
  const key = readText(keyFile, 'tls.keyFile');
  const [first] = splitCertificates(cert);
  if (first === undefined) throw invalidCertificate(certFile, 'holds no PEM certificate');
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(first);
  } catch (error) {
    throw invalidCertificate(certFile, 'holds a damaged certificate', error);
  }
  if (!certificate.checkPrivateKey(readKey(key, keyFile)))
    throw new Fault('TLS_KEY_FOREIGN', `${keyFile} is not the key of the certificate in ${certFile}`, {
      field: 'tls.keyFile',
      remedy:
        'name the key that the certificate was made for; the certificate itself comes first in its file',
    });
  try {
    createSecureContext({ cert, key, minVersion: 'TLSv1.3' });
  } catch (error) {
    throw invalidCertificate(certFile, 'cannot be used by TLS', error);
  }
  if ((statSync(keyFile).mode & 0o007) !== 0)
    log.warn({ keyFile }, 'every user of this machine can read the key; run chmod 600 on it');
  return { cert, key, expiresAtMs: Date.parse(certificate.validTo) };
}

function readKey(text: string, path: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch {
    // The parser's words might quote the key.
    const isEncrypted = text.includes('ENCRYPTED');
    throw new Fault(
      'TLS_KEY_INVALID',
      `${path} holds ${isEncrypted ? 'an encrypted key' : 'no private key'}`,
      {
        field: 'tls.keyFile',
        remedy: isEncrypted
          ? 'write it without a passphrase: openssl pkey -in KEY -out NEWKEY, mode 0600'
          : 'name a private key in PEM',
      },
    );
  }
}

function readText(path: string, field: string): string {
  try {
    const { size } = statSync(path);
    if (size > MAX_FILE_BYTES) throw new Error('it is too long');
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new Fault(
      'TLS_FILE_UNREADABLE',
      `${path} cannot be read (${errnoOf(error) ?? describeError(error)})`,
      {
        field,
        remedy: 'name a PEM file that this user may read',
        cause: error,
      },
    );
  }
}

function invalidCertificate(path: string, what: string, cause?: unknown): Fault {
  return new Fault('TLS_CERTIFICATE_INVALID', `${path} ${what}`, {
    field: 'tls.certFile',
    remedy: 'name a PEM file with the certificate first and its chain after it',
    cause,
  });
}
