// What a job says about its data, and the one decision that follows: may data of this class and origin be computed at
// this place now? Pure; the scheduler asks before it places a job, the node asks again before it starts one, each with
// the place of the node's signed credential and with corridors of its own configuration. What is not allowed is denied.
//
//   place unknown, or not written as one            no data at all
//   public, internal                                where `allowed` says
//   personal                                        the same; over a border of data only through a corridor
//   important                                       the same, and nowhere outside of its origin, whatever the filing
//
// `allowed` is where it may be computed; null: only in the origin. A jurisdiction holds its subdivisions (`CN` holds
// `CN-GD`); it is never held by them: a node that only says `CN` is not in `CN-GD`. The border of data is that of the
// first two letters: the mainland (`CN`), Hong Kong (`HK`) and Macao (`MO`) are three. Letters count as they stand.
import * as z from 'zod';
import type { Corridor, CorridorClass, CorridorEnd } from './corridor.ts';
import { borderOf, dataClasses, isInside, jurisdictionProblem } from './jurisdiction.ts';
import { jurisdictionSchema, type Place, placeSchema } from './place.ts';

/** What the number of a filing looks like differs by place; it is shown in tables and logs as it stands. */
const filingNumber = z
  .string()
  .regex(/^[\p{L}\p{N}][\p{L}\p{N} .:/_()-]{0,63}$/u, 'must be letters, digits, spaces and . : / _ ( ) -');

const filingSchema = z.strictObject({
  number: filingNumber,
  /** A day (`2027-03-31`: to its end in UTC+8) or a moment with its offset. */
  expiresAt: z.union([z.iso.date(), z.iso.datetime({ offset: true })], {
    error: 'must be a day such as 2027-03-31, or a moment with its offset',
  }),
});

export const dataSchema = z.strictObject({
  /**
   * public: anybody may have it · internal: its owner's business, no people in it · personal: about people · important:
   * declared so by a regulator; never crosses a border.
   */
  class: z.enum(dataClasses),
  /** Where it comes from, or where those it is about are. */
  origin: jurisdictionSchema,
  /** City of the origin, for corridors that name cities. */
  originCity: placeSchema.shape.city,
  /** Where it may be computed; null: only in the origin. */
  allowed: z.array(jurisdictionSchema).min(1).max(32).nullable().default(null),
  /** Of a contract or an assessment for crossing a border. */
  filing: filingSchema.nullable().default(null),
  /** none: nothing leaves the job but through flopd: no network. */
  egress: z.enum(['any', 'none']).default('any'),
});
export type Data = z.output<typeof dataSchema>;

export interface PolicyFacts {
  readonly corridors: readonly Corridor[];
}

/** Why data may not be there. Codes: DATA_PLACE_MISSING, DATA_PLACE_INVALID, DATA_PLACE_NOT_ALLOWED, DATA_IMPORTANT,
 * DATA_CORRIDOR_MISSING, DATA_FILING_MISSING, DATA_FILING_EXPIRED, DATA_CLASS_UNKNOWN. */
export interface DataRefusal {
  readonly code: string;
  /** One sentence with the field and the remedy. */
  readonly message: string;
}

export type Judgement =
  | { readonly allowed: true /** A clause. */; readonly rule: string }
  | { readonly allowed: false; readonly refusal: DataRefusal };

/** Corridors that a refusal names. */
const NAMES_SHOWN = 8;
/** How a day without an hour is read: the end of the day in China and Hong Kong. */
const DAY_OFFSET = 'T23:59:59.999+08:00';

/** Null allows it. */
export function decidePlacement(
  data: Data,
  place: Place,
  facts: PolicyFacts,
  nowMs: number,
): DataRefusal | null {
  const judgement = judgePlacement(data, place, facts, nowMs);
  return judgement.allowed ? null : judgement.refusal;
}

/** The same, with the rule that allowed it. */
export function judgePlacement(data: Data, place: Place, facts: PolicyFacts, nowMs: number): Judgement {
  const { jurisdiction } = place;
  if (jurisdiction === null)
    return deny(
      'DATA_PLACE_MISSING',
      `this place has no jurisdiction, and ${describeData(data)} is computed only where one is known; enrol the node with a token that has one ("flopd scheduler token create --jurisdiction …")`,
    );
  const unfit = jurisdictionProblem(jurisdiction);
  if (unfit !== null)
    return deny('DATA_PLACE_INVALID', `its jurisdiction ${JSON.stringify(clip(jurisdiction))} ${unfit}`);
  // A word in `allowed` that is none holds no place; only the origin is measured by.
  const unfitOrigin = jurisdictionProblem(data.origin);
  if (unfitOrigin !== null)
    return deny('DATA_PLACE_INVALID', `data.origin: ${JSON.stringify(clip(data.origin))} ${unfitOrigin}`);
  const allowed = data.allowed ?? [data.origin];
  if (!allowed.some((outer) => isInside(jurisdiction, outer)))
    return deny(
      'DATA_PLACE_NOT_ALLOWED',
      `data.allowed lets ${describeData(data)} be computed in ${list(allowed.slice(0, NAMES_SHOWN))}, not in ${jurisdiction}${data.allowed === null ? '; name other places there if the data may go to them' : ''}`,
    );
  const within = `${data.class} data of ${data.origin} in ${jurisdiction}`;
  switch (data.class) {
    case 'public':
    case 'internal':
      return allow(`${within}: named by data.${data.allowed === null ? 'origin' : 'allowed'}`);
    case 'important':
      return isInside(jurisdiction, data.origin)
        ? allow(`${within}: inside of its origin`)
        : deny(
            'DATA_IMPORTANT',
            `data.class: important data never leaves its origin ${data.origin}, whatever its filing; ${jurisdiction} is outside`,
          );
    case 'personal':
      return borderOf(jurisdiction) === borderOf(data.origin)
        ? allow(`${within}: crosses no border of data`)
        : judgeCrossing(data, data.class, place, jurisdiction, facts, nowMs);
    default:
      return deny(
        'DATA_CLASS_UNKNOWN',
        `data.class: this build knows no class ${JSON.stringify(data.class)}`,
      );
  }
}

function judgeCrossing(
  data: Data,
  dataClass: CorridorClass,
  place: Place,
  jurisdiction: string,
  { corridors }: PolicyFacts,
  nowMs: number,
): Judgement {
  const leading = corridors.filter(
    (corridor) =>
      corridor.classes.includes(dataClass) &&
      connects(
        corridor,
        { jurisdiction: data.origin, city: data.originCity },
        { jurisdiction, city: place.city },
      ),
  );
  const crossing = `from ${describePlace(data.origin, data.originCity)} to ${describePlace(jurisdiction, place.city)}`;
  if (leading.length === 0)
    return deny(
      'DATA_CORRIDOR_MISSING',
      `no corridor takes ${dataClass} data ${crossing}; those known are ${list(corridors.slice(0, NAMES_SHOWN).map(({ name }) => name)) || 'none'}, an operator may add one (policy.corridors)${data.originCity === null ? '; some need data.originCity' : ''}`,
    );
  const open = leading.find(({ filing }) => filing === 'none');
  if (open !== undefined) return allow(`${dataClass} data ${crossing} through the corridor ${open.name}`);
  const [corridor] = leading;
  const name = corridor?.name ?? '';
  const { filing } = data;
  if (filing === null)
    return deny(
      'DATA_FILING_MISSING',
      `data.filing: the corridor ${name} takes ${dataClass} data ${crossing} only with the number of a filing; add it with its expiry`,
    );
  const endMs = filingEndMs(filing.expiresAt);
  if (endMs === null || !(nowMs <= endMs))
    return deny(
      'DATA_FILING_EXPIRED',
      `data.filing: ${filing.number} expired on ${clip(filing.expiresAt)}, and the corridor ${name} needs one that is good now; submit the job again with a new one`,
    );
  return allow(
    `${dataClass} data ${crossing} through the corridor ${name}, filing ${filing.number} to ${filing.expiresAt}`,
  );
}

interface Spot {
  readonly jurisdiction: string;
  readonly city: string | null;
}

function connects({ from, to, bothWays }: Corridor, origin: Spot, target: Spot): boolean {
  const leads = (a: readonly CorridorEnd[], b: readonly CorridorEnd[]): boolean =>
    a.some((end) => isAt(origin, end)) && b.some((end) => isAt(target, end));
  return leads(from, to) || (bothWays && leads(to, from));
}

function isAt({ jurisdiction, city }: Spot, end: CorridorEnd): boolean {
  if (!isInside(jurisdiction, end.jurisdiction)) return false;
  return end.cities === null || (city !== null && end.cities.includes(city));
}

/** Last moment at which a filing is good, ms since 1970; null for what is no day. */
export function filingEndMs(expiresAt: string): number | null {
  const endMs = Date.parse(/^\d{4}-\d{2}-\d{2}$/.test(expiresAt) ? `${expiresAt}${DAY_OFFSET}` : expiresAt);
  return Number.isFinite(endMs) ? endMs : null;
}

/**
 * May a place keep what a job reads and writes? The same rule as for computing, except that data may always lie where
 * it comes from.
 */
export function decideKeeping(
  data: Data,
  place: Place,
  facts: PolicyFacts,
  nowMs: number,
): DataRefusal | null {
  const { jurisdiction } = place;
  const isHome =
    jurisdiction !== null &&
    jurisdictionProblem(jurisdiction) === null &&
    jurisdictionProblem(data.origin) === null &&
    isInside(jurisdiction, data.origin);
  return isHome ? null : decidePlacement(data, place, facts, nowMs);
}

function describePlace(jurisdiction: string, city: string | null): string {
  return city === null ? jurisdiction : `${jurisdiction} (${city})`;
}

/** `personal data of CN-GD`. */
export function describeData({ class: dataClass, origin }: Data): string {
  return `${dataClass} data of ${origin}`;
}

const allow = (rule: string): Judgement => ({ allowed: true, rule });
const deny = (code: string, message: string): Judgement => ({ allowed: false, refusal: { code, message } });
const list = (words: readonly string[]): string => words.join(', ');
const clip = (text: string): string => text.slice(0, 64);
