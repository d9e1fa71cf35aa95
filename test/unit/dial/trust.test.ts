import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dialFault, isTrustFault } from '../../../src/dial/failure.ts';
import {
  parseAuthorities,
  readAuthorities,
  systemAuthorities,
  watchAuthorities,
} from '../../../src/dial/trust.ts';
import { authority, serverPair } from '../../fakes/certificates.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-trust-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('authorities', () => {
  test('are read one by one from a text, with whatever stands between them', async () => {
    const first = await authority('first');
    const second = await authority('second');
    const read = parseAuthorities(
      `# ours\n${first.certificate}\nsubject=x\n${second.certificate}`,
      'the file',
    );
    expect(read).toEqual([first.certificate, second.certificate]);
  });

  test.each([
    ['nothing', ''],
    ['no certificate', '-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n'],
    ['a broken one', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
  ])('with %s are refused', (_, text) => {
    expect(() => parseAuthorities(text, 'the file')).toThrow(
      expect.objectContaining({ code: 'DIAL_AUTHORITIES_UNFIT', field: 'caFile' }),
    );
  });

  test('are none of certificates of servers', async () => {
    const { cert } = await serverPair(await authority());
    expect(() => parseAuthorities(cert, 'the file')).toThrow('none of an authority');
  });

  test('that cannot be read are told with the file', () => {
    expect(() => readAuthorities(join(folder, 'none.pem'))).toThrow(
      expect.objectContaining({ code: 'DIAL_AUTHORITIES_UNREADABLE' }),
    );
  });

  test('of a file are those that it holds now, or held when it was last whole', async () => {
    const path = join(folder, 'ca.pem');
    const [first, second] = [await authority('first'), await authority('second')];
    writeFileSync(path, first.certificate);
    const present = watchAuthorities(path);
    expect(present()).toEqual([first.certificate]);
    writeFileSync(path, second.certificate.slice(0, 100));
    expect(present()).toEqual([first.certificate]);
    writeFileSync(path, `${second.certificate}${first.certificate}`);
    expect(present()).toEqual([second.certificate, first.certificate]);
    rmSync(path);
    expect(present()).toEqual([second.certificate, first.certificate]);
  });

  test("of the system are its administrators' list, else Node's", async () => {
    const path = join(folder, 'ca.pem');
    writeFileSync(path, (await authority()).certificate);
    expect(systemAuthorities([join(folder, 'none'), path])).toContain('BEGIN CERTIFICATE');
    expect(systemAuthorities([]).length).toBeGreaterThan(50);
  });
});

describe('why a connection did not come about', () => {
  const of = (code: string, more: object = {}) =>
    dialFault('https://scheduler.example:7070/v1/link', Object.assign(new Error('raw'), { code, ...more }));

  test.each([
    ['CERT_HAS_EXPIRED', 'DIAL_CERTIFICATE_EXPIRED', 'expired'],
    ['CERT_NOT_YET_VALID', 'DIAL_CERTIFICATE_EARLY', 'not valid yet'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'DIAL_AUTHORITY_UNKNOWN', 'not trusted here'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'DIAL_AUTHORITY_UNKNOWN', 'not trusted here'],
    ['EPROTO', 'DIAL_NO_TLS', 'does not speak TLS'],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'DIAL_TLS_OLD', 'TLS 1.3'],
  ])('%s is said in words, with a remedy', (code, fault, text) => {
    const said = of(code);
    expect(said).toMatchObject({ code: fault });
    expect(said?.message).toContain(text);
    expect(said?.message).toContain('https://scheduler.example:7070');
    expect(said?.remedy).not.toBe(null);
    expect(isTrustFault(said)).toBe(true);
  });

  test('another name is told with those of the certificate, without control characters', () => {
    const said = of('ERR_TLS_CERT_ALTNAME_INVALID', {
      cert: { subjectaltname: 'DNS:a.example, DNS:b\u001b[31m.example, IP Address:10.0.0.1' },
    });
    expect(said).toMatchObject({ code: 'DIAL_NAME_OTHER' });
    expect(said?.message).toMatch(
      /not for scheduler\.example; it is for a\.example, b\?\[31m\.example, 10\.0\.0\.1$/,
    );
  });

  test('several addresses are told each, and what passes by itself is no matter of trust', () => {
    const refused = Object.assign(new Error(''), { code: 'ECONNREFUSED', address: '10.0.0.1', port: 7070 });
    const away = Object.assign(new Error(''), { code: 'ENETUNREACH', address: '::1', port: 7070 });
    const said = dialFault('https://s.example:7070', new AggregateError([refused, away]));
    expect(said?.message).toBe(
      '10.0.0.1:7070: connection refused (ECONNREFUSED), [::1]:7070: no route to the network (ENETUNREACH)',
    );
    expect(isTrustFault(said)).toBe(false);
  });
});
