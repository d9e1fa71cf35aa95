import { describe, expect, it } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import {
  ATTEMPT_RETRY_SECONDS,
  ATTEMPTS_PER_MINUTE,
  createAttempts,
} from '../../../../src/scheduler/access/attempts.ts';

function bed() {
  let nowMs = 0;
  const attempts = createAttempts({ ...createClock(), monotonicMs: () => nowMs });
  return {
    pass: (seconds: number) => (nowMs += seconds * 1000),
    failed: attempts.failed,
    /** Failures that are let through of so many. */
    passing: (address: string, times: number) =>
      Array.from({ length: times }, () => attempts.failed(address)).filter(Boolean).length,
  };
}

describe('failed attempts', () => {
  it('are so many a minute, and come back one by one', () => {
    const { pass, passing } = bed();
    expect(passing('10.0.0.1', 100)).toBe(ATTEMPTS_PER_MINUTE);
    pass(ATTEMPT_RETRY_SECONDS);
    expect(passing('10.0.0.1', 5)).toBe(1);
    pass(60);
    expect(passing('10.0.0.1', 100)).toBe(ATTEMPTS_PER_MINUTE);
  });

  it('of one address are not those of another; a host of IPv6 has its whole network', () => {
    const { passing } = bed();
    expect(passing('10.0.0.1', 100)).toBe(ATTEMPTS_PER_MINUTE);
    expect(passing('::ffff:10.0.0.1', 1)).toBe(0);
    expect(passing('10.0.0.2', 1)).toBe(1);
    expect(passing('2001:db8::1', 100)).toBe(ATTEMPTS_PER_MINUTE);
    expect(passing('2001:db8:0:0:ffff::2', 1)).toBe(0);
    expect(passing('2001:db8:0:1::2', 1)).toBe(1);
    expect(passing('fe80::1%eth0', 1)).toBe(1);
  });

  it('of strangers without end take no memory without end', () => {
    const { passing, failed } = bed();
    expect(passing('10.0.0.1', 100)).toBe(ATTEMPTS_PER_MINUTE);
    for (let host = 0; host < 10_000; host += 1) failed(`10.${host >> 8}.${host & 255}.9`);
    // Forgotten: the oldest went first.
    expect(failed('10.0.0.1')).toBe(true);
  });
});
