import { describe, expect, test } from 'vitest';
import { createJobEnergy } from '../../../src/agent/energy.ts';
import { createEnergyMeter } from '../../../src/device/energy.ts';
import { absentReasons, type Column, type Window } from '../../../src/protocol/columns.ts';
import { createHandClock, windowOf } from '../link/parts.ts';

const columns: readonly Column[] = [
  { family: 'power.energyJoulesTotal', owner: 'host', label: 'rapl:package-0' },
];

function bench() {
  const clock = createHandClock();
  const energy = createJobEnergy(4, clock, () => createEnergyMeter(null));
  let joules = 1000;
  return {
    clock,
    energy,
    /** One second of the host at this power, and its window; null for a counter that cannot be read. */
    async second(watts: number | null): Promise<void> {
      await clock.advance(1000);
      joules += watts ?? 0;
      const window: Window = windowOf(1, 1, columns);
      window.values.fill(Number.NaN);
      if (watts === null) window.reasons[0] = absentReasons.indexOf('denied');
      else window.values[3] = joules;
      energy.window(window);
    },
  };
}

function joules(answer: ReturnType<ReturnType<typeof createJobEnergy>['settle']>): number {
  return 'joules' in answer ? answer.joules : Number.NaN;
}

describe('energy of jobs', () => {
  test('is the share of the granted CPUs, and shares and idle add up to the host', async () => {
    const { energy, second } = bench();
    await second(100);
    await second(100);
    energy.granted('job-1', 1, 1);
    energy.granted('job-2', 1, 2);
    energy.started('job-1', 1);
    energy.started('job-2', 1);
    await second(100);
    await second(200);
    expect(joules(energy.settle('job-1', 1))).toBeCloseTo(75);
    expect(joules(energy.settle('job-2', 1))).toBeCloseTo(150);
  });

  test('counts from the start to the end, within windows too', async () => {
    const { clock, energy, second } = bench();
    await second(100);
    await second(100);
    await clock.advance(400);
    energy.granted('job-1', 1, 4);
    energy.started('job-1', 1);
    await clock.advance(100);
    expect(joules(energy.settle('job-1', 1))).toBeCloseTo(10);
    expect(energy.settle('job-1', 1)).toEqual({ absent: expect.any(String) });
  });

  test('of a job that began before the first window is counted from its start', async () => {
    const { energy, second } = bench();
    energy.granted('job-1', 1, 4);
    energy.started('job-1', 1);
    await second(50);
    await second(50);
    expect(joules(energy.settle('job-1', 1))).toBeCloseTo(100);
  });

  test('is unknown without a power source, with a gap in it, and for jobs of an earlier agent', async () => {
    const { clock, energy, second } = bench();
    energy.granted('job-1', 1, 1);
    energy.started('job-1', 1);
    energy.window(windowOf(1));
    await clock.advance(1000);
    energy.window(windowOf(2));
    expect(energy.settle('job-1', 1)).toEqual({ absent: expect.stringMatching(/^no power source: /) });
    await second(100);
    await second(100);
    energy.granted('job-2', 1, 1);
    energy.started('job-2', 1);
    await second(null);
    await second(100);
    await second(100);
    expect(energy.settle('job-2', 1)).toEqual({ absent: expect.any(String) });
    energy.started('job-old', 1);
    await second(100);
    expect(energy.settle('job-old', 1)).toEqual({ absent: 'the agent was restarted while the job ran' });
    energy.granted('job-never', 1, 1);
    expect(energy.settle('job-never', 1)).toEqual({ absent: 'the job never ran' });
  });
});
