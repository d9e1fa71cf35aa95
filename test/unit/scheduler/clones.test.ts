import { describe, expect, test } from 'vitest';
import { decideRun, describeClone, type SeenRun } from '../../../src/scheduler/clones.ts';

const seen: SeenRun = { generation: 5, instance: 'instance-a', bootId: 'boot-1' };
const hello = (change: object = {}) => ({
  generation: 5,
  instance: 'instance-a' as string | null,
  bootId: 'boot-1',
  ...change,
});

describe('a run of an agent', () => {
  test.each([
    ['same', {}],
    ['same', { bootId: 'boot-2' }],
    ['later', { generation: 6, instance: 'instance-b' }],
    ['later', { generation: 6, instance: 'instance-b', bootId: 'boot-2' }],
    ['twin', { instance: 'instance-b' }],
    ['twin', { instance: 'instance-b', bootId: 'boot-2' }],
    ['behind', { generation: 4 }],
    ['behind', { generation: 4, instance: 'instance-b', bootId: 'boot-2' }],
  ])('is %s with %j', (run, change) => {
    expect(decideRun(seen, hello(change))).toBe(run);
  });

  test('of version 1 is told from its twin by its boot alone', () => {
    const old: SeenRun = { ...seen, instance: null };
    expect(decideRun(old, hello({ instance: null }))).toBe('same');
    expect(decideRun(old, hello({ instance: null, bootId: 'boot-2' }))).toBe('twin');
    // The record was written by a scheduler that did not know of runs.
    expect(decideRun(old, hello())).toBe('same');
  });

  test('is the first where nobody was seen', () => {
    const nobody: SeenRun = { generation: 0, instance: null, bootId: null };
    expect(decideRun(nobody, hello({ generation: 1 }))).toBe('later');
  });

  test('that is refused is told what was seen', () => {
    expect(describeClone('behind', seen, 3)).toContain('number 3 after number 5');
    expect(describeClone('twin', seen, 5)).toContain('two agents with its key were started as number 5');
    expect(describeClone('later', seen, 6)).toContain('while the first still answers');
  });
});
