// Tables that tools draw with bars and dashes. Every line between two bars must be whole: a table that was cut, or that
// has a line nobody knows, is refused by the vendor's parser rather than read in part.
import type { ToolReading } from './accelerator.ts';
import { layoutFault, refuseFlood } from './reading.ts';

/** Longest text that is looked at line by line. */
const MAX_LINES = 50_000;
/** No tool draws wider; patterns are only tried on lines up to here. */
const MAX_WIDTH = 2000;

export interface BoxLine {
  /** Cells between the bars, trimmed; empty for a frame. */
  readonly cells: readonly string[];
  readonly isFrame: boolean;
}

/** Lines of the tables in `text`, in order; whatever stands around the tables is left out. */
export function readBoxLines(tool: string, text: string): BoxLine[] {
  refuseFlood(tool, text);
  const lines: BoxLine[] = [];
  const all = text.split('\n');
  if (all.length > MAX_LINES) throw layoutFault(tool, text, 'too many lines');
  for (const raw of all) {
    if (raw.length > MAX_WIDTH) throw layoutFault(tool, text, 'a line is too long');
    const line = raw.trim();
    if (/^[|+][-=+|]{8,}$/.test(line)) {
      lines.push({ isFrame: true, cells: [] });
    } else if (line.startsWith('|')) {
      if (!line.endsWith('|') || line.length < 2) throw layoutFault(tool, text, 'a line is cut');
      const inside = line.slice(1, -1);
      const isFrame = /^[-=+|]+$/.test(inside);
      lines.push({ isFrame, cells: isFrame ? [] : inside.split('|').map((cell) => cell.trim()) });
    } else if (/^[+-][-=+]{8,}/.test(line) || /^\+[^|]*-{8,}\+$/.test(line)) {
      lines.push({ isFrame: true, cells: [] });
    }
  }
  if (lines.length > 0 && lines.at(-1)?.isFrame !== true)
    throw layoutFault(tool, text, 'the table has no end');
  return lines;
}

/** Columns of a line or cell: parted by blanks, with `0 / 32768`, `W/ 250`, `1, 2` and the like kept together. */
export function tokensOf(cell: string): string[] {
  return cell
    .replace(/\s*\/\s*/g, '/')
    .replace(/,\s+/g, ',')
    .trim()
    .split(/\s+/)
    .filter((token) => token !== '');
}

/** The two sides of `57W / 350W`, of `N/A / N/A` too; null for anything else. */
export function pairOf(cell: string | undefined): readonly [string, string] | null {
  const sides = (cell ?? '').replace(/\bN\/A\b/gi, 'NA').split('/');
  const [one, two] = sides;
  return sides.length === 2 && one !== undefined && two !== undefined ? [one.trim(), two.trim()] : null;
}

type Cells = readonly string[] | undefined;

/** Devices of a table that gives each of them two lines; `what` is its word for one. A device twice is refused. */
export function readPairs(
  rows: readonly (readonly string[])[],
  what: string,
  read: (one: Cells, two: Cells) => ToolReading | null,
  refuse: (detail: string) => Error,
): ToolReading[] {
  const readings: ToolReading[] = [];
  for (let line = 0; line < rows.length; line += 2) {
    const reading = read(rows[line], rows[line + 1]);
    if (reading === null) throw refuse(`${what} ${readings.length + 1} of the table`);
    if (readings.some(({ index }) => index === reading.index))
      throw refuse(`${what} ${reading.index} stands there twice`);
    readings.push(reading);
  }
  return readings;
}
