// Why a connection did not come about, in words for a person, with what can be done. The codes of the cause are Node's
// and OpenSSL's; where they say nothing that a person could act on, they stand in brackets behind the words.
import { isIP } from 'node:net';
import { errnoOf, Fault } from '../base/fault.ts';

interface Words {
  readonly code: string;
  readonly why: string;
  readonly remedy: string;
}

const unknownAuthority: Words = {
  code: 'DIAL_AUTHORITY_UNKNOWN',
  why: 'its certificate is signed by an authority that is not trusted here',
  remedy:
    'if it is the right scheduler, join or log in again with a token that carries the pin of its authority, or name the authority with --ca-file PATH',
};
const noTls: Words = {
  code: 'DIAL_NO_TLS',
  why: 'what answers there does not speak TLS',
  remedy: 'check the port; a scheduler without TLS can be reached from its own machine only (http://)',
};
const oldTls: Words = {
  code: 'DIAL_TLS_OLD',
  why: 'it does not speak TLS 1.3',
  remedy: 'check that a flopd scheduler answers there, and not something in front of it',
};

const words: Readonly<Record<string, Words>> = {
  CERT_HAS_EXPIRED: {
    code: 'DIAL_CERTIFICATE_EXPIRED',
    why: 'its certificate has expired',
    remedy: "renew it on the scheduler's machine; if it is good, the clock of this host is wrong",
  },
  CERT_NOT_YET_VALID: {
    code: 'DIAL_CERTIFICATE_EARLY',
    why: 'its certificate is not valid yet',
    remedy: "check the clocks of this host and of the scheduler's",
  },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  CERT_SIGNATURE_FAILURE: unknownAuthority,
  CERT_UNTRUSTED: unknownAuthority,
  INVALID_CA: unknownAuthority,
  INVALID_PURPOSE: unknownAuthority,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  ERR_SSL_HTTP_REQUEST: noTls,
  EPROTO: noTls,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: oldTls,
  ERR_SSL_UNSUPPORTED_PROTOCOL: oldTls,
  ERR_SSL_NO_PROTOCOLS_AVAILABLE: oldTls,
};

const systemWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ECONNRESET: 'connection reset',
};

/** The fault that this error of a connection to `url` is; null for one that says it well enough by itself. */
export function dialFault(url: string, error: unknown): Fault | null {
  if (error instanceof Fault) return error;
  if (error instanceof AggregateError) return together(url, error);
  const code = errnoOf(error) ?? '';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return otherName(url, error);
  const known = words[code];
  if (known !== undefined) {
    const { why, remedy } = known;
    return new Fault(known.code, `${placeOf(url)} is not trusted: ${why} (${code})`, {
      remedy,
      cause: error,
    });
  }
  const plain = systemWords[code];
  return plain === undefined
    ? null
    : new Fault('DIAL_UNREACHABLE', `${addressOf(error) ?? placeOf(url)}: ${plain} (${code})`, {
        cause: error,
      });
}

/** Whether trying again may help by itself; what is not trusted stays so until somebody acts. */
export function isTrustFault(error: unknown): error is Fault {
  return (
    error instanceof Fault &&
    /^DIAL_(CERTIFICATE_|AUTHORITY_|NAME_OTHER|NO_TLS|TLS_OLD|PLAIN|PIN_)/.test(error.code)
  );
}

/** Node tries all addresses of a name and wraps the failures in an error that says nothing itself. */
function together(url: string, error: AggregateError): Fault {
  const faults = error.errors.map((one: unknown) => dialFault(url, one) ?? one);
  const [only] = faults;
  if (faults.length === 1 && only instanceof Fault) return only;
  const texts = faults.map((one) => (one instanceof Error ? one.message : String(one)));
  return new Fault('DIAL_UNREACHABLE', texts.join(', '), { cause: error });
}

function otherName(url: string, error: unknown): Fault {
  const names = altNames(error);
  const said = names === '' ? '' : `; it is for ${names}`;
  const { hostname } = new URL(url);
  return new Fault(
    'DIAL_NAME_OTHER',
    `${placeOf(url)} is not trusted: its certificate is not for ${hostname}${said}`,
    {
      remedy:
        isIP(hostname.replace(/^\[|\]$/g, '')) === 0
          ? 'use a name that it is for, or add this one with tls.names on the scheduler'
          : 'use a name that it is for, or add this address with tls.names on the scheduler',
      cause: error,
    },
  );
}

/** At most some names of the certificate, without characters that a terminal would act on. */
function altNames(error: unknown): string {
  const { cert } = error as { cert?: { subjectaltname?: unknown } };
  const text = typeof cert?.subjectaltname === 'string' ? cert.subjectaltname : '';
  return text
    .split(', ')
    .slice(0, 4)
    .map((name) => name.replace(/^(DNS|IP Address):/, '').replace(/[^\x21-\x7e]/g, '?'))
    .join(', ')
    .slice(0, 200);
}

function addressOf(error: unknown): string | null {
  const { address, port } = error as { address?: unknown; port?: unknown };
  if (typeof address !== 'string' || typeof port !== 'number') return null;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function placeOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}
