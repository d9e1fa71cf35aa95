import { describe, expect, test } from 'vitest';
import { findChipError } from '../../../../src/device/ascend/error-codes.ts';
import { codesOf, judgeAscend, levelOfWord } from '../../../../src/device/ascend/health.ts';
import { createAscend } from '../../../../src/device/ascend.ts';

const vendor = createAscend();
const judge = (signals: Record<string, number>, codes: readonly number[] = []) =>
  (vendor.judgeSignals?.(signals, codes) ?? []).map(({ code, rung }) => `${code} ${rung}`);

describe('both backends judge alike', () => {
  test.each([
    ['OK', 0, []],
    ['Warning', 1, ['health-warning warn']],
    ['Alarm', 2, ['health-alarm noNewJobs']],
    ['Critical', 3, ['health-critical stopJobs']],
  ])('%s is level %i', (word, healthLevel, expected) => {
    const codes = [0x80e18402, 0x12345678];
    expect(judge({ healthLevel })).toEqual(expected);
    expect(vendor.judgeSignals?.({ healthLevel }, codes)).toEqual(
      judgeAscend({ level: levelOfWord(word), codes }),
    );
  });

  test('what is not told is no level', () => {
    for (const word of ['UNKNOWN', 'NA', '', 'okay']) expect(levelOfWord(word)).toBeNull();
    for (const healthLevel of [0xffffffff, -1, Number.NaN, 4]) expect(judge({ healthLevel })).toEqual([]);
    expect(judge({})).toEqual([]);
  });
});

describe('error codes', () => {
  test('each class has its rung, and the worse one wins', () => {
    const rungs = [0x80e21007, 0x8c204e00, 0x8c0e4e00, 0x8c03a000, 0x80e18402].map(
      (code) => findChipError(code)?.rung,
    );
    expect(rungs).toEqual(['observe', 'stopJobs', 'noNewJobs', 'resetNeeded', 'replace']);
    // Listed as one that restarts the business and as one to separate.
    expect(findChipError(0xa2301001)?.rung).toBe('replace');
    expect(findChipError(1)).toBeNull();
  });

  test('an unknown one is judged by the level of its chip, and never as nothing', () => {
    const unknown = 0x12345678;
    expect(judge({ healthLevel: 0 }, [unknown])).toEqual(['error-12345678 warn']);
    expect(judge({ healthLevel: 2 }, [unknown])).toContain('error-12345678 noNewJobs');
    expect(judge({ healthLevel: 3 }, [unknown])).toContain('error-12345678 stopJobs');
    expect(judge({}, [unknown])).toEqual(['error-12345678 warn']);
  });

  test('are found however they are printed', () => {
    expect(codesOf('NA')).toEqual([]);
    expect(codesOf('0x80E18402')).toEqual([0x80e18402]);
    expect(codesOf('80e18402, 0x80CB8009 80E18402')).toEqual([0x80e18402, 0x80cb8009]);
    expect(codesOf('80E184021 80E1840')).toEqual([]);
  });
});

test('network, links and clocks', () => {
  expect([0, 6, 8].flatMap((networkHealth) => judge({ networkHealth }))).toEqual([]);
  for (const networkHealth of [1, 2, 3, 4, 5, 7])
    expect(judge({ networkHealth })).toEqual(['network-health warn']);
  expect(judge({ linksDown: 2 })).toEqual(['links-down warn']);
  expect(judge({ linksDown: 0, clockReduction: 0 })).toEqual([]);
  expect(judge({ clockReduction: 4 })).toEqual(['clock-reduced observe']);
});

test('events', () => {
  const event = (kind: 'fault' | 'lost' | 'returned' | 'ecc' | 'xid', code = 0) =>
    vendor.judgeEvent?.({ kind, code, count: 1, detail: null });
  expect(event('fault', 0x8c03a000)).toMatchObject({ code: 'error-8C03A000', rung: 'resetNeeded' });
  expect(event('lost')).toMatchObject({ code: 'device-lost', rung: 'resetNeeded' });
  expect(event('ecc')).toMatchObject({ code: 'ecc-uncorrected' });
  expect(event('returned')).toBeNull();
  expect(event('xid', 79)).toBeNull();
});
