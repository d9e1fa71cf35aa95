import { createPrivateKey, X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { authorityPin, splitCertificates } from '../../../../src/base/authority-pin.ts';
import { crossSign, makeAuthority, makeLeaf } from '../../../../src/scheduler/tls/certificate.ts';

const NOW_MS = Date.UTC(2026, 10, 28, 12);
const DAY_MS = 86_400_000;
const validity = { fromMs: NOW_MS - 3600_000, untilMs: NOW_MS + 90 * DAY_MS };
const read = (pem: string) => new X509Certificate(pem);

const authority = await makeAuthority('flopd scheduler-a', validity);

describe('a private authority', () => {
  it('signs itself and may sign others', async () => {
    const certificate = read(authority.certificate);
    expect(certificate.ca).toBe(true);
    expect(certificate.subject).toBe('CN=flopd scheduler-a');
    expect(certificate.issuer).toBe(certificate.subject);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(authority.key))).toBe(true);
    expect(Date.parse(certificate.validFrom)).toBe(validity.fromMs);
    expect(Date.parse(certificate.validTo)).toBe(validity.untilMs);
  });

  it('writes years from 2050 on, too', async () => {
    const far = await makeAuthority('far', { fromMs: NOW_MS, untilMs: Date.UTC(2051, 0, 1) });
    expect(Date.parse(read(far.certificate).validTo)).toBe(Date.UTC(2051, 0, 1));
  });

  it('signs servers under their names and addresses', async () => {
    const leaf = read(
      (await makeLeaf(['scheduler.example', '127.0.0.1', '::1', '2001:db8::7:8'], authority, validity))
        .certificate,
    );
    expect(leaf.ca).toBe(false);
    expect(leaf.checkIssued(read(authority.certificate))).toBe(true);
    expect(leaf.verify(read(authority.certificate).publicKey)).toBe(true);
    expect(leaf.checkHost('scheduler.example')).toBeDefined();
    expect(leaf.checkHost('other.example')).toBeUndefined();
    for (const address of ['127.0.0.1', '::1', '2001:db8::7:8'])
      expect(leaf.checkIP(address), address).toBeDefined();
    expect(leaf.checkIP('127.0.0.2')).toBeUndefined();
    expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  });

  it('writes every address as it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.ipV4(), fc.ipV6()), async (address) => {
        const plain = address.replace(/%.*$/, '');
        expect(read((await makeLeaf([plain], authority, validity)).certificate).checkIP(plain)).toBeDefined();
      }),
      { numRuns: 40 },
    );
  });

  it('is signed by its predecessor for the time that both are good', async () => {
    const next = await makeAuthority('flopd scheduler-a next', {
      ...validity,
      untilMs: NOW_MS + 400 * DAY_MS,
    });
    const cross = read(await crossSign(next, authority));
    expect(cross.subject).toBe('CN=flopd scheduler-a next');
    expect(cross.issuer).toBe('CN=flopd scheduler-a');
    expect(cross.verify(read(authority.certificate).publicKey)).toBe(true);
    expect(cross.publicKey.equals(read(next.certificate).publicKey)).toBe(true);
    expect(Date.parse(cross.validTo)).toBe(validity.untilMs);
  });

  it('has a pin of 43 characters, and another has another', async () => {
    expect(authorityPin(authority.certificate)).toMatch(/^sha256-[A-Za-z0-9_-]{43}$/);
    expect(authorityPin((await makeAuthority('x', validity)).certificate)).not.toBe(
      authorityPin(authority.certificate),
    );
    expect(() => authorityPin('nothing')).toThrow();
  });

  it('is taken out of a bundle whole', async () => {
    const other = (await makeAuthority('b', validity)).certificate;
    expect(splitCertificates(`# comment\n${authority.certificate}${other}`)).toEqual([
      authority.certificate,
      other,
    ]);
    expect(splitCertificates('')).toEqual([]);
  });
});
