// What rocm-smi prints, and hy-smi after it: one JSON object per card, the same as lines (`GPU[0]  : key: value`), or the
// concise table. Names of keys differ from version to version; each number has a list of them, newest first. All forms
// are text from outside: a key or column that is not known is left, and a table whose lines do not fit its heading is
// refused.
import type { Measured, ToolReading } from '../accelerator.ts';
import { tokensOf } from '../box-table.ts';
import { emptyReading, layoutFault, refuseFlood } from '../reading.ts';
import {
  busIdOf,
  countOf,
  MEBIBYTE,
  MEGAHERTZ,
  measure,
  measureCelsius,
  measurePercent,
  wordsOf,
} from '../tool-text.ts';
import { distinctIds } from '../vendor-grant.ts';

const MAX_LINES = 5000;

export function parseRocmSmi(tool: string, text: string): ToolReading[] {
  refuseFlood(tool, text);
  if (text.trimStart().startsWith('{')) return parseJson(tool, text);
  return fieldLine.test(text) ? parseLines(tool, text) : parseConcise(tool, text);
}

const fieldLine = /^(?:GPU|DCU|HCU)\[\d{1,6}\][ \t]*:/m;

/** What the options print without `--json`: keys are those of the JSON, or nearly. */
function parseLines(tool: string, text: string): ToolReading[] {
  const lines = text.split('\n');
  if (lines.length > MAX_LINES * 10 || lines.some((line) => line.length > 2000))
    throw layoutFault(tool, text, 'too long');
  const titles = lines.filter((line) => /=\s*(?:ROCm )?System Management Interface\s*=/.test(line));
  const ends = lines.filter((line) => /= ?End of .*SMI Log ?=/.test(line));
  if (titles.length !== 1 || ends.length !== 1) throw layoutFault(tool, text, 'not one whole output');
  const cards = new Map<number, Record<string, string>>();
  for (const line of lines) {
    const match = /^(?:GPU|DCU|HCU)\[(\d{1,6})\][ \t]*:[ \t]*([^:]{1,80}):[ \t]*(.*)$/.exec(line);
    const [, number, key = '', value = ''] = match ?? [];
    if (number === undefined) continue;
    const card = cards.get(Number(number)) ?? {};
    cards.set(Number(number), card);
    // Lists have levels for keys, and some keys come again in them: what came first stands.
    if (!Object.hasOwn(card, key)) card[key] = value.trim();
  }
  if (cards.size === 0) throw layoutFault(tool, text, 'no card');
  const driver = wordsOf(/^Driver version:[ \t]*(\S{1,64})/m.exec(text)?.[1], 64);
  return readingsOf(
    [...cards].map(([index, card]) => ({ index, card })),
    driver,
  );
}

type Card = Readonly<Record<string, unknown>>;

function parseJson(tool: string, text: string): ToolReading[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw layoutFault(tool, text, 'not whole JSON');
  }
  const document = new Map(Object.entries(parsed as Record<string, unknown>));
  const cards = [...document].flatMap(([key, value]) => {
    const index = countOf(/^card(\d+)$/.exec(key)?.[1]);
    return index !== null && isObject(value) ? [{ index, card: value }] : [];
  });
  if (cards.length === 0) throw layoutFault(tool, text, 'no card');
  // Two cards in one text of the same number: JSON keeps the last, the text tells.
  if (cards.some(({ index }) => text.split(`"card${index}"`).length > 2))
    throw layoutFault(tool, text, 'a card stands there twice');
  const system = document.get('system');
  const driver = isObject(system) ? wordsOf(stringOf(system['Driver version']), 64) : null;
  return readingsOf(cards, driver);
}

function readingsOf(
  cards: readonly { readonly index: number; readonly card: Card }[],
  driver: string | null,
): ToolReading[] {
  const ids = distinctIds(
    cards.map(({ card }) => [uniqueIdOf(card), serialOf(card), busIdOf(first(card, busKeys))]),
  );
  return cards.map(({ index, card }, at) => readingOf(index, ids[at] ?? `card${index}`, card, driver));
}

function isObject(value: unknown): value is Card {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Text or number of a field; a number is as it was printed. */
function stringOf(value: unknown): string | null {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : null;
}

/** The first of these keys that holds anything, and if none does, what the first that is there holds. */
function first(card: Card, keys: readonly string[]): string | null {
  const held = keys.flatMap((key) => (Object.hasOwn(card, key) ? (stringOf(card[key]) ?? '') : []));
  return held.find((each) => wordsOf(each) !== null) ?? held[0] ?? null;
}

const busKeys = ['PCI Bus', 'PCI Bus ID'];
const nameKeys = ['Card Series', 'Card series', 'Device Name', 'Card Model', 'Card model'];

/** Eight bytes that no other card has, e.g. `0x5c88007d760374f3`. */
function uniqueIdOf(card: Card): string | null {
  const id = first(card, ['Unique ID'])?.trim() ?? '';
  const digits = /^(?:0x)?([0-9a-f]{6,16})$/i.exec(id)?.[1];
  return digits === undefined || /^0+$/.test(digits) ? null : `GPU-${digits.toLowerCase()}`;
}

function serialOf(card: Card): string | null {
  const serial = wordsOf(first(card, ['Serial Number']));
  return serial === '0' ? null : serial;
}

function readingOf(index: number, id: string, card: Card, driverVersion: string | null): ToolReading {
  const get = (...keys: string[]): string | null => first(card, keys);
  const numa = countOf(get('(Topology) Numa Node') ?? undefined);
  const names = nameKeys.map((key) => wordsOf(get(key)));
  const memory = (what: string): Measured => {
    const bytes = measure(get(`VRAM Total ${what}(B)`, `vram Total ${what}(B)`));
    return bytes !== 'unsupported'
      ? bytes
      : measure(get(`VRAM Total ${what}(MiB)`, `vram Total ${what}(MiB)`), { factor: MEBIBYTE });
  };
  const clock = (name: string): Measured => {
    const text = get(`${name} clock speed:`, `${name} clock speed`, `${name} clock level`);
    return measure(/^(?:\S{1,8} )?\((.*)\)$/.exec(text?.trim() ?? '')?.[1] ?? text, {
      unit: /mhz/i,
      factor: MEGAHERTZ,
    });
  };
  const temperature = (...sensors: string[]): Measured =>
    measureCelsius(get(...sensors.map((sensor) => `Temperature (Sensor ${sensor}) (C)`)));
  return {
    ...emptyReading(index, id, {
      values: {
        busyRatio: measurePercent(get('GPU use (%)', 'DCU use (%)', 'HCU use (%)')),
        memoryBusyRatio: measurePercent(get('GPU Memory Read/Write Activity (%)', 'GPU memory use (%)')),
        memoryTotalBytes: memory('Memory '),
        memoryUsedBytes: memory('Used Memory '),
        powerWatts: measure(
          get('Current Socket Graphics Package Power (W)', 'Average Graphics Package Power (W)'),
        ),
        powerLimitWatts: measure(get('Max Graphics Package Power (W)')),
        temperatureCelsius: temperature('edge', 'junction'),
        memoryTemperatureCelsius: temperature('memory', 'mem'),
        clockHertz: clock('sclk'),
        memoryClockHertz: clock('mclk'),
        fanRatio: measurePercent(get('Fan speed (%)')),
        pcieReplaysTotal: measure(get('PCIe Replay Count')),
      },
    }),
    // Old versions print the vendor's number where a name should stand.
    name: names.find((name) => name !== null && !/^0x[0-9a-f]+$/i.test(name)) ?? null,
    busId: busIdOf(get(...busKeys)),
    serial: serialOf(card),
    driverVersion,
    firmwareVersion: wordsOf(get('VBIOS version'), 64),
    numaNode: numa,
  };
}

const columnNumbers = {
  temperature: ['Temp'],
  power: ['AvgPwr', 'Power'],
  limit: ['PwrCap'],
  busy: ['GPU%', 'DCU%', 'HCU%'],
} as const;

/** The table without options: no memory in bytes, no bus id; a name in versions 6.0 to 6.2, on a line of its own. */
function parseConcise(tool: string, text: string): ToolReading[] {
  const lines = text.split('\n');
  if (lines.length > MAX_LINES || lines.some((line) => line.length > 2000))
    throw layoutFault(tool, text, 'too long');
  const start = lines.findIndex((line) => /^\s*(?:GPU|DCU|HCU|Device)\s+(?=.*\bTemp\b)/.test(line));
  const end = lines.findIndex(
    (line, at) => at > start && /=End of .*SMI Log=|= End of .*SMI Log =/.test(line),
  );
  // `Temp (DieEdge)` is one heading.
  const titles = tokensOf(lines[start] ?? '').filter((title) => !/^\(.*\)$/.test(title));
  const hasAll = Object.values(columnNumbers).every((names) => names.some((name) => titles.includes(name)));
  if (start === -1 || end === -1 || !hasAll) throw layoutFault(tool, text);
  if (lines.slice(end + 1).some((line) => tokensOf(line).length >= titles.length))
    throw layoutFault(tool, text, 'more than one table');
  const readings: ToolReading[] = [];
  const isNamed = /^\s+Name \(/.test(lines[start + 1] ?? '');
  for (const line of lines.slice(start + 1, end)) {
    const last = readings.at(-1);
    if (isNamed && last?.name === null && /^\s{4,40}[A-Z]/.test(line))
      readings[readings.length - 1] = { ...last, name: wordsOf(line) };
    // Frames, blanks, warnings, and the second line of a heading.
    if (!/^\s*\d/.test(line)) continue;
    const cells = tokensOf(line);
    const index = countOf(cells[0]);
    if (index === null || cells.length !== titles.length)
      throw layoutFault(tool, text, 'a line of the table');
    if (readings.some((other) => other.index === index))
      throw layoutFault(tool, text, `card ${index} stands there twice`);
    const cell = (...names: readonly string[]): string | null =>
      cells[titles.findIndex((each) => names.includes(each))] ?? null;
    readings.push(
      emptyReading(index, `card${index}`, {
        values: {
          busyRatio: measurePercent(cell(...columnNumbers.busy), /%/),
          powerWatts: measure(cell(...columnNumbers.power), { unit: /W/ }),
          powerLimitWatts: measure(cell(...columnNumbers.limit), { unit: /W/ }),
          temperatureCelsius: measureCelsius(cell(...columnNumbers.temperature)),
          clockHertz: measure(cell('SCLK'), { unit: /mhz/i, factor: MEGAHERTZ }),
          memoryClockHertz: measure(cell('MCLK'), { unit: /mhz/i, factor: MEGAHERTZ }),
          fanRatio: measurePercent(cell('Fan'), /%/),
        },
      }),
    );
  }
  if (readings.length === 0) throw layoutFault(tool, text, 'no card');
  return readings;
}
