import { describe, expect, test } from 'vitest';
import { isLoopbackName, plainHost } from '../../../src/base/loopback.ts';

describe('a name of this machine alone', () => {
  test.each(['localhost', 'LOCALHOST', '127.0.0.1', '127.9.8.7', '::1', '[::1]'])('%s is one', (name) => {
    expect(isLoopbackName(name)).toBe(true);
  });
  test.each([
    '',
    'localhost.example',
    '127.0.0.1.example',
    '128.0.0.1',
    '0.0.0.0',
    '::',
    '10.1.2.3',
    'node.localhost',
  ])('"%s" is none', (name) => {
    expect(isLoopbackName(name)).toBe(false);
  });
  test('is compared without brackets, in lower case', () => {
    expect(plainHost('[FE80::1]')).toBe('fe80::1');
  });
});
