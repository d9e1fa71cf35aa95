import { generateKeyPairSync } from 'node:crypto';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeRecord, hashOf, parseLine } from '../../../src/audit/chain.ts';
import { createAuditSigner } from '../../../src/audit/head.ts';
import { verifyChain } from '../../../src/audit/verify.ts';
import { keyIdOf } from '../../../src/protocol/signed.ts';
import { createChainBed } from './chain-bed.ts';

const lineOf = (bytes: Buffer): string[] => bytes.toString().split('\n').slice(0, -1);
const joined = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

/** From 1. */
const lineAt = (bytes: Buffer, at: number): number =>
  bytes.subarray(0, at).filter((byte) => byte === 0x0a).length + 1;

/** Bytes that stand for what an editor, a bad disk or a forger would leave in the place of one. */
function others(byte: number, turn: number): number {
  return [byte ^ 1, byte ^ 0x20, 0x0a, 0x00, 0x20, 0xff][turn % 6] === byte
    ? byte ^ 0x80
    : ([byte ^ 1, byte ^ 0x20, 0x0a, 0x00, 0x20, 0xff][turn % 6] as number);
}

describe('the check of a chain', () => {
  test('finds every single changed byte of a record, and of its end, at the beginning, in the middle and last', async () => {
    const bed = createChainBed();
    await bed.fill(10);
    bed.whole(12);
    const bytes = bed.bytes();
    for (let at = 0; at < bytes.length; at += 1) {
      if (![1, 6, 12].includes(lineAt(bytes, at))) continue;
      const changed = Buffer.from(bytes);
      changed[at] = others(bytes[at] as number, at);
      bed.write(changed);
      const { problems } = bed.verify();
      const line = lineAt(bytes, at);
      expect(problems.length, `byte ${at}`).toBeGreaterThan(0);
      // The record that was changed itself; for one whose link alone was changed, it is the same one.
      expect(problems[0]?.line, `byte ${at}: ${problems[0]?.text}`).toBe(line);
    }
  });

  test('finds one changed byte among 10 000 records, and which', async () => {
    const bed = createChainBed();
    await bed.fill(9998, { segmentBytes: 512 * 1024 });
    bed.whole(10_000);
    const segments = bed.segments();
    expect(segments.length).toBeGreaterThan(2);
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 48_271) % 0x7fff_ffff;
      return seed % below;
    };
    for (let turn = 0; turn < 12; turn += 1) {
      const number = segments[random(segments.length)] as number;
      const bytes = bed.bytes(number);
      const at = random(bytes.length);
      const changed = Buffer.from(bytes);
      changed[at] = others(bytes[at] as number, turn);
      bed.write(changed, number);
      const [first] = bed.verify().problems;
      expect(first?.file).toContain(String(number));
      expect(first?.line).toBe(bytes.subarray(0, at).filter((byte) => byte === 0x0a).length + 1);
      bed.write(bytes, number);
    }
    bed.whole(10_000);
  });

  test('finds records that were removed, moved, doubled or added, and says which', async () => {
    const bed = createChainBed();
    await bed.fill(6);
    const lines = lineOf(bed.bytes());
    const [a, b, c, d, ...rest] = lines as [string, string, string, string, ...string[]];
    const said = (changed: readonly string[]): string => {
      bed.write(joined(changed));
      const [first] = bed.verify().problems;
      return `${first?.sequence} line ${first?.line}: ${first?.text}`;
    };
    expect(said([a, b, d, ...rest])).toBe('4 line 3: record 3 before it is missing');
    expect(said([a, d, ...rest])).toBe('4 line 2: records 2 to 3 before it are missing');
    expect(said([b, c, d, ...rest])).toContain('record 1 before it is missing');
    expect(said([a, c, b, d, ...rest])).toContain('3 line 2: record 2 before it is missing');
    expect(said([a, b, b, c, d, ...rest])).toContain('2 line 3: it is out of its order');
    const own = parseLine(Buffer.from(b)).record;
    if (own === null) throw new Error('no record');
    const forged = encodeRecord({ ...own, facts: { jobId: 'job-99' } });
    expect(said([a, forged, c, d, ...rest])).toBe('2 line 2: it was changed after it was written');
    const added = encodeRecord({ ...own, sequence: 3, previous: hashOf(b) });
    expect(said([a, b, added, c, d, ...rest])).toContain('3 line 4: it is out of its order');
  });

  test('a whole chain written anew behind a changed record does not fit the signed head', async () => {
    const bed = createChainBed();
    await bed.fill(6);
    let previous: string | null = null;
    const forged = lineOf(bed.bytes()).map((line, index) => {
      const { record } = parseLine(Buffer.from(line));
      if (record === null) throw new Error('no record');
      const facts = index === 2 ? { jobId: 'job-99', epoch: 1 } : record.facts;
      const written: string = encodeRecord({ ...record, facts, previous: previous ?? record.previous });
      previous = hashOf(written);
      return written;
    });
    bed.write(joined(forged));
    expect(bed.verify().problems).toMatchObject([
      { sequence: 8, text: expect.stringContaining('the signed head') },
    ]);
  });

  test('a removed tail, a missing segment and a missing or foreign head are found', async () => {
    const bed = createChainBed();
    await bed.fill(200, { segmentBytes: 8192 });
    const last = bed.segments().at(-1) as number;
    const head = join(bed.folder, 'audit-head.json');
    const signed = readFileSync(head);
    const bytes = bed.bytes(last);
    bed.write(joined(lineOf(bytes).slice(0, -1)), last);
    expect(bed.verify().problems).toMatchObject([
      { sequence: 202, text: 'records up to 202 are missing: the signed head names them' },
    ]);
    bed.write(bytes, last);
    const second = bed.bytes(2);
    rmSync(bed.path(2));
    expect(bed.verify().problems[0]).toMatchObject({
      file: 'audit-000002.jsonl',
      text: 'the segment is missing',
    });
    bed.write(second, 2);
    rmSync(head);
    expect(bed.verify().problems).toMatchObject([
      { file: 'audit-head.json', text: expect.stringContaining('missing') },
    ]);
    writeFileSync(head, signed);
    const stranger = createAuditSigner(generateKeyPairSync('ed25519').privateKey);
    expect(bed.verify([stranger.publicKey]).problems[0]?.text).toContain('another key');
    for (let at = 0; at < signed.length; at += 7) {
      const changed = Buffer.from(signed);
      changed[at] = (changed[at] as number) ^ 1;
      writeFileSync(head, changed);
      expect(bed.verify().problems.length, `byte ${at} of the head`).toBeGreaterThan(0);
    }
    writeFileSync(head, signed);
    bed.whole(202);
  });

  test('an older copy of the whole folder is found by what somebody else was told of it', async () => {
    const bed = createChainBed();
    await bed.fill(3);
    const old = { segment: bed.bytes(), head: readFileSync(join(bed.folder, 'audit-head.json')) };
    await bed.fill(3);
    const { record } = parseLine(Buffer.from(lineOf(bed.bytes()).at(-1) as string));
    const told = {
      sequence: record?.sequence ?? 0,
      hash: hashOf(lineOf(bed.bytes()).at(-1) as string),
      at: 'noon',
      by: 'the scheduler',
      keyId: keyIdOf(bed.signer.publicKey),
    };
    expect(verifyChain(bed.folder, null, { witnesses: [told] }).problems).toEqual([]);
    bed.write(old.segment);
    writeFileSync(join(bed.folder, 'audit-head.json'), old.head);
    bed.whole(5);
    expect(verifyChain(bed.folder, null, { witnesses: [told] }).problems).toMatchObject([{ sequence: 10 }]);
    expect(verifyChain(bed.folder, null, { witnesses: [{ ...told, sequence: 2 }] }).problems).toMatchObject([
      { sequence: 2, text: expect.stringContaining('was told of') },
    ]);
    // One more at the same place hides nothing.
    const other = { ...told, sequence: 2, hash: hashOf(lineOf(bed.bytes())[1] as string) };
    const witnesses = [{ ...told, sequence: 2 }, other];
    expect(verifyChain(bed.folder, null, { witnesses }).problems).toHaveLength(1);
  });

  test('what was told of another chain of the owner is not held against this one; of a chain without a name it is a doubt', async () => {
    const bed = createChainBed();
    await bed.fill(3);
    const hash = hashOf(lineOf(bed.bytes())[1] as string);
    const fits = { sequence: 2, hash, at: 'noon', by: 'the scheduler', keyId: null };
    const another = { ...fits, sequence: 90, keyId: 'f'.repeat(16) };
    expect(verifyChain(bed.folder, null, { witnesses: [fits, another] })).toMatchObject({
      problems: [],
      doubts: [],
    });
    const nameless = [
      { ...fits, sequence: 3 },
      { ...fits, sequence: 90 },
    ];
    expect(verifyChain(bed.folder, null, { witnesses: nameless })).toMatchObject({
      problems: [],
      doubts: [{ sequence: 3 }, { sequence: 90 }],
    });
  });

  test('a copy of the folder verifies elsewhere, without the key', async () => {
    const bed = createChainBed();
    await bed.fill(3);
    const copy = createChainBed();
    for (const name of ['audit-000001.jsonl', 'audit-head.json'])
      copyFileSync(join(bed.folder, name), join(copy.folder, name));
    expect(copy.verify(null)).toMatchObject({ records: 5, problems: [], isKeyGiven: false, owner: 'node-1' });
  });
});
