import { describe, expect, it } from 'vitest';
import {
  type AchievedOptions,
  type Band,
  createAchieved,
  createAvailable,
} from '../../../src/device/achieved.ts';
import type { DerivationWindow, FindColumn } from '../../../src/device/derivation.ts';
import { findPeak } from '../../../src/device/peak/peak.ts';
import { unknownFacts } from '../../../src/device/reading.ts';
import { absentReasons, windowStatistics } from '../../../src/protocol/columns.ts';

const TERA = 1e12;

/** Columns of a window by `owner family{label}`; a string is the reason why one is absent. */
function windowOf(columns: Readonly<Record<string, number | string>>): {
  find: FindColumn;
  window: DerivationWindow;
} {
  const keys = Object.keys(columns);
  const values = new Float64Array(keys.length * windowStatistics).fill(Number.NaN);
  const reasons = new Uint8Array(keys.length);
  Object.values(columns).forEach((value, at) => {
    if (typeof value === 'number') values.fill(value, at * windowStatistics, (at + 1) * windowStatistics);
    else reasons[at] = (absentReasons as readonly string[]).indexOf(value);
  });
  return {
    find: (family, owner, label) =>
      keys.indexOf(
        `${owner} ${family.slice('accelerator.'.length)}${label === undefined ? '' : `{${label}}`}`,
      ),
    window: { values, reasons, slowFrom: keys.length, durationMs: 1000 },
  };
}

const optionsOf = (vendor: string, name: string, more: Partial<AchievedOptions> = {}): AchievedOptions => ({
  slot: 0,
  parentSlot: null,
  peak: findPeak({
    vendor,
    name,
    facts: unknownFacts,
    memoryTotalBytes: null,
    profile: null,
    override: null,
  }),
  maxClockHertz: null,
  busyIsUnits: vendor === 'ascend',
  ...more,
});

function measure(options: AchievedOptions, columns: Readonly<Record<string, number | string>>) {
  const { find, window } = windowOf(columns);
  const achieved = createAchieved(options, find);
  if (achieved === null) return null;
  const band: Band = { nominal: Number.NaN, low: Number.NaN, high: Number.NaN };
  const reason = achieved.measure(window, band);
  const { low, nominal, high } = band;
  return { method: achieved.method, reason, low: low / TERA, nominal: nominal / TERA, high: high / TERA };
}

const H100 = optionsOf('nvidia', 'NVIDIA H100 80GB HBM3');

describe('the achieved rate by the counters of the pipes', () => {
  it('is active share × multiprocessors × rate × clock, whatever clock the peak is quoted at', () => {
    const pipes = {
      '0 pipeActiveRatio{tensor}': 0.8,
      '0 pipeActiveRatio{tensorHmma}': 0.8,
      '0 clockHertz': 1755e6,
    };
    const rate = measure(H100, pipes);
    expect(rate?.method).toBe('gpm');
    // 0.8 × 132 multiprocessors × 4096 FLOP × 1755 MHz; TF32 at half and FP8 at twice of it.
    const bf16 = (0.8 * 132 * 4096 * 1755e6) / TERA;
    expect(rate?.nominal ?? 0).toBeCloseTo(bf16, 0);
    expect((rate?.low ?? 0) / bf16).toBeCloseTo(0.5, 3);
    expect((rate?.high ?? 0) / bf16).toBeCloseTo(2, 3);
  });

  it('adds the vector pipes between half and all of their peak', () => {
    const rate = measure(H100, {
      '0 pipeActiveRatio{tensor}': 0,
      '0 pipeActiveRatio{fp32}': 0.5,
      '0 pipeActiveRatio{fp64}': 0.1,
      '0 pipeActiveRatio{fp16}': 0.2,
      '0 clockHertz': 1980e6,
    });
    const full = 0.5 * 66.9 + 0.1 * 33.5 + 0.2 * 133.8;
    expect([rate?.low, rate?.nominal, rate?.high].map((each) => each ?? 0)).toEqual([
      expect.closeTo(full / 2, 6),
      expect.closeTo(full * 0.75, 6),
      expect.closeTo(full, 6),
    ]);
  });

  it('counts FP64 of the tensor units at its own rate, once, and integer work not at all', () => {
    const rate = measure(H100, {
      '0 pipeActiveRatio{tensor}': 0.9,
      '0 pipeActiveRatio{tensorHmma}': 0,
      '0 pipeActiveRatio{tensorDmma}': 0.5,
      '0 pipeActiveRatio{tensorDfma}': 0.5,
      '0 pipeActiveRatio{tensorImma}': 0.4,
      '0 clockHertz': 1980e6,
    });
    for (const each of [rate?.low, rate?.nominal, rate?.high]) expect(each).toBeCloseTo(0.5 * 66.9, 6);
  });

  it('takes tensor work that no pipe accounts for into the band', () => {
    const rate = measure(H100, {
      '0 pipeActiveRatio{tensor}': 0.6,
      '0 pipeActiveRatio{tensorHmma}': 0.1,
      '0 clockHertz': 1830e6,
    });
    expect(rate?.low).toBeCloseTo(0.1 * 494.7, 0);
    expect(rate?.nominal).toBeCloseTo(0.6 * 989.4, 0);
    expect(rate?.high).toBeCloseTo(0.6 * 1978.9, 0);
  });

  it('uses the figures of a cut part, not those of its architecture', () => {
    const rate = measure(optionsOf('nvidia', 'NVIDIA H20'), {
      '0 pipeActiveRatio{tensor}': 1,
      '0 clockHertz': 1980e6,
    });
    expect(rate?.nominal).toBeCloseTo(148, 6);
  });

  it('clamps shares above one', () => {
    const rate = measure(H100, { '0 pipeActiveRatio{tensor}': 7, '0 clockHertz': 1830e6 });
    expect(rate?.nominal).toBeCloseTo(989.4, 0);
  });

  it('says why it is absent', () => {
    expect(measure(H100, { '0 pipeActiveRatio{tensor}': 'late', '0 clockHertz': 1e9 })?.reason).toBe('late');
    expect(measure(H100, { '0 pipeActiveRatio{tensor}': 0.5, '0 clockHertz': 'lost' })?.reason).toBe('lost');
    expect(measure(H100, { '0 pipeActiveRatio{tensor}': 0.5 })?.reason).toBe('unsupported');
  });

  it('of a partition goes by the clock of its device', () => {
    const peak = findPeak({
      vendor: 'nvidia',
      name: 'NVIDIA H100 80GB HBM3',
      facts: { ...unknownFacts, units: 16 },
      memoryTotalBytes: null,
      profile: '1g.10gb',
      override: null,
    });
    const columns = { '7 pipeActiveRatio{tensor}': 0.5, '0 clockHertz': 1830e6 };
    const rate = measure({ ...H100, slot: 7, parentSlot: 0, peak }, columns);
    expect(rate?.nominal).toBeCloseTo((0.5 * 989.4 * 16) / 132, 1);
  });
});

describe('the achieved rate of AI cores', () => {
  const ascend = optionsOf('ascend', '910B3');

  it('is cube share × cube peak × present over rated clock, the vector part beside it', () => {
    const rate = measure(ascend, {
      '0 engineBusyRatio{cube}': 0.5,
      '0 engineBusyRatio{vector}': 0.2,
      '0 busyRatio': 0.9,
      '0 clockHertz': 1620e6,
    });
    expect(rate?.method).toBe('aicube');
    expect(rate?.nominal).toBeCloseTo((0.5 * 294.9 + 0.2 * 18) * 0.9, 6);
    expect(rate?.low).toBeCloseTo(((0.5 * 294.9) / 4 + 0.1 * 18) * 0.9, 6);
    expect(rate?.high).toBe(rate?.nominal);
  });

  it('goes by the share of the cores where the cube is not told', () => {
    const rate = measure(ascend, { '0 busyRatio': 0.5, '0 clockHertz': 1800e6 });
    expect([rate?.method, rate?.nominal, rate?.high]).toEqual([
      'aicore',
      expect.closeTo(147.45, 6),
      expect.closeTo(156.5, 6),
    ]);
    expect(rate?.low ?? 1).toBeLessThan(5);
  });

  it('takes the rated clock where the present one is not told', () => {
    expect(measure(ascend, { '0 engineBusyRatio{cube}': 1 })?.nominal).toBeCloseTo(294.9, 6);
  });
});

describe('the estimate', () => {
  const a100 = optionsOf('nvidia', 'NVIDIA A100-SXM4-80GB');

  it('is called one, and reaches from nothing to busy × peak × clock', () => {
    const rate = measure(a100, { '0 busyRatio': 0.8, '0 clockHertz': 1410e6 });
    expect(rate).toEqual({
      method: 'estimate',
      reason: 'present',
      low: 0,
      nominal: expect.closeTo(124.8, 6),
      high: expect.closeTo(249.6, 6),
    });
  });

  it('is absent with its reason, and not there at all without a peak', () => {
    expect(measure(a100, { '0 busyRatio': 'denied' })?.reason).toBe('denied');
    expect(measure(a100, {})).toBeNull();
    expect(measure(optionsOf('hygon', 'Z100'), { '0 busyRatio': 1 })).toBeNull();
  });
});

describe('the share of the peak that is available', () => {
  function available(columns: Readonly<Record<string, number | string>>, takesJobs = true) {
    const { find, window } = windowOf(columns);
    const band: Band = { nominal: Number.NaN, low: 0, high: 0 };
    const reason = createAvailable(H100, find)(window, takesJobs, band);
    return reason === 'present' ? band.nominal : reason;
  }

  it('is all of it while nothing holds the clock back, however low it is', () => {
    expect(available({ '0 throttledRatio{powerCap}': 0, '0 clockHertz': 345e6 })).toBe(1);
    expect(available({ '0 clockHertz': 345e6 })).toBe(1);
  });

  it('falls with the clock while it is held back', () => {
    expect(available({ '0 throttledRatio{powerCap}': 1, '0 clockHertz': 915e6 })).toBeCloseTo(0.5);
    expect(
      available({
        '0 throttledRatio{powerCap}': 0,
        '0 throttledRatio{hwThermal}': 0.5,
        '0 clockHertz': 915e6,
      }),
    ).toBeCloseTo(0.75);
    expect(available({ '0 throttledRatio{powerCap}': 1, '0 clockHertz': 1980e6 })).toBe(1);
  });

  it('is nothing where no jobs may come, and absent where it cannot be told', () => {
    expect(available({ '0 throttledRatio{powerCap}': 'late' }, false)).toBe(0);
    expect(available({ '0 throttledRatio{powerCap}': 'late' })).toBe('late');
    expect(available({ '0 throttledRatio{powerCap}': 1, '0 clockHertz': 'error' })).toBe('error');
  });
});
