import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { goodKey, REVOKED_MS, readStatement } from '../../../src/protocol/keys.ts';
import { ORDER_LIFE_MS, ORDER_SKEW_MS } from '../../../src/protocol/order.ts';
import { openKeyFolder } from '../../../src/scheduler/key-folder.ts';

const HOUR_MS = 3_600_000;

function setUp() {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-ring-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const time = { nowMs: 1_000_000 };
  const open = () => openKeyFolder(folder, 'scheduler-1', { wallMs: () => time.nowMs });
  return { folder, time, open };
}

const signerOf = (ring: ReturnType<ReturnType<typeof setUp>['open']>) =>
  ring.sign('flopd.v2 order', '{}').keyId;

test('the first key makes the same statement at each start, and signs for one purpose at a time', () => {
  const { folder, open } = setUp();
  const ring = open();
  expect(open().statements()).toEqual(ring.statements());
  const signed = ring.sign('flopd.v2 order', 'text');
  expect(open().isOurs('flopd.v2 order', signed)).toBe(true);
  expect(ring.isOurs('flopd.v2 node', signed)).toBe(false);
  expect(ring.isOurs('flopd.v2 order', { ...signed, body: 'other' })).toBe(false);
  expect(setUp().open().isOurs('flopd.v2 order', signed)).toBe(false);
  expect(readStatement(ring.statements()[0] as never)).toMatchObject({
    schedulerId: 'scheduler-1',
    serial: 1,
  });
  for (const file of ['key.pem', 'keys.json']) expect(statSync(join(folder, file)).mode & 0o077).toBe(0);
});

test('after a rotation the next key signs when the overlap is over, and what the one before signed stays known', () => {
  const { folder, time, open } = setUp();
  const ring = open();
  const old = ring.sign('flopd.v2 order', 'old');
  const next = ring.rotate(HOUR_MS);
  expect(signerOf(ring)).toBe(old.keyId);
  expect(() => ring.rotate(1)).toThrow('signs only from');
  const [, told] = ring.statements();
  expect(told?.keyId).toBe(old.keyId);
  expect(readStatement(told as never)).toMatchObject({
    serial: 2,
    keys: [
      { keyId: old.keyId, notAfterMs: time.nowMs + HOUR_MS + ORDER_LIFE_MS + ORDER_SKEW_MS },
      { keyId: next.keyId, notBeforeMs: 0, notAfterMs: null },
    ],
  });
  time.nowMs += HOUR_MS;
  for (const one of [ring, open()]) {
    expect(signerOf(one)).toBe(next.keyId);
    expect(one.isOurs('flopd.v2 order', old)).toBe(true);
    expect(one.statements()).toHaveLength(2);
  }
  const third = open().rotate(1);
  time.nowMs += 1;
  expect(signerOf(open())).toBe(third.keyId);
  expect(readStatement(open().statements()[2] as never)?.keys.map(({ keyId }) => keyId)).toEqual([
    old.keyId,
    next.keyId,
    third.keyId,
  ]);
  expect(readdirSync(join(folder, 'keys'))).toHaveLength(2);
});

test('without an overlap the keys until then are revoked: they vouch for the next one, and for nothing else', () => {
  const { time, open } = setUp();
  const ring = open();
  const old = ring.sign('flopd.v2 order', 'old');
  const member = ring.sign('flopd.v2 node', 'node');
  // Also where one of them waits for its time.
  const waiting = ring.rotate(HOUR_MS);
  const next = ring.rotate(0);
  expect(ring.keys().map(({ notAfterMs }) => notAfterMs)).toEqual([REVOKED_MS, REVOKED_MS, null]);
  const [first, second, third] = ring.statements().map((one) => readStatement(one));
  if (!first || !second || !third) throw new Error('a statement is missing');
  const good = (statement: typeof first, keyId: string, nowMs = time.nowMs): boolean =>
    goodKey(statement, keyId, nowMs, ORDER_SKEW_MS) !== null;
  expect(third.signed.keyId).toBe(waiting.keyId);
  expect([good(first, old.keyId), good(second, waiting.keyId), good(third, next.keyId)]).toEqual([
    true,
    true,
    true,
  ]);
  // By whatever clock a node has.
  for (const nowMs of [0, time.nowMs])
    for (const { keyId } of [old, waiting]) expect(good(third, keyId, nowMs)).toBe(false);
  // A clock that goes back brings nothing back.
  time.nowMs -= 1000;
  for (const one of [ring, open()]) {
    expect(signerOf(one)).toBe(next.keyId);
    // What was ordered may still run; whoever has the key must not be able to make nodes.
    expect(one.isOurs('flopd.v2 order', old)).toBe(true);
    expect(one.isOurs('flopd.v2 node', member)).toBe(false);
    expect(one.publicKeys()).toHaveLength(1);
  }
});

test('a key that was replaced long ago is revoked with the others: it vouched for nodes still', () => {
  const { time, open } = setUp();
  const ring = open();
  const member = ring.sign('flopd.v2 node', 'node');
  ring.rotate(HOUR_MS);
  time.nowMs += 2 * HOUR_MS;
  expect(ring.isOurs('flopd.v2 node', member)).toBe(true);
  ring.rotate(0);
  for (const one of [ring, open()]) {
    expect(one.isOurs('flopd.v2 node', member)).toBe(false);
    expect(one.publicKeys()).toHaveLength(1);
  }
});

test('keys that were made while the clock was ahead are good when it is right again', () => {
  const { time, open } = setUp();
  const ring = open();
  const first = ring.statements()[0];
  time.nowMs += 1000 * HOUR_MS;
  ring.rotate(HOUR_MS);
  time.nowMs -= 1000 * HOUR_MS;
  ring.rotate(0);
  // As a node follows them, by a clock that is right.
  let known = readStatement(first as never);
  for (const signed of ring.statements().slice(1)) {
    if (known === null || goodKey(known, signed.keyId, time.nowMs, ORDER_SKEW_MS) === null) continue;
    known = readStatement(signed);
  }
  expect(known?.serial).toBe(3);
  expect(known === null ? null : goodKey(known, signerOf(ring), time.nowMs, ORDER_SKEW_MS)).not.toBeNull();
});

test('keys that are over are not told any more, but known again', () => {
  const { time, open } = setUp();
  const ring = open();
  const old = ring.sign('flopd.v2 order', 'old');
  ring.rotate(0);
  time.nowMs += HOUR_MS;
  ring.rotate(0);
  const last = readStatement(ring.statements().at(-1) as never);
  expect(last?.keys.map(({ keyId }) => keyId)).not.toContain(old.keyId);
  expect(open().isOurs('flopd.v2 order', old)).toBe(true);
});

test('a crash in a rotation leaves the ring as it was; what is lost or changed is told', () => {
  const { folder, open } = setUp();
  open();
  // The key was made, and nothing else.
  const crashed = setUp();
  crashed.open().rotate(0);
  rmSync(join(crashed.folder, 'keys.json'));
  expect(() => crashed.open()).toThrow('it is missing');
  unlinkSync(join(folder, 'key.pem'));
  // Deleted before there was a second: a new beginning.
  expect(open().statements()).toHaveLength(1);
  open().rotate(0);
  unlinkSync(join(folder, 'key.pem'));
  expect(() => open()).toThrow('key.pem is not the key that it names');
  expect(existsSync(join(folder, 'keys.json'))).toBe(true);
});
