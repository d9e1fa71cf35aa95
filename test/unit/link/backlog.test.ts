import { describe, expect, test } from 'vitest';
import { createBacklog } from '../../../src/link/backlog.ts';
import { windowOf } from './parts.ts';

describe('backlog', () => {
  test('drops the oldest windows first and counts them', () => {
    const backlog = createBacklog(3);
    for (let sequence = 1; sequence <= 5; sequence += 1) backlog.push(windowOf(sequence));
    expect(backlog.dropped()).toBe(2);
    expect([
      backlog.shift()?.sequence,
      backlog.shift()?.sequence,
      backlog.shift()?.sequence,
      backlog.shift(),
    ]).toEqual([3, 4, 5, null]);
  });

  test('is bounded in bytes too, but keeps at least the latest window', () => {
    const backlog = createBacklog(100, 150);
    for (let sequence = 1; sequence <= 5; sequence += 1) backlog.push(windowOf(sequence));
    expect(backlog.size()).toBe(2);
    const tiny = createBacklog(100, 1);
    tiny.push(windowOf(1));
    tiny.push(windowOf(2));
    expect(tiny.shift()?.sequence).toBe(2);
  });

  test('keeps the numbers of a window whose memory the sampler uses again', () => {
    const backlog = createBacklog();
    const window = windowOf(9);
    backlog.push(window);
    window.values.fill(-1);
    window.reasons.fill(3);
    const kept = backlog.shift();
    expect(kept?.values[7]).toBe(9 * 1024);
    expect(kept?.reasons[0]).toBe(0);
    expect(kept?.columns).toBe(window.columns);
  });
});
