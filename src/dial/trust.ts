// Whom a dialler believes: the authorities of a scheduler (PEM), or those of the system. A private authority is pinned
// by the SHA-256 of its certificate, which travels with the token that lets one in (base/token-text.ts).
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { errnoOf, Fault } from '../base/fault.ts';
import { readText } from '../base/text-file.ts';

/** Certificates that one file of authorities may hold. */
const AUTHORITIES_MAX = 512;
const FILE_BYTES_MAX = 4 * 1024 * 1024;
const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
/** Where Debian, Red Hat, SUSE and Alpine keep what their administrators trust; Node's own list does not know theirs. */
const SYSTEM_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** `sha256-` and base64url of SHA-256 over the DER of a certificate: how a token names a private authority. */
export function pinOf(certificate: Uint8Array): string {
  return `sha256-${createHash('sha256').update(certificate).digest('base64url')}`;
}

/**
 * The certificates in a PEM text, each as one PEM. Throws DIAL_AUTHORITIES_UNFIT where there is none, one cannot be
 * read, or one is none of an authority; `from` is what the text is called.
 */
export function parseAuthorities(text: string, from: string): readonly string[] {
  const unfit = (what: string): Fault =>
    new Fault('DIAL_AUTHORITIES_UNFIT', `${from} ${what}`, {
      field: 'caFile',
      remedy: "give the certificate of the scheduler's authority in PEM, as in its scheduler/ca.pem",
    });
  const blocks = text.match(BLOCK) ?? [];
  if (blocks.length === 0) throw unfit('holds no certificate');
  if (blocks.length > AUTHORITIES_MAX) throw unfit(`holds more than ${AUTHORITIES_MAX} certificates`);
  return blocks.map((block) => {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(block);
    } catch {
      throw unfit('holds a certificate that cannot be read');
    }
    if (!certificate.ca) throw unfit('holds a certificate that is none of an authority');
    return certificate.toString();
  });
}

/** The authorities in a file. Throws DIAL_AUTHORITIES_UNREADABLE or DIAL_AUTHORITIES_UNFIT. */
export function readAuthorities(path: string): readonly string[] {
  let text: string;
  try {
    if (statSync(path).size > FILE_BYTES_MAX) throw new Error('it is too long');
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const why = errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
    throw new Fault('DIAL_AUTHORITIES_UNREADABLE', `the authorities in ${path} cannot be read (${why})`, {
      field: 'caFile',
      remedy:
        why === 'ENOENT'
          ? 'there is no such file: check the path given with --ca-file'
          : 'make the file readable for this user, or name another with --ca-file PATH',
      cause: error,
    });
  }
  return parseAuthorities(text, path);
}

/** The authorities of a file as it is at each call; the last good ones while it is missing or unfit. */
export function watchAuthorities(path: string): () => readonly string[] {
  let last = readAuthorities(path);
  let stamp = stampOf(path);
  return () => {
    const now = stampOf(path);
    if (now === stamp) return last;
    try {
      last = readAuthorities(path);
      stamp = now;
    } catch {
      // In the middle of being replaced; asked again at the next connection.
    }
    return last;
  };
}

function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
}

/** What this system trusts: the list of its administrators, else Node's own. */
export function systemAuthorities(files: readonly string[] = SYSTEM_FILES): readonly string[] | string {
  for (const file of files) {
    const text = readText(file);
    // Read by OpenSSL as a whole: taking 150 certificates apart here costs more than the connection.
    if (text?.includes('-----BEGIN CERTIFICATE-----') === true) return text;
  }
  return rootCertificates;
}
