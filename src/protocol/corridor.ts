// Corridors: between which places data of which class may cross a border of data, and what that needs. Data, not code:
// the list here holds what a published rule allows, operators add their own (`policy.corridors`), on the scheduler and
// on each node for itself. What no corridor names does not cross.
import { jurisdictionProblem, PLACE_WORD } from './jurisdiction.ts';

/** Classes that corridors exist for: the others need none, or never cross. */
export type CorridorClass = 'personal';

/** One end: a jurisdiction, with everything that it holds or only some of its cities. */
export interface CorridorEnd {
  readonly jurisdiction: string;
  /** Spellings of the cities that count, exactly; null for the whole. */
  readonly cities: readonly string[] | null;
}

export interface Corridor {
  readonly name: string;
  /** Where the rule is written down. */
  readonly source: string;
  readonly classes: readonly CorridorClass[];
  readonly from: readonly CorridorEnd[];
  readonly to: readonly CorridorEnd[];
  readonly bothWays: boolean;
  /** Whether a job must name a filing that has not expired. */
  readonly filing: 'required' | 'none';
}

/** The nine mainland cities of the Greater Bay Area, as operators write them. */
const greaterBayCities: readonly string[] = [
  ...['Guangzhou', '广州', '廣州', '广州市', '廣州市'],
  ...['Shenzhen', '深圳', '深圳市'],
  ...['Zhuhai', '珠海', '珠海市'],
  ...['Foshan', '佛山', '佛山市'],
  ...['Huizhou', '惠州', '惠州市'],
  ...['Dongguan', '东莞', '東莞', '东莞市', '東莞市'],
  ...['Zhongshan', '中山', '中山市'],
  ...['Jiangmen', '江门', '江門', '江门市', '江門市'],
  ...['Zhaoqing', '肇庆', '肇慶', '肇庆市', '肇慶市'],
];

/** What this build knows by itself. */
export const builtInCorridors: readonly Corridor[] = [
  {
    name: 'gba-standard-contract',
    source:
      'standard contract for the cross-boundary flow of personal information within the Greater Bay Area (mainland, Hong Kong), of 2023-12-13; open to all sectors since 2024-11-01; not Macao, not important data',
    classes: ['personal'],
    from: [{ jurisdiction: 'CN-GD', cities: greaterBayCities }],
    to: [{ jurisdiction: 'HK', cities: null }],
    bothWays: true,
    filing: 'required',
  },
];

/** A corridor of the operator's that is not written as one. The message says what is wrong. */
export class CorridorProblem extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CorridorProblem';
  }
}

const NAME = /^[a-z][a-z0-9-]{0,63}$/;
const ENDS_MAX = 64;
export const CORRIDORS_MAX = 64;

/**
 * `DE, FR > CH`, `CN-GD/Shenzhen <> HK; without filing`: ends with commas between them, `>` for one way or `<>` for
 * both. Throws CorridorProblem.
 */
export function parseCorridor(name: string, text: string): Corridor {
  if (!NAME.test(name))
    throw new CorridorProblem(`${JSON.stringify(name.slice(0, 64))} is no name of a corridor`);
  const [ways = '', ...marks] = text.split(';').map((part) => part.trim());
  const [mark = ''] = marks;
  if (marks.length > 1 || (mark !== '' && mark !== 'without filing' && mark !== 'with filing'))
    throw new CorridorProblem(`corridor ${name}: behind ";" may stand "with filing" or "without filing"`);
  const bothWays = ways.includes('<>');
  const sides = ways.split(bothWays ? '<>' : '>');
  if (sides.length !== 2) throw new CorridorProblem(`corridor ${name} has no ">" or "<>" between its ends`);
  return {
    name,
    source: "the operator's configuration (policy.corridors)",
    classes: ['personal'],
    from: parseEnds(name, sides[0] ?? ''),
    to: parseEnds(name, sides[1] ?? ''),
    bothWays,
    filing: mark === 'without filing' ? 'none' : 'required',
  };
}

function parseEnds(name: string, text: string): CorridorEnd[] {
  const ends = text.split(',').map((end) => parseEnd(name, end.trim()));
  if (ends.length > ENDS_MAX) throw new CorridorProblem(`corridor ${name} has more than ${ENDS_MAX} ends`);
  return ends;
}

function parseEnd(name: string, text: string): CorridorEnd {
  const at = text.indexOf('/');
  const jurisdiction = at < 0 ? text : text.slice(0, at);
  const city = at < 0 ? null : text.slice(at + 1);
  if (jurisdictionProblem(jurisdiction) !== null || (city !== null && !PLACE_WORD.test(city)))
    throw new CorridorProblem(
      `corridor ${name}: ${JSON.stringify(text.slice(0, 64))} is no place such as HK, CN-GD or CN-GD/Shenzhen`,
    );
  return { jurisdiction, cities: city === null ? null : [city] };
}

/** As it is read again. */
export function formatCorridor({ from, to, bothWays, filing }: Corridor): string {
  const ends = (list: readonly CorridorEnd[]): string =>
    list
      .flatMap(({ jurisdiction, cities }) => cities?.map((city) => `${jurisdiction}/${city}`) ?? jurisdiction)
      .join(', ');
  return `${ends(from)} ${bothWays ? '<>' : '>'} ${ends(to)}${filing === 'none' ? '; without filing' : ''}`;
}

/** The built-in ones with the operator's in place of those of the same name; null takes one away. */
export function joinCorridors(own: ReadonlyMap<string, Corridor | null>): readonly Corridor[] {
  const all = new Map<string, Corridor | null>(builtInCorridors.map((corridor) => [corridor.name, corridor]));
  for (const [name, corridor] of own) all.set(name, corridor);
  return [...all.values()].filter((corridor) => corridor !== null);
}
