import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { isOptional, parseTolerant } from '../../../src/protocol/tolerant.ts';
import { chooseVersion, describeVersions } from '../../../src/protocol/version.ts';

const schema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('a'),
    list: z.array(z.strictObject({ n: z.number() })).default([]),
    spec: z.strictObject({ cpus: z.number() }).optional(),
  }),
  z.strictObject({
    type: z.literal('b'),
    either: z.union([z.literal('x'), z.strictObject({ y: z.number() })]),
  }),
]);

describe('a value of a newer peer', () => {
  test('is taken without the fields that are unknown, at any depth, and they are told', () => {
    const value = { type: 'a', more: 1, list: [{ n: 1 }, { n: 2, unit: 'm' }] };
    const parsed = parseTolerant(schema, value);
    expect(parsed).toEqual({
      success: true,
      data: { type: 'a', list: [{ n: 1 }, { n: 2 }] },
      ignored: ['list.1.unit', 'more'],
    });
    // The caller's value is as it was.
    expect(value).toEqual({ type: 'a', more: 1, list: [{ n: 1 }, { n: 2, unit: 'm' }] });
  });

  test('is refused for what is wrong, also when something is unknown beside it', () => {
    expect(parseTolerant(schema, { type: 'a', more: 1, list: [{ n: 'one' }] })).toMatchObject({
      success: false,
      issue: { path: ['list', 0, 'n'] },
    });
    expect(parseTolerant(schema, { type: 'c' }).success).toBe(false);
    expect(parseTolerant(schema, null).success).toBe(false);
  });

  test('is refused when it says that a field must be understood', () => {
    expect(parseTolerant(schema, { type: 'a', secret: 1, critical: ['secret'] })).toMatchObject({
      success: false,
      issue: { code: 'critical_key' },
    });
    expect(
      parseTolerant(schema, { type: 'a', list: [{ n: 1, unit: 'm', critical: ['unit'] }] }).success,
    ).toBe(false);
    // Named and known, or named and absent: nothing is missing here.
    expect(parseTolerant(schema, { type: 'a', critical: ['list', 'absent'] }).success).toBe(true);
  });

  test('is refused for names that every object has, and below fields that must fit whole', () => {
    for (const name of ['constructor', 'prototype', 'toString'])
      expect(parseTolerant(schema, { type: 'a', [name]: 1 }).success).toBe(false);
    expect(parseTolerant(schema, JSON.parse('{"type":"a","__proto__":{"x":1}}')).success).toBe(false);
    expect(parseTolerant(schema, { type: 'a', spec: { cpus: 1, gpus: 1 } }, ['spec'])).toMatchObject({
      success: false,
      issue: { path: ['spec'] },
    });
    expect(parseTolerant(schema, { type: 'a', spec: { cpus: 1, gpus: 1 } }).success).toBe(true);
  });

  test('of any shape is an answer, never an exception', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const known = { type: 'a', extra: value, list: [{ n: 1, extra: value }] };
        expect(parseTolerant(schema, known).success).toBe(true);
        parseTolerant(schema, value);
        isOptional(value);
      }),
    );
  });
});

describe('versions', () => {
  test('are the highest that both speak, or none', () => {
    expect(chooseVersion({ min: 1, max: 1 }, { min: 1, max: 3 })).toBe(1);
    expect(chooseVersion({ min: 1, max: 4 }, { min: 2, max: 3 })).toBe(3);
    expect(chooseVersion({ min: 3, max: 4 }, { min: 1, max: 2 })).toBeNull();
    expect(chooseVersion({ min: 1, max: 2 }, { min: 5, max: 4 })).toBeNull();
    expect([describeVersions({ min: 1, max: 1 }), describeVersions({ min: 1, max: 3 })]).toEqual([
      'version 1',
      'versions 1 to 3',
    ]);
  });
});
