// What a job's data is and where it may be, as flags.
import type { Command } from 'commander';
import { parseChoice, ValueProblem } from '../config/value.ts';
import { dataClasses, jurisdictionProblem, PLACE_WORD } from '../protocol/jurisdiction.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import { readGivenFlag, usageFault } from './usage.ts';

type DataInput = NonNullable<JobSpecInput['data']>;

export interface DataFlags {
  readonly dataClass?: string;
  readonly dataOrigin?: string;
  readonly dataAllowed?: string;
  readonly dataFiling?: string;
  readonly dataEgress?: string;
}

export function addDataOptions(command: Command): Command {
  return command
    .option(
      '--data-class <CLASS>',
      `what its data is: ${dataClasses.join(', ')}; then it runs only where that may be`,
    )
    .option('--data-origin <PLACE>', 'where the data comes from: HK, CN-GD, or with its city CN-GD/Shenzhen')
    .option('--data-allowed <PLACES>', 'where it may be computed: CN-GD,HK (default: only in its origin)')
    .option(
      '--data-filing <NUMBER:DATE>',
      'number and expiry of a filing for crossing a border: 2026-0417:2027-03-31',
    )
    .option('--data-egress <EGRESS>', 'any, or none: the job has no network (default any)');
}

/** Field of the specification by its flag, for refusals. */
export const dataFlags: Readonly<Record<string, string>> = {
  data: '--data-class',
  'data.class': '--data-class',
  'data.origin': '--data-origin',
  'data.originCity': '--data-origin',
  'data.allowed': '--data-allowed',
  'data.filing': '--data-filing',
  'data.egress': '--data-egress',
};

/** What the flags say, and the network that goes with it. Throws usage faults that name the flag. */
export function readDataFlags(flags: DataFlags): Pick<JobSpecInput, 'data' | 'network'> {
  const dataClass = readGivenFlag('--data-class', flags.dataClass, (text) =>
    parseChoice(text, dataClasses, 'a class of data'),
  );
  const origin = readGivenFlag('--data-origin', flags.dataOrigin, parseOrigin);
  const allowed = readGivenFlag('--data-allowed', flags.dataAllowed, (text) =>
    text.split(',').map((part) => parseJurisdiction(part.trim())),
  );
  const filing = readGivenFlag('--data-filing', flags.dataFiling, parseFiling);
  const egress = readGivenFlag('--data-egress', flags.dataEgress, (text) =>
    parseChoice(text, ['any', 'none'] as const, 'an egress'),
  );
  const given = [dataClass, origin, allowed, filing, egress].some((one) => one !== undefined);
  if (!given) return {};
  if (dataClass === undefined)
    throw usageFault(
      '--data-class: it is not said what the data is',
      `write one of ${dataClasses.join(', ')}`,
    );
  if (origin === undefined)
    throw usageFault(
      '--data-origin: it is not said where the data comes from',
      'write for example HK or CN-GD',
    );
  return {
    data: {
      class: dataClass,
      ...origin,
      ...(allowed === undefined ? {} : { allowed }),
      ...(filing === undefined ? {} : { filing }),
      ...(egress === undefined ? {} : { egress }),
    },
    // One says what the other means; who asks for the network of the host as well is told so.
    ...(egress === 'none' ? { network: 'none' } : {}),
  };
}

function parseJurisdiction(text: string): string {
  if (jurisdictionProblem(text) === null) return text;
  throw new ValueProblem(
    'not a jurisdiction',
    'write ISO 3166 codes in capitals, for example CN, CN-GD or HK',
  );
}

function parseOrigin(text: string): Pick<DataInput, 'origin' | 'originCity'> {
  const at = text.indexOf('/');
  if (at < 0) return { origin: parseJurisdiction(text) };
  const originCity = text.slice(at + 1);
  if (!PLACE_WORD.test(originCity)) throw new ValueProblem('not a place', 'write for example CN-GD/Shenzhen');
  return { origin: parseJurisdiction(text.slice(0, at)), originCity };
}

function parseFiling(text: string): NonNullable<DataInput['filing']> {
  const at = text.search(/:\d{4}-\d{2}-\d{2}(T|$)/);
  if (at < 1) throw new ValueProblem('not NUMBER:DATE', 'write for example 2026-0417:2027-03-31');
  return { number: text.slice(0, at), expiresAt: text.slice(at + 1) };
}
