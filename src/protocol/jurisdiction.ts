// Jurisdictions and names of places as texts; without schemas, so that whoever only reads words stays light.

/** ISO 3166-1 alpha-2, or with a subdivision ISO 3166-2, in capitals. */
export const JURISDICTION = /^[A-Z]{2}(-[A-Z0-9]{1,3})?$/;
/** Name of a hub, a cluster or a city. */
export const PLACE_WORD = /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u;

/** Classes of data: see data-policy.ts. */
export const dataClasses = ['public', 'internal', 'personal', 'important'] as const;
export type DataClass = (typeof dataClasses)[number];

/** Subdivisions of `CN` in ISO 3166-2 that are jurisdictions of their own here, today's codes and those before 2017. */
const ownJurisdictions: Readonly<Record<string, string>> = {
  'CN-HK': 'HK',
  'CN-91': 'HK',
  'CN-MO': 'MO',
  'CN-92': 'MO',
  'CN-TW': 'TW',
  'CN-71': 'TW',
};

/** What is wrong with it as a place of data, a clause with the remedy; null for one that can be judged by. */
export function jurisdictionProblem(text: string): string | null {
  if (!JURISDICTION.test(text)) return 'is no jurisdiction; write one in capitals, such as CN, CN-GD or HK';
  const own = Object.hasOwn(ownJurisdictions, text) ? ownJurisdictions[text] : undefined;
  return own === undefined ? null : `is a jurisdiction of its own for data; write ${own}`;
}

/** Whether `inner` is `outer` or one of its subdivisions. */
export function isInside(inner: string, outer: string): boolean {
  return inner === outer || inner.startsWith(`${outer}-`);
}

/** What a border of data runs around: the first two letters. The mainland, Hong Kong and Macao are three. */
export function borderOf(jurisdiction: string): string {
  return jurisdiction.slice(0, 2);
}
