// A private authority by its pin: one TLS handshake with whoever answers, over which nothing is said, for the chain that
// it shows; in it the certificate whose SHA-256 the pin is. Only that one is believed afterwards, in a connection of its
// own that is verified in full: what is fetched here proves nothing but itself.

import { X509Certificate } from 'node:crypto';
import type { ClientRequest } from 'node:http';
import { request } from 'node:https';
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import { Fault } from '../base/fault.ts';
import type { Dialer } from './dialer.ts';
import { isTls } from './proxy.ts';
import { pinOf } from './trust.ts';

export const PINNED_DEADLINE_MS = 10_000;
const CHAIN_MAX = 8;

/** The certificate (PEM) with this pin that answers at `url`. Rejects with DIAL_PIN_OTHER, DIAL_PIN_PLAIN or why not. */
export async function fetchPinned(
  dialer: Dialer,
  url: string,
  pin: string,
  deadlineMs = PINNED_DEADLINE_MS,
): Promise<string> {
  if (!isTls(new URL(url))) {
    throw new Fault('DIAL_PIN_PLAIN', `the token is for a scheduler with TLS, but ${url} is without`, {
      field: 'scheduler',
      remedy: 'use its https:// address',
    });
  }
  const chain = await chainAt(dialer, url, deadlineMs);
  const found = chain.find((certificate) => pinOf(certificate) === pin);
  const authority = found === undefined ? null : new X509Certificate(found);
  if (authority?.ca === true) return authority.toString();
  throw new Fault(
    'DIAL_PIN_OTHER',
    `${url} is not the scheduler that the token is for: its authority is another`,
    {
      field: 'scheduler',
      remedy: 'check the address; if the scheduler has a new authority, get a new token from it',
    },
  );
}

/** The certificates that a server shows, DER, its own in front; nothing of it is verified, and nothing is sent. */
function chainAt(dialer: Dialer, url: string, deadlineMs: number): Promise<readonly Buffer[]> {
  return new Promise((resolve, reject) => {
    // Never ended, so that not even its headers are sent.
    const asked: ClientRequest = request(url, {
      agent: false,
      ...dialer.options(url),
      rejectUnauthorized: false,
    });
    const timer = setTimeout(
      () => asked.destroy(new Error(`no TLS within ${deadlineMs / 1000} s`)),
      deadlineMs,
    );
    const done = (): void => {
      clearTimeout(timer);
      asked.destroy();
    };
    asked.on('error', (error) => {
      done();
      reject(dialer.explain(url, error));
    });
    asked.on('socket', (socket) => {
      const look = (): void => {
        resolve(certificatesOf(socket as TLSSocket));
        done();
      };
      socket.once('secureConnect', look);
    });
  });
}

/** From issuer to issuer, and as they were sent: while an authority gives way to the next, not all are on the first way. */
function certificatesOf(socket: TLSSocket): readonly Buffer[] {
  const found: Buffer[] = [];
  let at: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (at?.raw !== undefined && found.length < CHAIN_MAX) {
    found.push(at.raw);
    // The last is its own issuer.
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate;
  }
  // Second, because Node takes the chain apart by it.
  let sent: X509Certificate | undefined = socket.getPeerX509Certificate();
  for (let length = 0; sent !== undefined && length < CHAIN_MAX; length += 1) {
    found.push(sent.raw);
    sent = sent.issuerCertificate;
  }
  return found;
}
