// What `flopd logs` says of a flag that it cannot read.
import { expect, test } from 'vitest';
import { parseSince, parseTail } from '../../../src/cli/logs.ts';
import { createHandClock } from '../link/parts.ts';

test('a tail is lines, or bytes where it has a unit, and what is neither is told of both', () => {
  expect(parseTail('7')).toEqual({ lines: 7 });
  expect(parseTail('4KiB')).toEqual({ bytes: 4096 });
  expect(() => parseTail('x')).toThrow('"x" is not a number of lines');
});

test('a time that is no time is told of stamps as well as of durations', () => {
  const clock = createHandClock();
  expect(() => parseSince('yesterday', { clock })).toThrow('"yesterday" is not a time');
  expect(() => parseSince('1q', { clock })).toThrow('not a duration');
});
