// Certificates that this scheduler makes itself: its private authority and what that signs. ECDSA over P-256 with SHA-256,
// since browsers take no Ed25519. Written by @peculiar/x509, which is loaded when there is something to write, in a process
// of its own (issuer.ts); read by Node's own X509Certificate.
//
// A private authority signs its successor and certificates for servers, and its path ends there (pathlen 1).
import { createPrivateKey, KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';

type Library = typeof import('@peculiar/x509');
type Name = InstanceType<Library['Name']>;
type Extension = InstanceType<Library['Extension']>;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
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
export async function makeAuthority(name: string, validity: Validity): Promise<Pair> {
  const x509 = await load();
  const keys = await newKeys();
  const subject = nameOf(x509, name);
  const keyId = await newKeyId(x509, keys);
  const certificate = await write(x509, {
    subject: { name: subject, publicKey: keys.publicKey, keyId },
    issuer: { name: subject, signingKey: keys.privateKey, keyId },
    validity,
    extensions: authorityExtensions(x509),
  });
  return { certificate, key: exportKey(keys) };
}

/** The certificate of one authority by the key of another, for peers that know only the other. */
export async function crossSign(authority: Pair, by: Pair): Promise<string> {
  const x509 = await load();
  const certificate = new x509.X509Certificate(authority.certificate);
  const other = new x509.X509Certificate(by.certificate);
  return write(x509, {
    subject: {
      name: certificate.subjectName,
      publicKey: certificate.publicKey,
      keyId: keyIdOf(x509, certificate),
    },
    issuer: await issuerOf(x509, by),
    validity: {
      fromMs: Math.max(certificate.notBefore.getTime(), other.notBefore.getTime()),
      untilMs: Math.min(certificate.notAfter.getTime(), other.notAfter.getTime()),
    },
    extensions: authorityExtensions(x509),
  });
}

/** A new key and its certificate for a server that is reached under these DNS names and addresses. */
export async function makeLeaf(names: readonly string[], authority: Pair, validity: Validity): Promise<Pair> {
  const x509 = await load();
  const keys = await newKeys();
  const certificate = await write(x509, {
    subject: {
      name: nameOf(x509, 'flopd scheduler'),
      publicKey: keys.publicKey,
      keyId: await newKeyId(x509, keys),
    },
    issuer: await issuerOf(x509, authority),
    validity,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth], false),
      new x509.SubjectAlternativeNameExtension(names.map(alternativeName), false),
    ],
  });
  return { certificate, key: exportKey(keys) };
}

/** Its containers look for the reflection that the polyfill adds, at import. */
async function load(): Promise<Library> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

interface Subject {
  readonly name: Name;
  readonly publicKey: InstanceType<Library['PublicKey']> | webcrypto.CryptoKey;
  /** Hexadecimal. */
  readonly keyId: string;
}

interface Issuer {
  readonly name: Name;
  readonly signingKey: webcrypto.CryptoKey;
  /** Hexadecimal. */
  readonly keyId: string;
}

interface Content {
  readonly subject: Subject;
  readonly issuer: Issuer;
  readonly validity: Validity;
  readonly extensions: readonly Extension[];
}

async function write(x509: Library, { subject, issuer, validity, extensions }: Content): Promise<string> {
  const serial = randomBytes(SERIAL_BYTES);
  // Never negative or zero, and of one length.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial.toString('hex'),
    subject: subject.name,
    issuer: issuer.name,
    notBefore: wholeSeconds(validity.fromMs),
    notAfter: wholeSeconds(validity.untilMs),
    publicKey: subject.publicKey,
    signingKey: issuer.signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      ...extensions,
      new x509.SubjectKeyIdentifierExtension(subject.keyId),
      new x509.AuthorityKeyIdentifierExtension(issuer.keyId),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

function authorityExtensions(x509: Library): readonly Extension[] {
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  return [
    new x509.BasicConstraintsExtension(true, 1, true),
    new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
  ];
}

async function issuerOf(x509: Library, { certificate, key }: Pair): Promise<Issuer> {
  const read = new x509.X509Certificate(certificate);
  const bytes = createPrivateKey(key).export({ format: 'der', type: 'pkcs8' });
  return {
    // As its own certificate has it: peers compare the bytes.
    name: read.subjectName,
    signingKey: await webcrypto.subtle.importKey('pkcs8', bytes, ALGORITHM, false, ['sign']),
    keyId: keyIdOf(x509, read),
  };
}

function keyIdOf(x509: Library, certificate: InstanceType<Library['X509Certificate']>): string {
  const found = certificate.getExtension(x509.SubjectKeyIdentifierExtension);
  if (found === null) throw new Error('an authority has no key identifier');
  return found.keyId;
}

async function newKeyId(x509: Library, { publicKey }: webcrypto.CryptoKeyPair): Promise<string> {
  return (await x509.SubjectKeyIdentifierExtension.create(publicKey)).keyId;
}

function alternativeName(name: string): { readonly type: 'dns' | 'ip'; readonly value: string } {
  switch (isIP(name)) {
    case 0:
      return { type: 'dns', value: name };
    case 6:
      // The library takes no dotted end; the URL parser writes every address without one.
      return { type: 'ip', value: new URL(`http://[${name}]/`).hostname.slice(1, -1) };
    default:
      return { type: 'ip', value: name };
  }
}

function nameOf(x509: Library, text: string): Name {
  return new x509.Name([{ CN: [{ utf8String: text }] }]);
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

function exportKey({ privateKey }: webcrypto.CryptoKeyPair): string {
  return KeyObject.from(privateKey).export({ format: 'pem', type: 'pkcs8' }).toString();
}

function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000);
}
