// The pin of an authority: a short text by which a certificate authority is known before it was ever met. It travels
// with a token (`TOKEN.sha256-…`). Whoever dials asks the scheduler for its authorities (the chain of its handshake, or
// GET /v1/authorities without any token), takes the one with this pin, and trusts that one alone.
import { createHash, X509Certificate } from 'node:crypto';

/** `sha256-` and the base64url of the SHA-256 over the DER of the first certificate in `pem`. Throws where there is none. */
export function authorityPin(pem: string): string {
  return `sha256-${createHash('sha256').update(new X509Certificate(pem).raw).digest('base64url')}`;
}

/** The certificates of a PEM bundle, one text each. */
export function splitCertificates(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
}
