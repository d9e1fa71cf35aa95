import { describe, expect, it } from 'vitest';
import { doorOf } from '../../../../src/job/executor/nest.ts';

describe('the doors of a nest', () => {
  it('an attempt always has the same door, so that a later agent finds its shim there too', () => {
    expect(doorOf('job-k17yr6dx0x.1')).toBe(doorOf('job-k17yr6dx0x.1'));
  });

  it('attempts spread over eight doors about evenly', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 8000; i++) {
      const door = doorOf(`job-${(i * 7_654_321).toString(36)}.1`);
      counts.set(door, (counts.get(door) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual([
      'announce',
      ...[1, 2, 3, 4, 5, 6, 7].map((n) => `announce.${n}`),
    ]);
    for (const count of counts.values()) expect(count).toBeGreaterThan(500);
  });
});
