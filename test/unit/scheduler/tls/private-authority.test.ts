import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { authorityPin, splitCertificates } from '../../../../src/base/authority-pin.ts';
import type { Clock } from '../../../../src/base/clock.ts';
import { createSilentLog, type Log } from '../../../../src/base/log.ts';
import { createIssuing, type Issuer } from '../../../../src/scheduler/tls/issuer.ts';
import { openPrivateAuthority } from '../../../../src/scheduler/tls/private-authority.ts';

const LIFE_MS = 90 * 86_400_000;
const OVERLAP_MS = 7 * 86_400_000;
let folder = '';
let nowMs = 0;
let names: string[] = [];
let lines: string[] = [];
let isFailing = false;
let nodes = 0;
const makeLeaf: Issuer['makeLeaf'] = (...given) =>
  isFailing ? Promise.reject(new Error('no memory')) : issuing((issuer) => issuer.makeLeaf(...given));
const issuing = createIssuing(null);
const log: Log = {
  ...createSilentLog(),
  error: (_, message) => void lines.push(message),
  warn: (facts, message) => void lines.push(`${message} ${JSON.stringify(facts)}`),
  child: () => log,
};
const clock: Clock = { wallMs: () => nowMs, monotonicMs: () => nowMs, after: () => ({ cancel() {} }) };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-authority-'));
  nowMs = Date.UTC(2026, 10, 28);
  names = ['localhost', '127.0.0.1'];
  isFailing = false;
  nodes = 0;
  lines = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = () =>
  openPrivateAuthority({
    folder,
    schedulerId: 'scheduler-abc',
    names: () => names,
    nodes: () => nodes,
    lifetimeMs: LIFE_MS,
    overlapMs: OVERLAP_MS,
    withIssuer: (work) => issuing((issuer) => work({ ...issuer, makeLeaf })),
    clock,
    log,
  });
/** What is sent in a handshake, by subject and issuer. */
const chainOf = (pem: string) =>
  splitCertificates(pem).map((one) => {
    const { subject, issuer } = new X509Certificate(one);
    return [subject, issuer];
  });
const nothing = { certificate: false, authorities: false };

describe('the private authority of a scheduler', () => {
  it('is made once, readable by its owner alone, and found again', async () => {
    const pin = (await open()).pin();
    expect(statSync(join(folder, 'authorities.json')).mode & 0o777).toBe(0o600);
    expect(authorityPin(readFileSync(join(folder, 'ca.pem'), 'utf8'))).toBe(pin);
    expect((await open()).pin()).toBe(pin);
    chmodSync(join(folder, 'authorities.json'), 0o644);
    expect((await open()).pin()).toBe(pin);
    expect(statSync(join(folder, 'authorities.json')).mode & 0o777).toBe(0o600);
  });

  it('never writes the key of the server to the disk', async () => {
    const { key } = (await open()).certificate();
    expect(readFileSync(join(folder, 'authorities.json'), 'utf8')).not.toContain(key.split('\n')[1]);
  });

  it('renews the certificate before half of its life is over, and not all the time', async () => {
    const authority = await open();
    const first = authority.certificate();
    expect(await authority.look()).toEqual(nothing);
    nowMs += LIFE_MS * 0.39;
    expect(await authority.look()).toEqual(nothing);
    nowMs += LIFE_MS * 0.02;
    expect(await authority.look()).toEqual({ certificate: true, authorities: false });
    expect(authority.certificate().expiresAtMs).toBe(nowMs + LIFE_MS);
    expect(authority.certificate().cert).not.toBe(first.cert);
    expect(await authority.look()).toEqual(nothing);
  });

  it('renews it for other names, and after the clock was set back', async () => {
    const authority = await open();
    names = ['localhost', '10.0.0.7'];
    expect((await authority.look()).certificate).toBe(true);
    const [leaf] = splitCertificates(authority.certificate().cert);
    expect(new X509Certificate(leaf ?? '').checkIP('10.0.0.7')).toBeDefined();
    nowMs -= 3600_000;
    expect((await authority.look()).certificate).toBe(true);
  });

  it('gives way to the next with an overlap, each step after a restart as well', async () => {
    let authority = await open();
    const first = authority.pin();
    await authority.rotate(false);
    expect(authority.succession()).toMatchObject({
      phase: 'announced',
      signs: first,
      nextPhaseAtMs: nowMs + OVERLAP_MS,
    });
    const second = authority.succession().next ?? '';
    expect(authority.authorities().map(authorityPin)).toEqual([first, second]);
    await expect(authority.rotate(false)).rejects.toMatchObject({ code: 'TLS_ROTATING' });

    authority = await open();
    nowMs += OVERLAP_MS - 1000;
    expect((await authority.look()).authorities).toBe(false);
    nowMs += 1000;
    expect(await authority.look()).toEqual({ certificate: true, authorities: true });
    expect(authority.succession()).toMatchObject({ phase: 'succeeded', signs: second, previous: first });
    expect(authority.authorities().map(authorityPin)).toEqual([second, first]);
    const [leaf, cross, before, self] = chainOf(authority.certificate().cert);
    expect(leaf?.[1]).toBe(self?.[0]);
    expect(cross).toEqual([self?.[0], before?.[0]]);
    expect(before?.[0]).toBe(before?.[1]);

    authority = await open();
    expect(authority.certificate().cert.match(/BEGIN/g)).toHaveLength(4);
    nowMs += OVERLAP_MS;
    expect(await authority.look()).toEqual({ certificate: true, authorities: true });
    expect(authority.succession()).toMatchObject({ phase: 'steady', signs: second, previous: null });
    expect(readFileSync(join(folder, 'authorities.json'), 'utf8')).not.toContain(first);
    expect(chainOf(authority.certificate().cert)).toHaveLength(2);
  });

  it('gives the overlap to the last authority after its step, however late that was taken', async () => {
    const authority = await open();
    await authority.rotate(false);
    nowMs += 10 * OVERLAP_MS;
    await authority.look();
    expect(authority.succession().phase).toBe('succeeded');
    expect(authority.succession().nextPhaseAtMs).toBe(nowMs + OVERLAP_MS);
  });

  it('takes one step at a time when told not to wait', async () => {
    const authority = await open();
    const first = authority.pin();
    await authority.rotate(true);
    expect(authority.succession()).toMatchObject({ phase: 'succeeded', previous: first });
    const second = authority.pin();
    await authority.rotate(true);
    expect(authority.succession()).toMatchObject({ phase: 'steady', signs: second, previous: null });
  });

  it('gives way by itself when half of its own life is over', async () => {
    const authority = await open();
    nowMs += 11 * 366 * 86_400_000;
    expect((await authority.look()).authorities).toBe(true);
    expect(authority.succession().phase).toBe('announced');
  });

  it('refuses a damaged file without telling its text', async () => {
    await open();
    const path = join(folder, 'authorities.json');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.slice(0, -40));
    let said = '';
    try {
      await open();
    } catch (error) {
      said = JSON.stringify({ ...(error as object), message: (error as Error).message });
    }
    expect(said).toContain('TLS_AUTHORITY_DAMAGED');
    expect(said).not.toContain('PRIVATE');
  });

  it('is not made anew in silence where nodes are enrolled: refused where clients were told of a lost one', async () => {
    await open();
    nodes = 3;
    const path = join(folder, 'authorities.json');
    const kept = readFileSync(path);
    rmSync(path);
    await expect(open()).rejects.toMatchObject({
      code: 'TLS_AUTHORITY_LOST',
      message: expect.stringContaining('3 nodes are enrolled'),
      remedy: expect.stringContaining('restore it from a copy'),
    });
    expect(() => statSync(path)).toThrow('ENOENT');
    writeFileSync(path, kept, { mode: 0o600 });
    await open();
    expect(lines).toEqual([]);
    // As the remedy says, or a scheduler that had no TLS until now.
    rmSync(path);
    rmSync(join(folder, 'ca.pem'));
    await open();
    expect(lines).toMatchObject([expect.stringMatching(/let them join again .*"nodes":3/)]);
  });

  it('writes down for clients what they may trust, again where that is gone, and starts on a full disk', async () => {
    const pin = (await open()).pin();
    rmSync(join(folder, 'ca.pem'));
    await open();
    expect(authorityPin(readFileSync(join(folder, 'ca.pem'), 'utf8'))).toBe(pin);
    rmSync(join(folder, 'ca.pem'));
    // What no write can replace stands for the full disk.
    mkdirSync(join(folder, 'ca.pem'));
    expect((await open()).pin()).toBe(pin);
  });

  it('never makes a new authority by itself because of a clock that is wrong, but says so once a day', async () => {
    const pin = (await open()).pin();
    for (const wrongMs of [Date.UTC(1970, 0, 2), Date.UTC(2060, 0, 1)]) {
      nowMs = wrongMs;
      lines = [];
      const authority = await open();
      await authority.look();
      expect(authority.pin()).toBe(pin);
      expect(lines.filter((line) => line.includes('not valid at this time'))).toHaveLength(1);
    }
  });

  it('goes on with what it has while the disk refuses a step', async () => {
    const authority = await open();
    await authority.rotate(false);
    nowMs += OVERLAP_MS;
    rmSync(folder, { recursive: true });
    expect(await authority.look()).toEqual(nothing);
    expect(authority.succession().phase).toBe('announced');
    // Made again for the end of the test.
    folder = mkdtempSync(join(tmpdir(), 'flopd-authority-'));
  });

  it('makes up for a certificate that could not be made after a step', async () => {
    const authority = await open();
    await authority.rotate(false);
    isFailing = true;
    nowMs += OVERLAP_MS;
    expect(await authority.look()).toEqual({ certificate: false, authorities: true });
    expect(await authority.look()).toEqual(nothing);
    isFailing = false;
    expect(await authority.look()).toEqual({ certificate: true, authorities: false });
    const [leaf] = splitCertificates(authority.certificate().cert);
    const [signer] = authority.authorities().map((pem) => new X509Certificate(pem));
    expect(new X509Certificate(leaf ?? '').issuer).toBe(signer?.subject);
  });

  it('does one thing after the other', async () => {
    const authority = await open();
    const first = authority.pin();
    const done = await Promise.allSettled([
      authority.rotate(true),
      authority.look(),
      authority.rotate(false),
      authority.rotate(true),
    ]);
    expect(done.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(authority.succession().phase).toBe('steady');
    expect(authority.pin()).not.toBe(first);
  });
});
