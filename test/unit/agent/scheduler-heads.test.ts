import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createSchedulerHeads, HEAD_RECORD_MS } from '../../../src/agent/scheduler-heads.ts';
import { createAuditSigner, signHead } from '../../../src/audit/head.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import type { SignedHead } from '../../../src/protocol/audit.ts';

const keys = [0, 1].map(() => createAuditSigner(generateKeyPairSync('ed25519').privateKey));

function headOf(sequence: number, digit: string, signer = keys[0], owner = 'scheduler-1'): SignedHead {
  if (signer === undefined) throw new Error('no key');
  const first = { segment: 1, sequence: 1, previous: '0'.repeat(64) };
  const hash = digit.repeat(64);
  return signHead({ version: 1, owner, at: 'noon', sequence, hash, segment: 1, first }, signer);
}

function createBed() {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-heads-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const written: [string, unknown][] = [];
  const said: string[] = [];
  let nowMs = 0;
  const log = {
    ...createSilentLog(),
    warn: (_: object, text: string) => void said.push(`warn: ${text}`),
    error: (_: object, text: string) => void said.push(`error: ${text}`),
  };
  const open = () =>
    createSchedulerHeads({
      folder,
      schedulerId: () => 'scheduler-1',
      audit: (kind, facts) => written.push([kind, facts.sequence]),
      clock: { monotonicMs: () => nowMs },
      log,
    });
  const later = (): void => {
    nowMs += HEAD_RECORD_MS;
  };
  return { folder, written, said, open, later };
}

test('a log that grows is written down, but not more often than it should be', () => {
  const { written, said, open, later } = createBed();
  const heads = open();
  heads.told(headOf(5, 'a'));
  heads.told(headOf(5, 'a'));
  heads.told(headOf(9, 'b'));
  expect(written).toEqual([['scheduler.head', 5]]);
  later();
  heads.told(headOf(9, 'b'));
  heads.told(headOf(12, 'c'));
  expect(written.slice(1)).toEqual([['scheduler.head', 12]]);
  expect(said).toEqual([]);
});

test('a log that went back, or has another record in the place of one, is told once, also over a restart', () => {
  const { written, said, open, later } = createBed();
  open().told(headOf(9, 'a'));
  const heads = open();
  heads.told(headOf(9, 'b'));
  heads.told(headOf(9, 'b'));
  expect(written.slice(1)).toEqual([
    ['scheduler.rewound', 9],
    ['scheduler.head', 9],
  ]);
  expect(said).toEqual([
    expect.stringMatching(/^error: the audit log of the scheduler does not hold any more/),
  ]);
  // Told back and forth, it does not fill the log.
  heads.told(headOf(4, 'c'));
  heads.told(headOf(9, 'b'));
  heads.told(headOf(3, 'c'));
  expect(written).toHaveLength(3);
  later();
  heads.told(headOf(3, 'c'));
  expect(written.slice(3)).toEqual([
    ['scheduler.rewound', 3],
    ['scheduler.head', 3],
  ]);
});

test('another key is told, and a head that nobody of that name signed is none', () => {
  const { written, said, open } = createBed();
  const heads = open();
  const good = headOf(9, 'a');
  heads.told({ ...good, body: good.body.replace('"sequence":9', '"sequence":8') });
  heads.told(headOf(7, 'a', keys[0], 'scheduler-2'));
  expect(written).toEqual([]);
  expect(said).toHaveLength(1);
  heads.told(good);
  heads.told(headOf(10, 'b', keys[1]));
  expect(written).toEqual([
    ['scheduler.head', 9],
    ['scheduler.head', 10],
  ]);
  expect(said.at(-1)).toMatch(/^warn: .* signed by another key/);
});

test('what cannot be read of the last head, or is of another scheduler, is no reason to complain', () => {
  const { folder, written, said, open } = createBed();
  writeFileSync(join(folder, 'scheduler-head.json'), '{"version":1');
  open().told(headOf(9, 'a'));
  const other = { version: 1, schedulerId: 'scheduler-9', keyId: 'f'.repeat(16), sequence: 90, hash: 'a' };
  writeFileSync(join(folder, 'scheduler-head.json'), JSON.stringify(other));
  open().told(headOf(9, 'a'));
  expect(written).toEqual([
    ['scheduler.head', 9],
    ['scheduler.head', 9],
  ]);
  expect(said).toEqual([]);
});
