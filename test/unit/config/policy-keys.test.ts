import { describe, expect, it } from 'vitest';
import { placeKeys } from '../../../src/config/place-keys.ts';
import { policyKeys } from '../../../src/config/policy-keys.ts';
import { ValueProblem } from '../../../src/config/value.ts';

const context = { folder: '/', environment: {} };
const corridors = (value: unknown) => policyKeys['policy.corridors'].parse(value, context);
const classes = (value: unknown) => policyKeys['policy.classes'].parse(value, context);

describe('corridors of the operator', () => {
  it('are read from a line and from a section alike, and written as one line', () => {
    const line = 'scc=DE, FR <> CH | gba-standard-contract=none | own=CN-GD/Shenzhen > SG; without filing';
    const read = corridors(line);
    expect(read).toEqual(
      corridors({
        scc: 'DE, FR <> CH',
        'gba-standard-contract': 'none',
        own: 'CN-GD/Shenzhen > SG; without filing',
      }),
    );
    expect(policyKeys['policy.corridors'].format(read)).toBe(line);
    expect(corridors('')).toEqual(new Map());
  });

  it.each([
    'DE > CH',
    'a=DE',
    'a=DE > CH | a=DE > FR',
    '__proto__=DE > CH',
    5,
    ['a'],
    { a: 5 },
    { a: { from: 'DE' } },
  ])('refuse %j', (value) => {
    expect(() => corridors(value)).toThrow(ValueProblem);
  });
});

describe('classes that a node takes', () => {
  it('are the ones that harm nobody unless the operator says more', () => {
    expect(policyKeys['policy.classes'].fallback({})).toEqual(['public', 'internal']);
    expect(classes('personal, public')).toEqual(['public', 'personal']);
    expect(classes('none')).toEqual([]);
    for (const wrong of ['', 'Public', 'public,public', 'public,secret', 'none,public', 5])
      expect(() => classes(wrong)).toThrow(ValueProblem);
  });
});

describe('the place of the scheduler', () => {
  it('is a jurisdiction in capitals, and words', () => {
    expect(placeKeys['place.jurisdiction'].parse('CN-GD', context)).toBe('CN-GD');
    for (const wrong of ['cn-gd', 'CN-HK', 'China', '', 5])
      expect(() => placeKeys['place.jurisdiction'].parse(wrong, context)).toThrow(ValueProblem);
    expect(placeKeys['place.city'].parse('深圳', context)).toBe('深圳');
    expect(() => placeKeys['place.city'].parse('a\nb', context)).toThrow(ValueProblem);
  });
});
