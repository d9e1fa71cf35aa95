import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../../src/base/clock.ts';
import { createSilentLog, type Log } from '../../../../src/base/log.ts';
import { makeAuthority, makeLeaf, type Pair } from '../../../../src/scheduler/tls/certificate.ts';
import { openOwnCertificate } from '../../../../src/scheduler/tls/own-certificate.ts';

const DAY_MS = 86_400_000;
let folder = '';
let nowMs = 0;
let lines: string[] = [];
const clock: Clock = { wallMs: () => nowMs, monotonicMs: () => nowMs, after: () => ({ cancel() {} }) };
const keep = (_: object, message: string) => void lines.push(message);
const log: Log = { ...createSilentLog(), info: keep, warn: keep, error: keep, child: () => log };
const authority = await makeAuthority('own', { fromMs: Date.UTC(2026, 0, 1), untilMs: Date.UTC(2030, 0, 1) });
const pairUntil = (untilMs: number): Promise<Pair> =>
  makeLeaf(['scheduler.example'], authority, { fromMs: Date.UTC(2026, 0, 1), untilMs });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-own-'));
  nowMs = Date.UTC(2026, 10, 28);
  lines = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const certFile = () => join(folder, 'cert.pem');
const keyFile = () => join(folder, 'key.pem');
/** As certificate tools do it: written beside, then renamed. */
function put({ certificate, key }: Pair): void {
  writeFileSync(`${certFile()}.new`, certificate);
  writeFileSync(`${keyFile()}.new`, key, { mode: 0o600 });
  renameSync(`${keyFile()}.new`, keyFile());
  renameSync(`${certFile()}.new`, certFile());
}
const open = () => openOwnCertificate({ certFile: certFile(), keyFile: keyFile(), clock, log });
const code = (value: string) => expect.objectContaining({ code: value });

describe("a certificate of the operator's own", () => {
  it('is read, with when it expires', async () => {
    put(await pairUntil(nowMs + 90 * DAY_MS));
    const own = open();
    expect(own.certificate().expiresAtMs).toBe(nowMs + 90 * DAY_MS);
    expect(own.authorities()).toEqual([]);
    expect(await own.look()).toEqual({ certificate: false, authorities: false });
    expect(lines).toEqual([]);
  });

  it('is read again when it changes; a bad new pair keeps the one before and is told of once', async () => {
    put(await pairUntil(nowMs + 90 * DAY_MS));
    const own = open();
    const first = own.certificate();
    writeFileSync(certFile(), (await pairUntil(nowMs + 99 * DAY_MS)).certificate);
    expect((await own.look()).certificate).toBe(false);
    expect((await own.look()).certificate).toBe(false);
    expect(own.certificate()).toBe(first);
    expect(lines).toEqual(['the new certificate cannot be used; the one before stays']);
    put(await pairUntil(nowMs + 120 * DAY_MS));
    expect((await own.look()).certificate).toBe(true);
    expect(own.certificate().expiresAtMs).toBe(nowMs + 120 * DAY_MS);
    rmSync(keyFile());
    expect((await own.look()).certificate).toBe(false);
    expect(own.certificate().expiresAtMs).toBe(nowMs + 120 * DAY_MS);
  });

  it('is not replaced by one that is over already, as long as it is good itself', async () => {
    put(await pairUntil(nowMs + 30 * DAY_MS));
    const own = open();
    put(await pairUntil(nowMs - DAY_MS));
    expect((await own.look()).certificate).toBe(false);
    expect(own.certificate().expiresAtMs).toBe(nowMs + 30 * DAY_MS);
    expect(lines).toEqual(['the new certificate cannot be used; the one before stays']);
  });

  it('warns of its end once a day, and says when it is past', async () => {
    put(await pairUntil(nowMs + 20 * DAY_MS));
    const own = open();
    await own.look();
    expect(lines).toEqual(['the certificate expires soon; put a new one in its place']);
    nowMs += DAY_MS;
    await own.look();
    await own.look();
    expect(lines).toHaveLength(2);
    nowMs += 30 * DAY_MS;
    await own.look();
    expect(lines.at(-1)).toBe('the certificate has expired: nobody will connect');
  });

  it('says which file cannot be used and why, never what is in it', async () => {
    expect(open).toThrow(code('TLS_FILE_UNREADABLE'));
    const pair = await pairUntil(nowMs + 90 * DAY_MS);
    put(pair);
    writeFileSync(certFile(), 'no certificate');
    expect(open).toThrow(code('TLS_CERTIFICATE_INVALID'));
    writeFileSync(certFile(), pair.certificate.replace(/[A-Za-z]{20}/, 'A'.repeat(20)));
    expect(open).toThrow(code('TLS_CERTIFICATE_INVALID'));
    put({ ...pair, key: (await pairUntil(nowMs + DAY_MS)).key });
    expect(open).toThrow(code('TLS_KEY_FOREIGN'));
    put({ ...pair, key: 'secret words' });
    expect(open).toThrow(code('TLS_KEY_INVALID'));
    expect(open).not.toThrow(/secret words/);
    put({ ...pair, key: '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----' });
    expect(open).toThrow(/encrypted/);
  });

  it('warns of a key that everybody can read', async () => {
    put(await pairUntil(nowMs + 90 * DAY_MS));
    chmodSync(keyFile(), 0o644);
    open();
    expect(lines).toEqual(['every user of this machine can read the key; run chmod 600 on it']);
  });
});
