import { describe, expect, it } from 'vitest';
import { createId, isIdStart } from '../../../src/base/id.ts';

describe('an id', () => {
  it('may be named by its first four letters or more', () => {
    const id = createId('job');
    for (let length = 0; length <= id.length; length += 1)
      expect(isIdStart('job', id.slice(0, length)), id.slice(0, length)).toBe(length >= 'job-7k3m'.length);
  });

  it.each([
    '',
    'job',
    'job-',
    'job-7k3',
    'node-7k3m',
    '7k3m',
    'job-7K3M',
    'job-7k3m*',
    'job-..7k',
    'job-7k3m.1',
  ])('%j names none by its beginning', (text) => expect(isIdStart('job', text)).toBe(false));
});
