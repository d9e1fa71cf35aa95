// What npu-smi prints in columns without bars, and the parts that a chip is divided into.
import { readBoxLines, tokensOf } from '../box-table.ts';
import { layoutFault } from '../reading.ts';
import { countOf, wordsOf } from '../tool-text.ts';

/** Where a chip stands: the numbers that it has for the tool, for CANN and for the kernel. */
export interface ChipPlace {
  readonly npu: number;
  readonly chip: number;
  readonly logicId: number;
  /** Number of the device node; null where this version does not print it. */
  readonly physicalId: number | null;
  readonly name: string | null;
}

const MAX_LINES = 5000;

function linesOf(tool: string, text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim());
  if (lines.length > MAX_LINES || lines.some((line) => line.length > 5000))
    throw layoutFault(tool, text, 'too long');
  return lines;
}

/** `info -m`. Board controllers, whose logic id is `-`, are left out. */
export function parseChipMap(tool: string, text: string): ChipPlace[] {
  const lines = linesOf(tool, text).filter((line) => line !== '');
  const start = lines.findIndex((line) => line.startsWith('NPU ID'));
  const titles: string[] =
    (lines[start] ?? '').match(/NPU ID|Slot ID|Chip ID|Chip Logic ID|Chip Phy-ID|Chip Name/g) ?? [];
  const isWhole = titles.join('').replaceAll(' ', '') === (lines[start] ?? '').replace(/\s/g, '');
  if (!isWhole || !titles.includes('Chip Name') || !titles.includes('NPU ID') || !titles.includes('Chip ID'))
    throw layoutFault(tool, text, 'its heading');
  const places: ChipPlace[] = [];
  for (const line of lines.slice(start + 1)) {
    const cells = line.split(/\s+/);
    const name = cells.slice(titles.length - 1).join(' ');
    const cell = (title: string): string | undefined => {
      const at = titles.indexOf(title);
      return at === -1 ? undefined : cells[at];
    };
    const [npu, chip] = [countOf(cell('NPU ID')), countOf(cell('Chip ID'))];
    if (npu === null || chip === null || name === '') throw layoutFault(tool, text, 'a line of the map');
    const physicalId = countOf(cell('Chip Phy-ID'));
    // The newest generation prints physical numbers alone.
    const logicCell = titles.includes('Chip Logic ID') ? cell('Chip Logic ID') : cell('Chip Phy-ID');
    if (logicCell === '-') continue;
    const logicId = countOf(logicCell);
    if (logicId === null) throw layoutFault(tool, text, 'a line of the map');
    if (places.some((other) => other.logicId === logicId || (other.npu === npu && other.chip === chip)))
      throw layoutFault(tool, text, 'a chip stands there twice');
    places.push({ npu, chip, logicId, physicalId, name: wordsOf(name) });
  }
  return places;
}

/** How the chips are linked, by the numbers of the table. */
export interface Topology {
  readonly links: readonly { readonly from: number; readonly to: number; readonly kind: string }[];
  readonly affinity: ReadonlyMap<number, string>;
}

/** `info -t topo`. The heading of some versions lacks the empty first cell. */
export function parseTopology(tool: string, text: string): Topology {
  const lines = linesOf(tool, text);
  const start = lines.findIndex((line) => line.includes('CPU Affinity'));
  const numbers = (lines[start] ?? '')
    .replace('CPU Affinity', '')
    .trim()
    .split(/\s+/)
    .map((title) => countOf(/^(?:NPU|Phy-ID)(\d+)$/.exec(title)?.[1]));
  if (numbers.includes(null) || new Set(numbers).size !== numbers.length)
    throw layoutFault(tool, text, 'its heading');
  const links: { from: number; to: number; kind: string }[] = [];
  const affinity = new Map<number, string>();
  for (const line of lines.slice(start + 1)) {
    if (line === '' || /^Legend/.test(line)) break;
    const [who = '', ...cells] = line.split(/\s+/);
    const from = countOf(/^(?:NPU|Phy-ID)(\d+)$/.exec(who)?.[1]);
    if (from === null || !numbers.includes(from) || affinity.has(from) || cells.length !== numbers.length + 1)
      throw layoutFault(tool, text, 'a line of the matrix');
    for (const [at, to] of numbers.entries()) {
      const kind = cells[at] ?? '';
      if (!/^[A-Z][A-Z0-9_-]{0,15}$/.test(kind) || (kind === 'X') !== (from === to))
        throw layoutFault(tool, text, 'a cell of the matrix');
      if (to !== null && from !== to) links.push({ from, to, kind });
    }
    affinity.set(from, cells.at(-1) ?? '');
  }
  if (affinity.size !== numbers.length) throw layoutFault(tool, text, 'the matrix has no end');
  return { links, affinity };
}

/** A part of a chip: its number is also that of its node, `/dev/vdavinci100`. */
export interface Vnpu {
  readonly number: number;
  readonly template: string;
  /** AI cores, from the template's name. */
  readonly cores: number | null;
  readonly memoryGibibytes: number | null;
}

/** `info -t info-vnpu`. */
export function parseVnpus(tool: string, text: string): Vnpu[] {
  const lines = readBoxLines(tool, text).filter(({ isFrame }) => !isFrame);
  const total = lines.map(({ cells }) => /^Total number of vnpu:\s*(\d{1,4})$/.exec(cells[0] ?? '')?.[1]);
  const announced = countOf(total.find((each) => each !== undefined));
  const start = lines.findIndex(({ cells }) => /^Vnpu ID$/i.test(cells[0] ?? ''));
  const titles = lines[start]?.cells ?? [];
  const at = titles.findIndex((title) => /^Template Name$/i.test(title));
  if (announced === null || start === -1 || at === -1) throw layoutFault(tool, text, 'its heading');
  const vnpus = lines.slice(start + 1).map(({ cells }): Vnpu => {
    const number = countOf(cells[0]);
    const template = wordsOf(tokensOf(cells[at] ?? '')[0], 64);
    if (number === null || template === null || cells.length !== titles.length)
      throw layoutFault(tool, text, 'a line of the parts');
    const [, cores, gibibytes] =
      /^vir(\d{1,2})(?:_\dc)?(?:_(\d{1,3})g)?(?:_[a-z]{1,8})?$/.exec(template) ?? [];
    return { number, template, cores: countOf(cores), memoryGibibytes: countOf(gibibytes) };
  });
  if (vnpus.length !== announced || new Set(vnpus.map(({ number }) => number)).size !== announced)
    throw layoutFault(tool, text, `${announced} parts announced, ${vnpus.length} listed`);
  return vnpus;
}
