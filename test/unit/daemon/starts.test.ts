import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { countStarts, SAFE_MODE_MS, type Starts, WELL_AFTER_MS } from '../../../src/daemon/starts.ts';
import { createHandClock, createKeptLog, type HandClock } from '../link/parts.ts';

let folder = '';
let clock: HandClock;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-starts-'));
  clock = createHandClock();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const start = (): Starts => countStarts(folder, clock, createKeptLog());
const nothing = (): void => {};

describe('starts that fail', () => {
  test('three times in a row, for whatever nobody told a user, make the next a careful one that says why', () => {
    start(); // killed without a word
    start().failed(new Error('EISDIR: illegal operation on a directory, read'));
    const third = start();
    third.ready(nothing);
    third.crashed(new TypeError('x is not a function'));
    expect(start().safeMode()).toMatch(
      /^safe mode: the last 3 starts failed \(the last at \d.*: x is not a function\); running jobs are supervised, no orders/,
    );
  });

  test('count only as long as nothing went well in between', async () => {
    start();
    start();
    const well = start();
    well.ready(nothing);
    await clock.advance(WELL_AFTER_MS);
    start();
    expect(start().safeMode()).toBeNull();
  });

  test('do not count when a user was told what to mend, nor when a running agent is killed or stopped', () => {
    for (let at = 0; at < 5; at += 1) start().failed(new Fault('ADDRESS_UNUSABLE', 'it is in use'));
    for (let at = 0; at < 5; at += 1) start().ready(nothing); // then kill -9
    expect(start().safeMode()).toBeNull();
  });
});

describe('safe mode', () => {
  function enter(): Starts {
    for (let at = 0; at < 3; at += 1) start();
    return start();
  }

  test('ends by itself after a while without trouble, and tells', async () => {
    const careful = enter();
    let over = 0;
    careful.ready(() => {
      over += 1;
    });
    await clock.advance(SAFE_MODE_MS - 1);
    expect([careful.safeMode() === null, over]).toEqual([false, 0]);
    await clock.advance(1);
    expect([careful.safeMode(), over]).toEqual([null, 1]);
    expect(start().safeMode()).toBeNull();
  });

  test('stays when it fails too, or is killed; a clean stop means that somebody has looked', () => {
    enter();
    const again = start();
    expect(again.safeMode()).not.toBeNull();
    again.ready(nothing);
    const killed = start();
    expect(killed.safeMode()).not.toBeNull();
    killed.ready(nothing);
    killed.close();
    expect(start().safeMode()).toBeNull();
  });

  test('is not entered over a count that cannot be read, and a folder that cannot be written to counts nothing', () => {
    writeFileSync(join(folder, 'starts.json'), '{"failures":[1,2,3]}');
    expect(start().safeMode()).toBeNull();
    expect(JSON.parse(readFileSync(join(folder, 'starts.json'), 'utf8')).failures).toHaveLength(1);
    const log = createKeptLog();
    const lost = countStarts(join(folder, 'nowhere'), clock, log);
    lost.ready(nothing);
    lost.close();
    expect(lost.safeMode()).toBeNull();
    expect(log.lines.length).toBeGreaterThan(0);
  });
});
