import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openTrust, writeSchedulerKeys } from '../../../src/job/trust.ts';
import { REVOKED_MS, readStatement } from '../../../src/protocol/keys.ts';
import { ORDER_SKEW_MS } from '../../../src/protocol/order.ts';
import { createFakeKey, stateKeys } from '../../fakes/signer.ts';
import { createKeptLog } from '../link/parts.ts';

const ID = 'scheduler-1';
const [a, b, c, stranger] = [createFakeKey(), createFakeKey(), createFakeKey(), createFakeKey()];
const first = stateKeys(ID, 1, [{ key: a }], a);
const second = stateKeys(
  ID,
  2,
  [
    { key: a, notAfterMs: 1000 },
    { key: b, notBeforeMs: 100 },
  ],
  a,
);
const third = stateKeys(
  ID,
  3,
  [
    { key: b, notAfterMs: 5_000_000 },
    { key: c, notBeforeMs: 900 },
  ],
  b,
);

function setUp(trustsFirst = false) {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-trust-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'keys.json');
  const log = createKeptLog();
  const learned: unknown[] = [];
  const time = { nowMs: 500 };
  const open = () =>
    openTrust({
      path,
      schedulerId: () => ID,
      trustsFirst,
      clock: { wallMs: () => time.nowMs },
      log,
      audit: (kind, facts) => void learned.push([kind, facts.serial]),
    });
  const knows = (trust: ReturnType<typeof open>) =>
    [a, b, c, stranger].map(({ keyId }) => trust.key(keyId) !== null);
  return { path, log, learned, time, open, knows };
}

test('what enrolment wrote is trusted, and outlives a restart', () => {
  const { path, open, knows } = setUp();
  writeSchedulerKeys(path, ID, [first]);
  expect(knows(open())).toEqual([true, false, false, false]);
  expect(open().schedulerId()).toBe(ID);
  expect(open().problem()).toBeNull();
  expect(() => writeSchedulerKeys(path, 'scheduler-2', [first])).toThrow('not signed as they must be');
  // A scheduler of version 1 has no keys: what was there of another one counts no more.
  writeSchedulerKeys(path, ID, []);
  expect(knows(open())).toEqual([false, false, false, false]);
});

test('a statement by a trusted key is followed, one after the other, also after having been away', () => {
  const { path, open, knows, learned } = setUp();
  writeSchedulerKeys(path, ID, [first]);
  const trust = open();
  trust.learn([first, second]);
  expect(knows(trust)).toEqual([true, true, false, false]);
  trust.learn([first, second]);
  expect(learned).toEqual([['keys.learned', 2]]);
  trust.learn([first, second, third]);
  expect(knows(trust)).toEqual([false, true, true, false]);
  const away = setUp();
  writeSchedulerKeys(away.path, ID, [first]);
  const back = away.open();
  back.learn([first, second, third]);
  expect(away.knows(back)).toEqual([false, true, true, false]);
  expect(away.knows(away.open())).toEqual([false, true, true, false]);
});

test('a key counts in its time only, give or take the skew', () => {
  const { path, open, knows, time } = setUp();
  writeSchedulerKeys(path, ID, [second]);
  const trust = open();
  expect(knows(trust)).toEqual([true, true, false, false]);
  time.nowMs = 1000 + ORDER_SKEW_MS + 1;
  expect(knows(trust)).toEqual([false, true, false, false]);
});

test('nothing else is believed, and what was known stays', () => {
  const { path, open, knows, log, learned, time } = setUp();
  writeSchedulerKeys(path, ID, [first]);
  const trust = open();
  const forged = [
    stateKeys(ID, 2, [{ key: stranger }], stranger),
    stateKeys(ID, 9, [{ key: a }, { key: stranger }], stranger),
    stateKeys('scheduler-2', 2, [{ key: a }, { key: stranger }], a),
    { ...second, body: second.body.replace('"serial":2', '"serial":7') },
    { ...second, signature: first.signature },
    // Signed by a key that does not stand in it.
    stateKeys(ID, 2, [{ key: stranger }], a),
    a.sign('flopd.v2 keys', '{"version":1}'),
    a.sign('flopd.v2 order', second.body),
  ];
  for (const statement of forged) trust.learn([statement]);
  expect(knows(trust)).toEqual([true, false, false, false]);
  expect(learned).toEqual([]);
  expect(log.lines.filter(({ message }) => message.includes('no trusted key vouches'))).toHaveLength(
    forged.length,
  );
  // An older statement takes nothing back, and a key that is over vouches for nothing.
  trust.learn([second]);
  trust.learn([first]);
  expect(knows(trust)).toEqual([true, true, false, false]);
  time.nowMs = 1000 + ORDER_SKEW_MS + 1;
  trust.learn([stateKeys(ID, 3, [{ key: a }, { key: stranger }], a)]);
  expect(knows(trust)).toEqual([false, true, false, false]);
});

test('without any, the keys of the first welcome are believed once, where that was told', () => {
  const careful = setUp(false);
  const trust = careful.open();
  trust.learn([first]);
  expect(careful.knows(trust)).toEqual([false, false, false, false]);
  expect(trust.problem()).toContain('flopd join');
  const { open, knows, log } = setUp(true);
  const again = open();
  expect(again.problem()).toBeNull();
  again.learn([stateKeys('scheduler-2', 1, [{ key: stranger }], stranger)]);
  expect(knows(again)).toEqual([false, false, false, false]);
  again.learn([first]);
  again.learn([stateKeys(ID, 1, [{ key: stranger }], stranger)]);
  expect(knows(again)).toEqual([true, false, false, false]);
  expect(log.lines.some(({ message }) => message.includes('trusted for the first time'))).toBe(true);
});

test('a damaged file is told, and nothing is believed in its place; a new enrolment heals it without a restart', () => {
  const { path, open, knows, learned } = setUp(true);
  writeFileSync(path, '{"version":1}');
  const trust = open();
  expect(trust.problem()).toContain('cannot be used');
  trust.learn([first]);
  expect([knows(trust), learned]).toEqual([[false, false, false, false], []]);
  expect(readFileSync(path, 'utf8')).toBe('{"version":1}');
  writeSchedulerKeys(path, ID, [first]);
  expect(knows(trust)).toEqual([true, false, false, false]);
  expect(trust.problem()).toBeNull();
});

test('a statement is read only where a key in it signed it', () => {
  expect(readStatement(second)).toMatchObject({ schedulerId: ID, serial: 2 });
  expect(readStatement({ ...second, keyId: b.keyId })).toBeNull();
  expect(readStatement({ ...second, body: 'x' })).toBeNull();
});

test('a key that is revoked is good no more, by whatever clock, also where the disk does not take it', () => {
  const { path, log, time, open, knows } = setUp();
  const revoking = stateKeys(ID, 2, [{ key: a, notAfterMs: REVOKED_MS }, { key: b }], a);
  writeSchedulerKeys(path, ID, [first]);
  const trust = open();
  time.nowMs = 0;
  rmSync(path);
  mkdirSync(path);
  trust.learn([first, revoking]);
  expect(log.lines.some(({ message }) => message.includes('were not kept'))).toBe(true);
  expect(knows(trust)).toEqual([false, true, false, false]);
  // What it signs afterwards is followed by nobody, however late its number.
  trust.learn([first, stateKeys(ID, 9, [{ key: a }, { key: stranger }], a)]);
  expect(knows(trust)).toEqual([false, true, false, false]);
});
