// Many accelerators in few lines, for `flopd top`: a full table where it fits, else several devices a line, else one
// character each. What is wrong is named in every form.
import { fleetTotals, type ListedDevice } from '../protocol/device-totals.ts';
import { healthColour, healthWord, modelName, renderDevices, totalsLines } from './device-table.ts';
import type { TableStyle } from './table.ts';
import { ABSENT, clip, escapeText, padEnd, padStart } from './text.ts';

const CELL_WIDTH = 26;
const BAR_CELLS = 5;
const STEPS = '·▁▂▃▄▅▆▇█';
const DEFAULT_WIDTH = 100;

/** Lines of the section, at most `rows` where that is possible at all; `rows` null is any number. */
export function renderDeviceSection(
  views: readonly ListedDevice[],
  style: TableStyle,
  rows: number | null,
  nowMs: number,
): string[] {
  const table = renderDevices(views, style, { heldBy: null, nowMs });
  if (rows === null || table.length <= rows) return table;
  const totals = totalsLines(
    fleetTotals(views.map((view) => ({ view, held: false, reachable: true }))),
    style.width,
    false,
  );
  // The table alone, then each shorter form; what is wrong and the totals follow as far as there is room.
  const [header = '', ...lines] = table.slice(0, table.indexOf('') === -1 ? undefined : table.indexOf(''));
  const rest = table.slice(lines.length + 1);
  const forms = [[header, ...lines], grid(views, style), strip(views, style)];
  const form = forms.find((each) => each.length + totals.length <= rows) ?? forms.at(-1) ?? [];
  return [...form, ...(form.length + rest.length <= rows ? rest : totals)];
}

/** A head per model, then `12 ███·· 91% 650W 70°` in as many columns as fit. */
function grid(views: readonly ListedDevice[], style: TableStyle): string[] {
  const width = style.width ?? DEFAULT_WIDTH;
  const perLine = Math.max(1, Math.floor((width + 2) / (CELL_WIDTH + 2)));
  return byModel(views).flatMap((group) => {
    const lines = [headOf(group, style)];
    for (let at = 0; at < group.length; at += perLine)
      lines.push(
        group
          .slice(at, at + perLine)
          .map((view) => gridCell(view, style.colour))
          .join('  ')
          .trimEnd(),
      );
    return lines;
  });
}

function gridCell(view: ListedDevice, colour: boolean): string {
  const index = padStart(String(view.index), 3);
  if (view.health === 'failed' || view.cordon !== null)
    return paint(padEnd(clip(`${index} ${healthWord(view)}`, CELL_WIDTH), CELL_WIDTH), view, colour);
  const ratio = view.busyRatio;
  const filled = Math.round(Math.min(1, Math.max(0, ratio ?? 0)) * BAR_CELLS);
  const bar = ratio === null ? ' '.repeat(BAR_CELLS) : '█'.repeat(filled) + '·'.repeat(BAR_CELLS - filled);
  const percent = padStart(ratio === null ? ABSENT : `${(ratio * 100).toFixed(0)}%`, 4);
  const watts = padStart(view.powerWatts === null ? ABSENT : `${view.powerWatts.toFixed(0)}W`, 5);
  const heat = padStart(
    view.temperatureCelsius === null ? ABSENT : `${view.temperatureCelsius.toFixed(0)}°`,
    4,
  );
  return paint(padEnd(`${index} ${bar} ${percent} ${watts} ${heat}`, CELL_WIDTH), view, colour);
}

/** One character a device: how busy it is, `x` failed, `c` cordoned, `?` unknown. */
function strip(views: readonly ListedDevice[], style: TableStyle): string[] {
  const width = style.width ?? DEFAULT_WIDTH;
  return byModel(views).flatMap((group) => {
    const lines = [headOf(group, style)];
    for (let at = 0; at < group.length; at += width)
      lines.push(
        group
          .slice(at, at + width)
          .map((view) => paint(stripCell(view), view, style.colour))
          .join(''),
      );
    return lines;
  });
}

function stripCell(view: ListedDevice): string {
  if (view.health === 'failed') return 'x';
  if (view.cordon !== null) return 'c';
  if (view.busyRatio === null) return '?';
  return STEPS[Math.round(Math.min(1, Math.max(0, view.busyRatio)) * 8)] ?? '?';
}

function headOf(group: readonly ListedDevice[], style: TableStyle): string {
  const [first] = group;
  if (first === undefined) return '';
  const mark = group.some(({ simulated }) => simulated) ? ' (simulated)' : '';
  const line = `${first.vendor} ${modelName(first)} × ${group.length}${mark}`;
  return style.width === null ? escapeText(line) : clip(escapeText(line), style.width);
}

function byModel(views: readonly ListedDevice[]): ListedDevice[][] {
  const groups = new Map<string, ListedDevice[]>();
  for (const view of views) {
    const key = JSON.stringify([view.vendor, view.name, view.simulated]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [view]);
    else group.push(view);
  }
  return [...groups.values()];
}

const paint = (text: string, view: ListedDevice, colour: boolean): string =>
  colour ? `\u001b[${healthColour(view)}m${text}\u001b[0m` : text;
