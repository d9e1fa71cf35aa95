// A37 in its forms, as a table and as properties: what is not allowed is denied, and no restriction ever allows more.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { builtInCorridors, joinCorridors, parseCorridor } from '../../../src/protocol/corridor.ts';
import {
  type Data,
  dataSchema,
  decideKeeping,
  decidePlacement,
  filingEndMs,
  judgePlacement,
} from '../../../src/protocol/data-policy.ts';
import { dataClasses } from '../../../src/protocol/jurisdiction.ts';
import { nowhere, type Place } from '../../../src/protocol/place.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';

const NOW_MS = Date.parse('2026-11-28T12:00:00Z');
const facts = { corridors: builtInCorridors };
const at = (jurisdiction: string | null, city: string | null = null): Place => ({
  ...nowhere,
  jurisdiction,
  city,
});
const data = (fields: Partial<Data>): Data => ({
  class: 'internal',
  origin: 'CN-GD',
  originCity: null,
  allowed: null,
  filing: null,
  egress: 'any',
  ...fields,
});
const filed = { number: 'GBA-2026-17', expiresAt: '2027-03-31' };
const crossing = data({
  class: 'personal',
  originCity: 'Shenzhen',
  allowed: ['CN-GD', 'HK'],
  filing: filed,
});
const code = (given: Data, place: Place, nowMs = NOW_MS): string | null =>
  decidePlacement(given, place, facts, nowMs)?.code ?? null;

describe('where data may be computed', () => {
  it.each<[string, Data, Place, string | null]>([
    ['in its origin', data({}), at('CN-GD'), null],
    ['in a subdivision of its origin', data({ origin: 'CN' }), at('CN-GZ'), null],
    ['not beside its origin', data({}), at('CN-GZ'), 'DATA_PLACE_NOT_ALLOWED'],
    ['not where only the country is known', data({}), at('CN'), 'DATA_PLACE_NOT_ALLOWED'],
    ['where it is allowed', data({ allowed: ['HK', 'CN'] }), at('CN-GZ'), null],
    [
      'not in its origin where that is not in the list',
      data({ allowed: ['HK'] }),
      at('CN-GD'),
      'DATA_PLACE_NOT_ALLOWED',
    ],
    ['internal data may cross to what is allowed', data({ allowed: ['HK'] }), at('HK'), null],
    ['public data as well', data({ class: 'public', allowed: ['SG'] }), at('SG'), null],
    ['personal data inside of the border', data({ class: 'personal', allowed: ['CN'] }), at('CN-NM'), null],
    ['personal data over the border with a filing', crossing, at('HK'), null],
    [
      'personal data back over it',
      { ...crossing, origin: 'HK', originCity: null },
      at('CN-GD', '深圳'),
      null,
    ],
    [
      'not to a city outside of the nine',
      { ...crossing, origin: 'HK' },
      at('CN-GD', 'Shaoguan'),
      'DATA_CORRIDOR_MISSING',
    ],
    ['not to a city that nobody names', { ...crossing, origin: 'HK' }, at('CN-GD'), 'DATA_CORRIDOR_MISSING'],
    [
      'not to a city in other letters',
      { ...crossing, origin: 'HK' },
      at('CN-GD', 'shenzhen'),
      'DATA_CORRIDOR_MISSING',
    ],
    [
      'not from a city outside of the nine',
      { ...crossing, originCity: 'Shaoguan' },
      at('HK'),
      'DATA_CORRIDOR_MISSING',
    ],
    [
      'not from a city that nobody names',
      { ...crossing, originCity: null },
      at('HK'),
      'DATA_CORRIDOR_MISSING',
    ],
    ['not from the whole mainland', { ...crossing, origin: 'CN' }, at('HK'), 'DATA_CORRIDOR_MISSING'],
    ['not to Macao', { ...crossing, allowed: ['MO'] }, at('MO'), 'DATA_CORRIDOR_MISSING'],
    ['not from Macao', { ...crossing, origin: 'MO', allowed: ['HK'] }, at('HK'), 'DATA_CORRIDOR_MISSING'],
    ['not without a filing', { ...crossing, filing: null }, at('HK'), 'DATA_FILING_MISSING'],
    [
      'not with one that has expired',
      { ...crossing, filing: { ...filed, expiresAt: '2026-11-27' } },
      at('HK'),
      'DATA_FILING_EXPIRED',
    ],
    [
      'not with one whose day is none',
      { ...crossing, filing: { ...filed, expiresAt: 'soon' } },
      at('HK'),
      'DATA_FILING_EXPIRED',
    ],
    ['important data in its origin', data({ class: 'important', origin: 'CN' }), at('CN-GD'), null],
    ['important data never elsewhere', { ...crossing, class: 'important' }, at('HK'), 'DATA_IMPORTANT'],
    [
      'not even in the same country',
      data({ class: 'important', allowed: ['CN'] }),
      at('CN-GZ'),
      'DATA_IMPORTANT',
    ],
    ['nowhere without a place', data({}), nowhere, 'DATA_PLACE_MISSING'],
    ['not at a place in small letters', data({}), at('cn-gd'), 'DATA_PLACE_INVALID'],
    ['not at a place with blanks', data({}), at('CN-GD '), 'DATA_PLACE_INVALID'],
    ['not at an empty place', data({}), at(''), 'DATA_PLACE_INVALID'],
    ['Hong Kong is not a part of CN', data({ origin: 'CN' }), at('CN-HK'), 'DATA_PLACE_INVALID'],
    ['nor Macao by its old number', data({ origin: 'CN' }), at('CN-92'), 'DATA_PLACE_INVALID'],
    ['not from an origin that is none', data({ origin: 'constructor' }), at('CN-GD'), 'DATA_PLACE_INVALID'],
    ['not of an unknown class', { ...data({}), class: 'secret' as never }, at('CN-GD'), 'DATA_CLASS_UNKNOWN'],
    [
      'not of a class that objects inherit',
      { ...data({}), class: 'toString' as never },
      at('CN-GD'),
      'DATA_CLASS_UNKNOWN',
    ],
  ])('%s', (_, given, place, expected) => {
    expect(code(given, place)).toBe(expected);
  });

  it('says the field and the remedy', () => {
    expect(decidePlacement({ ...crossing, filing: null }, at('HK'), facts, NOW_MS)?.message).toBe(
      'data.filing: the corridor gba-standard-contract takes personal data from CN-GD (Shenzhen) to HK only with the number of a filing; add it with its expiry',
    );
    expect(judgePlacement(crossing, at('HK'), facts, NOW_MS)).toEqual({
      allowed: true,
      rule: 'personal data from CN-GD (Shenzhen) to HK through the corridor gba-standard-contract, filing GBA-2026-17 to 2027-03-31',
    });
  });

  it('takes a filing to the end of its day in China, and no longer', () => {
    const endMs = Date.parse('2027-03-31T23:59:59.999+08:00');
    expect(filingEndMs('2027-03-31')).toBe(endMs);
    expect(code(crossing, at('HK'), endMs)).toBeNull();
    expect(code(crossing, at('HK'), endMs + 1)).toBe('DATA_FILING_EXPIRED');
    expect(code(crossing, at('HK'), Number.NaN)).toBe('DATA_FILING_EXPIRED');
  });

  it("goes by the operator's corridors beside those that are built in, or in place of them", () => {
    const own = new Map([
      ['scc', parseCorridor('scc', 'DE, FR <> CH; without filing')],
      ['gba-standard-contract', null],
    ]);
    const corridors = joinCorridors(own);
    expect(corridors.map(({ name }) => name)).toEqual(['scc']);
    expect(decidePlacement(crossing, at('HK'), { corridors }, NOW_MS)?.code).toBe('DATA_CORRIDOR_MISSING');
    const swiss = data({ class: 'personal', origin: 'CH', allowed: ['FR'] });
    expect(decidePlacement(swiss, at('FR-75'), { corridors }, NOW_MS)).toBeNull();
    expect(decidePlacement({ ...swiss, class: 'important' }, at('FR-75'), { corridors }, NOW_MS)?.code).toBe(
      'DATA_IMPORTANT',
    );
  });

  it('lets data lie in its origin also where it may not be computed there', () => {
    expect(decideKeeping(data({ allowed: ['HK'] }), at('CN-GD'), facts, NOW_MS)).toBeNull();
    expect(decideKeeping(data({ allowed: ['HK'] }), at('SG'), facts, NOW_MS)?.code).toBe(
      'DATA_PLACE_NOT_ALLOWED',
    );
    expect(decideKeeping(data({}), nowhere, facts, NOW_MS)?.code).toBe('DATA_PLACE_MISSING');
    expect(decideKeeping({ ...data({}), origin: 'CN' }, at('CN-HK'), facts, NOW_MS)?.code).toBe(
      'DATA_PLACE_INVALID',
    );
  });
});

const jurisdiction = fc.constantFrom('CN', 'CN-GD', 'CN-GZ', 'HK', 'MO', 'DE', 'FR', 'CH', 'CN-HK', 'cn');
const city = fc.constantFrom(null, 'Shenzhen', '深圳', 'Shaoguan');
const anyPlace = fc
  .record({ jurisdiction: fc.option(jurisdiction), city })
  .map((one) => ({ ...nowhere, ...one }));
const anyData: fc.Arbitrary<Data> = fc.record({
  class: fc.constantFrom(...dataClasses),
  origin: jurisdiction,
  originCity: city,
  allowed: fc.option(fc.array(jurisdiction, { minLength: 1, maxLength: 4 })),
  filing: fc.option(
    fc.record({ number: fc.constant('17'), expiresAt: fc.constantFrom('2026-01-01', '2027-01-01') }),
  ),
  egress: fc.constantFrom('any', 'none'),
});
const ways = fc.constantFrom(
  'DE <> FR',
  'CN, CN-GD > HK; without filing',
  'CN-GD/Shenzhen <> HK, MO',
  'CH > DE',
);
const anyCorridors = fc
  .array(ways, { maxLength: 3 })
  .map((rules) => [...builtInCorridors, ...rules.map((rule, place) => parseCorridor(`c${place}`, rule))]);

describe('restrictions', () => {
  const isAllowed = (given: Data, place: Place, corridors = builtInCorridors, nowMs = NOW_MS): boolean =>
    decidePlacement(given, place, { corridors }, nowMs) === null;

  it('never allow more: fewer places, no filing, later, a stricter class, fewer corridors', () => {
    fc.assert(
      fc.property(anyData, anyPlace, anyCorridors, fc.nat(), (given, place, corridors, pick) => {
        const stricter = dataClasses[Math.min(dataClasses.length - 1, dataClasses.indexOf(given.class) + 1)];
        const fewer = given.allowed?.filter((_, index) => index !== pick % (given.allowed?.length ?? 1));
        const restricted: Data[] = [
          { ...given, filing: null },
          { ...given, originCity: null },
          { ...given, class: stricter ?? given.class },
          ...(fewer === undefined || fewer.length === 0 ? [] : [{ ...given, allowed: fewer }]),
        ];
        for (const one of restricted)
          if (isAllowed(one, place, corridors)) expect(isAllowed(given, place, corridors)).toBe(true);
        if (isAllowed(given, { ...place, city: null }, corridors))
          expect(isAllowed(given, place, corridors)).toBe(true);
        if (isAllowed(given, place, corridors.slice(1)))
          expect(isAllowed(given, place, corridors)).toBe(true);
        const laterMs = NOW_MS + (pick % 1000) * 86_400_000;
        if (isAllowed(given, place, corridors, laterMs))
          expect(isAllowed(given, place, corridors)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });

  it('hold whatever is generated: no place no data, important stays, a border needs a corridor', () => {
    fc.assert(
      fc.property(anyData, anyPlace, anyCorridors, (given, place, corridors) => {
        if (!isAllowed(given, place, corridors)) return;
        const here = place.jurisdiction ?? '';
        expect(here).toMatch(/^[A-Z]{2}(-[A-Z]{2})?$/);
        expect(here).not.toBe('CN-HK');
        if (given.class === 'important') expect(here.startsWith(given.origin)).toBe(true);
        if (given.class === 'personal' && here.slice(0, 2) !== given.origin.slice(0, 2))
          expect(isAllowed(given, place, [])).toBe(false);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('the field of a specification', () => {
  const spec = (field: unknown, more: object = {}) =>
    jobSpecSchema.safeParse({ version: 1, command: ['true'], data: field, ...more });
  const issue = (field: unknown, more?: object) => spec(field, more).error?.issues[0];
  const least = { class: 'personal', origin: 'CN-GD' };

  it('is left out of the text where nothing is stated', () => {
    expect(JSON.stringify(jobSpecSchema.parse({ version: 1, command: ['true'] }))).not.toContain('"data"');
  });

  it('is closed, and each mistake has its path', () => {
    expect(issue({ ...least, class: 'secret' })?.path).toEqual(['data', 'class']);
    expect(issue({ ...least, clearance: 1 })?.code).toBe('unrecognized_keys');
    expect(issue({ class: 'personal' })?.path).toEqual(['data', 'origin']);
    expect(issue({ ...least, allowed: [] })?.path).toEqual(['data', 'allowed']);
    expect(issue({ ...least, allowed: ['HK', 'CN-HK'] })).toMatchObject({
      path: ['data', 'allowed', 1],
      message: 'is a jurisdiction of its own for data; write HK',
    });
    expect(issue({ ...least, filing: { number: '1', expiresAt: '2026-02-30' } })?.message).toContain(
      'must be a day',
    );
    expect(issue({ ...least, filing: { number: 'a\nb', expiresAt: '2026-02-03' } })?.path).toEqual([
      'data',
      'filing',
      'number',
    ]);
    expect(
      dataSchema.parse({ ...least, filing: { number: '1', expiresAt: '2026-02-03T00:00:00+08:00' } }).egress,
    ).toBe('any');
  });

  it('names both fields where a job without egress asks for a network', () => {
    expect(issue({ ...least, egress: 'none' })).toMatchObject({
      path: ['network'],
      message: 'must be none where data.egress is none',
    });
    expect(spec({ ...least, egress: 'none' }, { network: 'none' }).success).toBe(true);
  });
});
