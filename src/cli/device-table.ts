// Accelerators as a table for people. What does not fit is left out in order of importance, never wrapped: first the
// bars, then whole columns; names give way last. Faults and cordons follow below in full sentences, then the totals.
import type { Cordon, DeviceFault } from '../protocol/device.ts';
import {
  type FleetTotals,
  fleetTotals,
  headlineOf,
  type ListedDevice,
  type Sum,
} from '../protocol/device-totals.ts';
import { renderTable, type TableColumn, type TableStyle } from './table.ts';
import { ABSENT, clip, displayWidth, escapeText, formatDecimal, formatRatio, formatSeconds } from './text.ts';

const GREEN = '32';
const YELLOW = '33';
const RED = '31';
const GIB = 1024 ** 3;
const MAX_MODEL_WIDTH = 28;
const MIN_MODEL_WIDTH = 9;
const BAR_CELLS = 10;
/** Stands for a blank at which no line is broken. */
const TOGETHER = '\u00a0';

/** A device, or a partition below it. */
interface Row {
  readonly view: ListedDevice;
  readonly parent: ListedDevice | null;
  /** Jobs that hold it; empty where nobody can say. */
  readonly heldBy: readonly string[];
}

export interface DeviceTableOptions {
  /** Jobs by id of device or partition, where a scheduler knows; null leaves the column out. */
  readonly heldBy: ReadonlyMap<string, readonly string[]> | null;
  readonly nowMs: number;
}

interface Candidate {
  /** The least goes last; 0 always stays. */
  readonly importance: number;
  readonly column: TableColumn<Row>;
}

export function renderDevices(
  views: readonly ListedDevice[],
  style: TableStyle,
  { heldBy, nowMs }: DeviceTableOptions,
): string[] {
  const holders = (id: string): readonly string[] => heldBy?.get(id) ?? [];
  const rows = views.flatMap((view): Row[] => [
    { view, parent: null, heldBy: holders(view.id) },
    ...view.partitions.map((each) => ({ view: each, parent: view, heldBy: holders(each.id) })),
  ]);
  const columns = chooseColumns(rows, style, heldBy !== null);
  const counted = views.map((view) => ({
    view,
    held: holders(view.id).length > 0 || view.partitions.some(({ id }) => holders(id).length > 0),
    reachable: true,
  }));
  return [
    ...renderTable(columns, rows, style),
    ...troubleLines(rows, style, nowMs),
    ...totalsLines(fleetTotals(counted), style.width, heldBy !== null),
  ];
}

/** All columns that fit, by importance; the widest layout first. */
function chooseColumns(rows: readonly Row[], style: TableStyle, withJobs: boolean): TableColumn<Row>[] {
  const simulated = rows.some(({ view }) => view.simulated);
  const layouts = [
    { modelWidth: MAX_MODEL_WIDTH, bars: true, mark: 'simulated', least: 30 },
    { modelWidth: MAX_MODEL_WIDTH, bars: true, mark: 'simulated', least: 12 },
    { modelWidth: MAX_MODEL_WIDTH, bars: false, mark: 'simulated', least: 10 },
    { modelWidth: 16, bars: false, mark: 'sim', least: 9 },
    { modelWidth: 16, bars: false, mark: 'sim', least: 8 },
    { modelWidth: 12, bars: false, mark: 'sim', least: 8 },
    { modelWidth: MIN_MODEL_WIDTH, bars: false, mark: 'sim', least: 8 },
    { modelWidth: MIN_MODEL_WIDTH, bars: false, mark: 'sim', least: 0 },
  ];
  for (const { modelWidth, bars, mark, least } of layouts) {
    const all = candidates({ modelWidth, bars, mark: simulated ? mark : null, withJobs });
    if (style.width === null) return all.map(({ column }) => column);
    let kept = all;
    while (widthOf(kept, rows) > style.width) {
      const last = Math.max(...kept.map(({ importance }) => importance));
      if (last <= least) break;
      kept = kept.filter(({ importance }) => importance !== last);
    }
    const isLast = least === 0;
    if (isLast || widthOf(kept, rows) <= style.width) return kept.map(({ column }) => column);
  }
  return [];
}

function widthOf(columns: readonly Candidate[], rows: readonly Row[]): number {
  return columns.reduce(
    (sum, { column }) =>
      sum +
      2 +
      rows.reduce(
        (widest, row) => Math.max(widest, displayWidth(escapeText(column.cell(row)))),
        displayWidth(column.title),
      ),
    -2,
  );
}

interface Layout {
  readonly modelWidth: number;
  readonly bars: boolean;
  /** How simulated devices are marked; null where there are none. */
  readonly mark: string | null;
  readonly withJobs: boolean;
}

// In the order in which they are shown.
function candidates({ modelWidth, bars, mark, withJobs }: Layout): Candidate[] {
  const right = (importance: number, title: string, cell: (row: Row) => string): Candidate => ({
    importance,
    column: { title, align: 'right', cell },
  });
  const left = (importance: number, title: string, cell: (row: Row) => string): Candidate => ({
    importance,
    column: { title, cell },
  });
  const gauge = (
    importance: number,
    title: string,
    pick: (view: ListedDevice) => number | null,
  ): Candidate => ({
    importance,
    column: {
      title,
      align: 'right',
      cell: ({ view }) => (bars ? `${bar(pick(view))} ${percent(pick(view))}` : percent(pick(view)).trim()),
      colour: ({ view }) => loadColour(pick(view)),
    },
  });
  return [
    left(0, 'DEVICE', deviceName),
    left(1, 'MODEL', ({ view, parent }) =>
      clip(parent === null ? modelName(view) : (view.profile ?? 'partition'), modelWidth),
    ),
    ...(mark === null ? [] : [left(0, mark.toUpperCase(), ({ view }) => (view.simulated ? mark : ''))]),
    {
      importance: 0,
      column: {
        title: 'HEALTH',
        cell: ({ view }) => healthWord(view),
        colour: ({ view }) => healthColour(view),
      },
    },
    gauge(2, 'BUSY', (view) => view.busyRatio),
    right(3, 'MEM GiB', ({ view }) =>
      pair(view.memoryUsedBytes, view.memoryTotalBytes, (bytes) => short(bytes / GIB)),
    ),
    right(4, 'POWER W', ({ view }) =>
      pair(view.powerWatts, view.powerLimitWatts, (watts) => watts.toFixed(0)),
    ),
    right(6, '°C', ({ view }) => view.temperatureCelsius?.toFixed(0) ?? ABSENT),
    right(5, 'TFLOPS', ({ view }) => {
      const headline = headlineOf(view.peakFlops);
      const peak = headline === null ? null : view.peakFlops[headline];
      return pair(view.achievedFlops, peak, (flops) => short(flops / 1e12));
    }),
    ...(withJobs ? [left(7, 'JOB', ({ heldBy }) => heldBy.join(' ') || ABSENT)] : []),
    left(14, 'PEAK', ({ view }) => {
      const headline = headlineOf(view.peakFlops);
      return headline === null ? ABSENT : `${headline.toUpperCase()} ${view.peakMethod ?? ''}`.trim();
    }),
    left(13, 'METHOD', ({ view }) => clip(view.achievedMethod ?? ABSENT, 20)),
    right(10, 'MEM BUSY', ({ view }) => formatRatio(view.memoryBusyRatio)),
    right(11, 'MHz', ({ view }) => megahertz(view.clockHertz)),
    right(15, 'MEM MHz', ({ view }) => megahertz(view.memoryClockHertz)),
    right(16, 'MEM °C', ({ view }) => view.memoryTemperatureCelsius?.toFixed(0) ?? ABSENT),
    right(12, 'ENERGY', ({ view }) => formatDecimal(view.energyJoules, 'J')),
    right(17, 'ECC', ({ view }) => pair(view.eccCorrected, view.eccUncorrected, String)),
    right(18, 'PROCESSES', ({ view }) =>
      view.absent.processes === undefined ? String(view.processes.length) : ABSENT,
    ),
    left(19, 'BUS', ({ view }) => view.busId ?? ABSENT),
    right(20, 'NUMA', ({ view }) => (view.numaNode === null ? ABSENT : String(view.numaNode))),
    left(21, 'READ BY', ({ view }) => view.backend),
    left(22, 'DRIVER', ({ view }) => view.driverVersion ?? ABSENT),
    left(23, 'ID', ({ view }) => view.id),
  ];
}

function deviceName({ view, parent }: Row): string {
  return parent === null ? `${view.vendor} ${view.index}` : `  ${parent.index}.${view.index}`;
}

/** How a device is called in a sentence. */
export function deviceTitle(view: ListedDevice, parent: ListedDevice | null = null): string {
  return parent === null ? `${view.vendor} ${view.index}` : `${parent.vendor} ${parent.index}.${view.index}`;
}

/** The product's name without the vendor, which stands beside it. */
export function modelName({ name, vendor }: Pick<ListedDevice, 'name' | 'vendor'>): string {
  if (name === null) return ABSENT;
  const [first = '', ...rest] = name.split(' ');
  return first.toLowerCase() === vendor && rest.length > 0 ? rest.join(' ') : name;
}

export function healthWord(view: ListedDevice): string {
  if (view.cordon === null) return view.health;
  return view.health === 'ok' ? 'cordoned' : `${view.health}, cordoned`;
}

export function healthColour(view: ListedDevice): string {
  if (view.health === 'failed') return RED;
  return view.health === 'ok' && view.cordon === null ? GREEN : YELLOW;
}

function loadColour(ratio: number | null): string | null {
  if (ratio === null) return null;
  return ratio > 0.9 ? RED : ratio > 0.6 ? YELLOW : GREEN;
}

function bar(ratio: number | null): string {
  if (ratio === null) return ' '.repeat(BAR_CELLS);
  const filled = Math.round(Math.min(1, Math.max(0, ratio)) * BAR_CELLS);
  return '█'.repeat(filled) + '·'.repeat(BAR_CELLS - filled);
}

const percent = (ratio: number | null): string =>
  (ratio === null ? ABSENT : `${(ratio * 100).toFixed(0)}%`).padStart(4);

/** `62/80`; a number that is absent is `-`, and two of them are one `-`. */
function pair(one: number | null, other: number | null, format: (value: number) => string): string {
  if (one === null && other === null) return ABSENT;
  return `${one === null ? ABSENT : format(one)}/${other === null ? ABSENT : format(other)}`;
}

/** At most four characters for what is below ten thousand. */
function short(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 9.95 || size === 0 ? 0 : size >= 0.0995 ? 1 : 2);
}

const megahertz = (hertz: number | null): string => (hertz === null ? ABSENT : (hertz / 1e6).toFixed(0));

/** What is wrong, worst first, and who may not be given jobs. */
function troubleLines(rows: readonly Row[], style: TableStyle, nowMs: number): string[] {
  const lines = rows.flatMap(({ view, parent }) => {
    const title = deviceTitle(view, parent);
    return [
      ...view.faults.map((fault) => `${title}: ${faultSentence(fault, nowMs)}`),
      ...(view.cordon === null ? [] : [`${title}: ${cordonSentence(view.cordon, nowMs)}`]),
    ];
  });
  return lines.length === 0
    ? []
    : ['', ...lines.flatMap((line) => wrap(escapeText(line), style.width, '  '))];
}

export function faultSentence(fault: DeviceFault, nowMs: number): string {
  const often = fault.count > 1 ? ` ×${fault.count}` : '';
  const when = formatSeconds((nowMs - fault.lastAtMs) / 1000);
  const over = fault.active ? '' : ', over, waits for its re-test';
  return `${fault.code}${often} (${words(fault.rung)}, ${when} ago${over}): ${fault.text}`;
}

export function cordonSentence({ by, reason, sinceMs, untilMs }: Cordon, nowMs: number): string {
  const until =
    untilMs === null ? 'until it is lifted' : `for ${formatSeconds((untilMs - nowMs) / 1000)} more`;
  return `cordoned by ${by} ${formatSeconds((nowMs - sinceMs) / 1000)} ago, ${until}: ${reason || 'no reason given'}`;
}

/** `resetNeeded` becomes `reset needed`. */
const words = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** One line per model, and one of all where there are several; sums say how many devices they leave out. */
export function totalsLines({ all, models }: FleetTotals, width: number | null, withHeld: boolean): string[] {
  if (all.devices === 0) return [];
  const parts = (totals: FleetTotals['all'], title: string): string => {
    const headline = headlineOf(totals.peakFlops);
    const peak = headline === null ? null : totals.peakFlops[headline];
    const available = headline === null ? null : totals.availableFlops[headline];
    const ill = (['degraded', 'failed', 'unknown'] as const).filter((health) => totals.health[health] > 0);
    const of = (sum: Sum): string =>
      sum.counted === totals.reachable || sum.value === null ? '' : ` of ${sum.counted}`;
    const flops = (sum: Sum): string => `${formatDecimal(sum.value, 'FLOPS')}${of(sum)}`;
    return [
      title,
      ...(totals.simulated === 0
        ? []
        : [totals.simulated === totals.devices ? 'simulated' : `${totals.simulated} simulated`]),
      ...(totals.reachable === totals.devices ? [] : [`${totals.devices - totals.reachable} unreachable`]),
      `${totals.health.ok} ok${ill.map((health) => `, ${totals.health[health]} ${health}`).join('')}`,
      ...(totals.cordoned === 0 ? [] : [`${totals.cordoned} cordoned`]),
      ...(withHeld ? [`${totals.held} held`] : []),
      `power ${formatDecimal(totals.powerWatts.value, 'W')}${of(totals.powerWatts)}`,
      ...(peak === null || headline === null
        ? ['peak unknown']
        : [`peak ${flops(peak)} ${headline.toUpperCase()}`]),
      ...(available === null || available.value === null ? [] : [`available ${flops(available)}`]),
      `achieved ${flops(totals.achievedFlops)}`,
    ]
      .map((part) => part.replaceAll(' ', TOGETHER))
      .join(' · ');
  };
  const several = models.length > 1;
  return [
    '',
    ...models.map((each) =>
      parts(
        each,
        `${each.devices} × ${each.vendor ?? ''} ${modelName({ name: each.model, vendor: each.vendor ?? '' })}`,
      ),
    ),
    ...(several ? [parts(all, `${all.devices} devices`)] : []),
  ].flatMap((line) => wrap(escapeText(line), width, '  ').map((each) => each.replaceAll(TOGETHER, ' ')));
}

/** Lines of at most `width`, broken at blanks; a word that is longer stands alone and is cut. */
export function wrap(text: string, width: number | null, indent: string): string[] {
  if (width === null || displayWidth(text) <= width) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (displayWidth(longer) <= width || line === '') line = longer;
    else {
      lines.push(clip(line, width));
      line = indent + word;
    }
  }
  return [...lines, clip(line, width)];
}
