import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRevocations } from '../../../src/scheduler/revocations.ts';

let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-revocations-'));
  path = join(folder, 'revocations.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const clock = { wallMs: () => 1.7e12 };
const open = () => openRevocations(path, clock);
const key = (name: string): string => Buffer.from(name).toString('base64');

describe('the list of revocations', () => {
  test('is not there before there is one, and private afterwards', () => {
    expect(open().standing(key('a'))).toBe('good');
    open().revoke('node-a', key('a'), 'alice');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).not.toContain(key('a'));
  });

  test('keeps what was written, and takes no revocation back', () => {
    const list = open();
    list.revoke('node-a', key('a'), 'alice');
    list.remove('node-b', key('b'), 'bob');
    list.readmit('node-b', key('b'), 'bob');
    list.remove('node-a', key('a'), 'bob');
    list.outdate('node-a', 3);
    list.outdate('node-a', 2);
    for (const one of [list, open()]) {
      expect([one.standing(key('a')), one.standing(key('b')), one.standing(key('c'))]).toEqual([
        'revoked',
        'good',
        'good',
      ]);
      expect([one.isReserved('node-a'), one.isReserved('node-b'), one.isReserved('node-c')]).toEqual([
        true,
        true,
        false,
      ]);
      expect([one.leastSerial('node-a'), one.leastSerial('node-b')]).toEqual([3, 0]);
    }
  });

  test('cut off anywhere in its last line loses that one alone, and goes on', () => {
    const list = open();
    list.revoke('node-a', key('a'), 'alice');
    const first = statSync(path).size;
    list.revoke('node-b', key('b'), 'alice');
    const whole = readFileSync(path);
    for (let length = first; length < whole.length; length += 1) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      const cut = open();
      expect([cut.standing(key('a')), cut.standing(key('b'))]).toEqual(['revoked', 'good']);
      cut.revoke('node-c', key('c'), 'alice');
      expect([open().standing(key('a')), open().standing(key('c'))]).toEqual(['revoked', 'revoked']);
    }
  });

  test('that is damaged in the middle is not believed: the scheduler does not start with it', () => {
    open().revoke('node-a', key('a'), 'alice');
    const line = readFileSync(path, 'utf8');
    for (const bad of [
      'nonsense\n',
      '{}\n',
      line.replace('revoked', 'revoken'),
      line.replace(/[0-9a-f]{64}/, 'x'),
      '\n',
    ]) {
      writeFileSync(path, `${bad}${line}`);
      expect(open).toThrow(
        expect.objectContaining({ code: 'SCHEDULER_REVOCATIONS_DAMAGED', remedy: expect.any(String) }),
      );
    }
  });

  test('that cannot be written changes nothing, and says so', () => {
    const list = open();
    rmSync(folder, { recursive: true });
    expect(() => list.revoke('node-a', key('a'), 'alice')).toThrow(
      expect.objectContaining({ code: 'REVOCATIONS_UNWRITTEN' }),
    );
    expect(list.standing(key('a'))).toBe('good');
  });

  test('takes no line that somebody else appended without an end', () => {
    open().revoke('node-a', key('a'), 'alice');
    appendFileSync(path, '{"atMs":1,"node":"node-b"');
    expect(open().isReserved('node-b')).toBe(false);
  });
});
