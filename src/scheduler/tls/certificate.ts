// Certificates that this scheduler makes itself: its private authority and what that signs. X.509 version 3, ECDSA over
// P-256 with SHA-256, since browsers take no Ed25519. Written here because the libraries for it cost a scheduler 20 MB
// and 140 ms for two certificates a quarter; read by Node's own X509Certificate.
//
// A private authority signs its successor and certificates for servers, and its path ends there (pathlen 1).
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { bits, explicit, implicit, integer, octets, oid, sequence, setOf, time, utf8, yes } from './der.ts';

const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME = '2.5.4.3';
const SUBJECT_KEY_ID = '2.5.29.14';
const KEY_USAGE = '2.5.29.15';
const ALTERNATIVE_NAMES = '2.5.29.17';
const BASIC_CONSTRAINTS = '2.5.29.19';
const AUTHORITY_KEY_ID = '2.5.29.35';
const EXTENDED_KEY_USAGE = '2.5.29.37';
const SERVER_AUTHENTICATION = '1.3.6.1.5.5.7.3.1';
const SERIAL_BYTES = 16;

/** A certificate and its private key, both PEM. */
export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** From and until when, wall clock ms; whole seconds are kept. */
export interface Validity {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** A new authority that signs itself. */
export function makeAuthority(name: string, validity: Validity): Pair {
  const key = newKey();
  const subject = { name, key };
  return { certificate: write(subject, subject, validity, authorityExtensions), key: exportKey(key) };
}

/** The certificate of one authority by the key of another, for peers that know only the other. */
export function crossSign(authority: Pair, by: Pair): string {
  const certificate = new X509Certificate(authority.certificate);
  const other = new X509Certificate(by.certificate);
  const validity = {
    fromMs: Math.max(Date.parse(certificate.validFrom), Date.parse(other.validFrom)),
    untilMs: Math.min(Date.parse(certificate.validTo), Date.parse(other.validTo)),
  };
  return write(partyOf(authority), partyOf(by), validity, authorityExtensions);
}

/** A new key and its certificate for a server that is reached under these DNS names and addresses. */
export function makeLeaf(names: readonly string[], authority: Pair, validity: Validity): Pair {
  const key = newKey();
  const subjectNames = alternativeNames(names);
  const extensions = (): Buffer[] => [
    extension(KEY_USAGE, bits(Buffer.from([0x80]), 7), true),
    extension(EXTENDED_KEY_USAGE, sequence(oid(SERVER_AUTHENTICATION)), false),
    extension(ALTERNATIVE_NAMES, subjectNames, false),
  ];
  const subject = { name: 'flopd scheduler', key };
  return {
    certificate: write(subject, partyOf(authority), validity, extensions),
    key: exportKey(key),
  };
}

interface Party {
  readonly name: string;
  readonly key: KeyObject;
}

function partyOf({ certificate, key }: Pair): Party {
  const subject = new X509Certificate(certificate).subject;
  return { name: /^CN=(.*)$/m.exec(subject)?.[1] ?? '', key: createPrivateKey(key) };
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function exportKey(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

function authorityExtensions(): Buffer[] {
  return [
    extension(BASIC_CONSTRAINTS, sequence(yes(), integer(Buffer.from([1]))), true),
    // keyCertSign and cRLSign.
    extension(KEY_USAGE, bits(Buffer.from([0x06]), 1), true),
  ];
}

function write(
  subject: Party,
  issuer: Party,
  { fromMs, untilMs }: Validity,
  extensions: () => Buffer[],
): string {
  const publicKey = createPublicKey(subject.key).export({ format: 'der', type: 'spki' });
  const algorithm = sequence(oid(ECDSA_WITH_SHA256));
  const serial = randomBytes(SERIAL_BYTES);
  // Never zero, and of one length.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm,
    distinguishedName(issuer.name),
    sequence(time(fromMs), time(untilMs)),
    distinguishedName(subject.name),
    publicKey,
    explicit(
      3,
      sequence(
        ...extensions(),
        extension(SUBJECT_KEY_ID, octets(keyId(subject.key)), false),
        extension(AUTHORITY_KEY_ID, sequence(implicit(0, keyId(issuer.key))), false),
      ),
    ),
  );
  const signature = sign('sha256', body, { key: issuer.key, dsaEncoding: 'der' });
  return pem(sequence(body, algorithm, bits(signature)));
}

function distinguishedName(name: string): Buffer {
  return sequence(setOf(sequence(oid(COMMON_NAME), utf8(name))));
}

function extension(name: string, value: Buffer, isCritical: boolean): Buffer {
  return sequence(oid(name), ...(isCritical ? [yes()] : []), octets(value));
}

/** RFC 5280 4.2.1.2, method 1, over the whole of the public key: any value that tells keys apart will do. */
function keyId(key: KeyObject): Buffer {
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return createHash('sha256').update(publicKey).digest().subarray(0, 20);
}

function alternativeNames(names: readonly string[]): Buffer {
  return sequence(
    ...names.map((name) =>
      isIP(name) === 0 ? implicit(2, Buffer.from(name, 'ascii')) : implicit(7, addressBytes(name)),
    ),
  );
}

/** An address as its 4 or 16 bytes. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  // The URL parser writes every IPv6 address in one way, without a dotted end.
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const first = groups(head);
  const last = groups(tail ?? '');
  const all = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
