// The keys of where the scheduler stands: with it go the output and the files of jobs that it keeps, and the nodes that
// are enrolled on its own machine.
import { jurisdictionProblem, PLACE_WORD } from '../protocol/jurisdiction.ts';
import type { ConfigKey } from './keys.ts';
import { parseText, ValueProblem } from './value.ts';

type PlaceWord = 'hub' | 'cluster' | 'city';

const orNothing = (value: string | null): string => value ?? '';

function parseJurisdiction(value: unknown): string {
  if (typeof value === 'string' && jurisdictionProblem(value) === null) return value;
  throw new ValueProblem(
    'not a jurisdiction',
    'write ISO 3166 codes in capitals, for example CN, CN-GD or HK; Hong Kong and Macao are HK and MO',
  );
}

function word(name: PlaceWord, help: string, example: string): ConfigKey<string | null> {
  return {
    flag: `--place-${name}`,
    argument: 'NAME',
    variable: `FLOPD_PLACE_${name.toUpperCase()}`,
    help,
    defaultText: 'none',
    example,
    fallback: () => null,
    parse(value) {
      const text = parseText(value, `a ${name}`, 64);
      if (PLACE_WORD.test(text)) return text;
      throw new ValueProblem(`not a ${name}`, 'write letters, digits, spaces, ".", "_" or "-"');
    },
    format: orNothing,
  };
}

const jurisdiction: ConfigKey<string | null> = {
  flag: '--place-jurisdiction',
  argument: 'CODE',
  variable: 'FLOPD_PLACE_JURISDICTION',
  help: 'jurisdiction that the scheduler stands in, for the output and files of jobs with data of a class: CN-GD, HK',
  defaultText: 'none: jobs that state what their data is are refused',
  example: 'CN-GD',
  fallback: () => null,
  parse: parseJurisdiction,
  format: orNothing,
};

export const placeKeys = {
  'place.jurisdiction': jurisdiction,
  'place.hub': word('hub', 'hub that the scheduler stands in', 'Greater Bay Area'),
  'place.cluster': word('cluster', 'cluster of that hub', 'Shaoguan'),
  'place.city': word(
    'city',
    'city that the scheduler stands in; corridors of data may name cities',
    'Shenzhen',
  ),
};
