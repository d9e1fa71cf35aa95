// The table of `npu-smi info`: two lines a chip, then the processes. Which columns there are is read from the heading,
// so that a new one between known ones moves nothing; a heading without the known ones is refused.
//
//   | NPU   Name      | Health     | Power(W)  Temp(C)          Hugepages-Usage(page) |
//   | Chip  [Device]  | Bus-Id     | AICore(%) Memory-Usage(MB) [HBM-Usage(MB)]       |
//
// Tools of the 950 (25.7 on) have a column more, no numbers of chips, as a card is one, and tell how busy the NPU is
// as a whole:
//
//   | NPU ID | Name   | Health     | Power(W)    Temp(C)        Hugepages-Usage(page) |
//   |        |        | Bus-Id     | NPU Util(%) Memory-Usage(MB) HBM-Usage(MB)       |
import { type BoxLine, readBoxLines, tokensOf } from '../box-table.ts';
import { layoutFault } from '../reading.ts';
import { busIdOf, countOf, wordsOf } from '../tool-text.ts';

export interface ChipRow {
  readonly npu: number;
  readonly chip: number;
  readonly name: string | null;
  readonly health: string;
  readonly busId: string | null;
  /** Number under `Device` or `Phy-ID`. */
  readonly device: { readonly heading: 'Device' | 'Phy-ID'; readonly number: number } | null;
  /** Cells by heading, e.g. `Power(W)`; `Memory-Usage(MB)` holds `used/total`. */
  readonly cells: ReadonlyMap<string, string>;
}

export interface ProcessRow {
  readonly npu: number;
  readonly chip: number;
  readonly pid: number;
  readonly name: string | null;
  readonly memory: string;
}

export interface ChipTable {
  readonly driverVersion: string | null;
  readonly chips: readonly ChipRow[];
  /** The tool numbers the chips of a card, and takes such a number for an option. */
  readonly hasChipNumbers: boolean;
  /** Null where the table has no part about processes. */
  readonly processes: readonly ProcessRow[] | null;
}

type Cells = readonly string[] | undefined;

interface Heading {
  readonly first: readonly string[];
  readonly second: readonly string[];
  /** Words of the second line's first cell: `Chip`, or `Chip` and `Device` or `Phy-ID`. */
  readonly places: readonly string[];
}

export function parseChipTable(tool: string, text: string): ChipTable {
  const refuse = (detail: string) => layoutFault(tool, text, detail);
  const lines = readBoxLines(tool, text).filter(({ isFrame }) => !isFrame);
  const [title, one, two, ...rows] = lines;
  const version = /^npu-smi\s+\S+\s+Version:\s*(\S+)$/.exec(title?.cells[0] ?? '');
  const isWide = one?.cells.length === 4;
  const narrow = (line: BoxLine | undefined, first: number | string): readonly string[] | undefined =>
    isWide ? narrowed(line, `${first}`) : line?.cells;
  const heading = readHeading(narrow(one, ''), narrow(two, 'Chip'));
  if (version === null || title?.cells.length !== 1 || heading === null) throw refuse('its heading');

  const at = rows.findIndex(({ cells }) => (isWide ? /^NPU ID$/ : /^NPU\s+Chip$/).test(cells[0] ?? ''));
  const chipLines = at === -1 ? rows : rows.slice(0, at);
  const chips: ChipRow[] = [];
  for (let line = 0; line < chipLines.length; line += 2) {
    const chip = readChip(heading, narrow(chipLines[line], ''), narrow(chipLines[line + 1], 0));
    if (chip === null) throw refuse(`chip ${chips.length + 1} of the table`);
    if (chips.some((other) => other.npu === chip.npu && other.chip === chip.chip))
      throw refuse(`NPU ${chip.npu} chip ${chip.chip} stands there twice`);
    if (chip.busId !== null && chips.some(({ busId }) => busId === chip.busId))
      throw refuse(`${chip.busId} stands there twice`);
    chips.push(chip);
  }
  return {
    driverVersion: wordsOf(version[1], 64),
    chips,
    hasChipNumbers: !isWide,
    processes:
      at === -1 ? null : rows.slice(at).flatMap((row, index) => readProcess(row, index, isWide, refuse)),
  };
}

/** A line of the wide table as one of the others: the first two cells in one, or `first` where both are empty. */
function narrowed(line: BoxLine | undefined, first: string): readonly string[] | undefined {
  const [npu = '', name = '', ...others] = line?.cells ?? [];
  if (others.length !== 2) return undefined;
  const place = npu === '' && name === '' ? first : `${npu.replace(/^NPU ID$/, 'NPU')} ${name}`;
  return [place, ...others.map((cell) => cell.replace('NPU Util(%)', 'NPU-Util(%)'))];
}

function readHeading(one: Cells, two: Cells): Heading | null {
  if (one?.length !== 3 || two?.length !== 3) return null;
  const [name = '', health, firstCells = ''] = one;
  const [chip = '', bus, secondCells = ''] = two;
  const first = tokensOf(firstCells);
  const second = tokensOf(secondCells);
  const places = tokensOf(chip);
  const isKnown =
    /^NPU\s+Name$/.test(name) &&
    health === 'Health' &&
    bus === 'Bus-Id' &&
    ['Chip', 'Chip Device', 'Chip Phy-ID'].includes(places.join(' ')) &&
    first.includes('Power(W)') &&
    first.includes('Temp(C)') &&
    ['AICore(%)', 'NPU-Util(%)'].some((title) => second.includes(title)) &&
    second.includes('Memory-Usage(MB)') &&
    // A column about the memory that computes, in other words, would leave the wrong memory standing for it.
    second.every((title) => !title.includes('HBM') || title === 'HBM-Usage(MB)') &&
    new Set([...first, ...second]).size === first.length + second.length;
  return isKnown ? { first, second, places } : null;
}

function readChip(heading: Heading, one: Cells, two: Cells): ChipRow | null {
  if (one?.length !== 3 || two?.length !== 3) return null;
  const [who = '', health = '', firstCells = ''] = one;
  const [where = '', bus = '', secondCells = ''] = two;
  const identity = /^(\d{1,9})(?:\s+(.*))?$/.exec(who);
  const places = tokensOf(where).map(countOf);
  const [chip = null, number = null] = places;
  const first = tokensOf(firstCells);
  const second = tokensOf(secondCells);
  if (
    identity === null ||
    chip === null ||
    places.length !== heading.places.length ||
    !/^[A-Za-z]{2,20}$/.test(health) ||
    first.length !== heading.first.length ||
    second.length !== heading.second.length
  )
    return null;
  const label = heading.places[1];
  const pairs = [
    ...heading.first.map((title, at) => [title, first[at] ?? ''] as const),
    ...heading.second.map((title, at) => [title, second[at] ?? ''] as const),
  ];
  return {
    npu: Number(identity[1]),
    chip,
    name: wordsOf(identity[2]),
    health,
    busId: busIdOf(bus),
    device: number !== null && (label === 'Device' || label === 'Phy-ID') ? { heading: label, number } : null,
    cells: new Map(pairs),
  };
}

function readProcess(
  { cells }: BoxLine,
  index: number,
  isWide: boolean,
  refuse: (detail: string) => Error,
): ProcessRow[] {
  const [where = '', pidCell, ...others] = cells;
  if (index === 0) {
    const isKnown = pidCell === 'Process id' && others.join('|') === 'Process name|Process memory(MB)';
    if (!isKnown) throw refuse('the heading of its processes');
    return [];
  }
  if (cells.length === 1 && /^No running processes? found/.test(where)) return [];
  const [npu = null, chip = null] = tokensOf(isWide ? `${where} 0` : where).map(countOf);
  const pid = countOf(pidCell);
  const memory = others.at(-1);
  if (npu === null || chip === null || pid === null || memory === undefined || others.length < 2)
    throw refuse('a process of the table');
  return [{ npu, chip, pid, name: wordsOf(others.slice(0, -1).join('|'), 256), memory }];
}
