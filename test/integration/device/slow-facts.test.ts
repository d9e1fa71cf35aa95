import { describe, expect, test } from 'vitest';
import { createSlowFacts } from '../../../src/device/slow-facts.ts';

describe('slow facts', () => {
  test('come as words or not at all', async () => {
    const facts = createSlowFacts();
    const [os, model] = await Promise.all([facts.os(), facts.cpuModel()]);
    expect(os).toMatch(/\S+/);
    expect(model).toMatch(/\S+/);
    const host = await facts.virtualHost();
    expect(host === null || host.length > 0).toBe(true);
  });
});
