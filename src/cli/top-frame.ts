// One frame of `flopd top`: this host's view as lines. Pure; rates come from two views one window apart.
import type { HostView } from '../protocol/api.ts';
import type { DeviceView } from '../protocol/device-view.ts';
import { renderDeviceSection } from './device-grid.ts';
import { describePower } from './power-source.ts';
import { renderTable, type TableColumn, type TableStyle } from './table.ts';
import { ABSENT, clip, escapeText, formatBytes, formatDecimal, formatRatio, padStart } from './text.ts';

const MIN_WIDTH = 40;
const DEFAULT_WIDTH = 100;
const GREEN = '32';
const YELLOW = '33';
const RED = '31';

export interface FrameOptions {
  readonly hostname: string;
  readonly previous: HostView | null;
  readonly present: HostView;
  readonly devices: readonly DeviceView[];
  readonly style: TableStyle;
  /** Lines of the terminal, or null for as many as it takes. */
  readonly rows: number | null;
  /** What is missing, as a line of its own, or null. */
  readonly problem: string | null;
}

type Numbers = Readonly<Record<string, number | null>>;
type Groups = Readonly<Record<string, Numbers>>;

export function renderFrame(options: FrameOptions): string[] {
  const { hostname, previous, present, devices, style, rows, problem } = options;
  const width = Math.max(MIN_WIDTH, style.width ?? DEFAULT_WIDTH);
  const { cpu, memory } = present;
  const seconds =
    previous === null ? null : (Date.parse(present.sampledAt) - Date.parse(previous.sampledAt)) / 1000;
  const load = [cpu.load1, cpu.load5, cpu.load15].map((value) => value?.toFixed(2) ?? ABSENT).join(' ');
  const usedRatio =
    memory.usedBytes === null || !memory.totalBytes ? null : memory.usedBytes / memory.totalBytes;
  const head = [
    `${escapeText(hostname)}  ${present.sampledAt}  load ${load}`,
    `clock ${formatDecimal(cpu.clockHertz, 'Hz')}  ${present.powerWatts === null ? '' : 'power '}${describePower(present)}`,
    ...(problem === null ? [] : [problem]),
    '',
    barLine('CPU', cpu.busyRatio, '', width, style.colour),
    // Where there are accelerators the cores come after them.
    ...(devices.length === 0 ? coreLines(cpu.coreBusyRatio, width, style.colour) : []),
    barLine(
      'memory',
      usedRatio,
      `${formatBytes(memory.usedBytes)} / ${formatBytes(memory.totalBytes)}`,
      width,
      style.colour,
    ),
    ...swapLine(memory, width, style.colour),
    '',
  ];
  const room = rows === null ? null : Math.max(1, rows - head.length);
  const section =
    devices.length === 0
      ? []
      : renderDeviceSection(devices, { ...style, width }, room, Date.parse(present.sampledAt));
  const rest = [
    ...(devices.length === 0 ? [] : ['', ...coreLines(cpu.coreBusyRatio, width, style.colour), '']),
    ...rateTable(
      'DISK',
      [
        ['READ', 'readBytesTotal'],
        ['WRITTEN', 'writtenBytesTotal'],
      ],
      present.disks,
      previous?.disks,
      seconds,
      style,
      'busySecondsTotal',
    ),
    '',
    ...rateTable(
      'NETWORK',
      [
        ['RECEIVED', 'receiveBytesTotal'],
        ['SENT', 'transmitBytesTotal'],
      ],
      present.network,
      previous?.network,
      seconds,
      style,
      null,
    ),
    '',
    ...pressureTable(present.pressure, previous?.pressure, seconds, style),
    ...(devices.length === 0 ? ['', 'no accelerators found'] : []),
  ];
  const lines = [...head, ...section, ...rest];
  // Coloured lines are made to fit by their builders; the rest is cut here.
  const fitted = lines.map((line) => (line.includes('\u001b') ? line : clip(line, width)));
  return rows === null ? fitted : fitted.slice(0, rows);
}

function barLine(name: string, ratio: number | null, note: string, width: number, colour: boolean): string {
  const tail = ` ${padStart(formatRatio(ratio), 5)}${note === '' ? '' : `  ${note}`}`;
  const room = Math.max(8, width - 11 - tail.length);
  const filled = Math.round(Math.min(1, Math.max(0, ratio ?? 0)) * room);
  const full = '█'.repeat(filled);
  const paint =
    ratio === null || !colour
      ? full
      : `\u001b[${ratio > 0.9 ? RED : ratio > 0.6 ? YELLOW : GREEN}m${full}\u001b[0m`;
  return `${name.padEnd(8)} [${paint}${(ratio === null ? '?' : '·').repeat(room - filled)}]${tail}`;
}

/** A bar per core on two columns; above 32 cores one character per core. */
function coreLines(cores: Numbers, width: number, colour: boolean): string[] {
  const entries = Object.entries(cores).sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
  if (entries.length <= 8)
    return entries.map(([core, ratio]) => barLine(` core ${core}`, ratio, '', width, colour));
  const steps = '·▁▂▃▄▅▆▇█';
  const cells = entries.map(([, ratio]) =>
    ratio === null ? '?' : (steps[Math.round(Math.min(1, Math.max(0, ratio)) * 8)] ?? '?'),
  );
  const perLine = width - 10;
  const lines: string[] = [];
  for (let at = 0; at < cells.length; at += perLine)
    lines.push(`${(at === 0 ? ' cores' : '').padEnd(9)}${cells.slice(at, at + perLine).join('')}`);
  return lines;
}

function swapLine(
  { swapTotalBytes, swapFreeBytes }: HostView['memory'],
  width: number,
  colour: boolean,
): string[] {
  if (!swapTotalBytes || swapFreeBytes === null) return [];
  const used = swapTotalBytes - swapFreeBytes;
  return [
    barLine(
      'swap',
      used / swapTotalBytes,
      `${formatBytes(used)} / ${formatBytes(swapTotalBytes)}`,
      width,
      colour,
    ),
  ];
}

/** Increase per second of a counter; null where it is not known, or the counter started over. */
export function rate(
  present: number | null | undefined,
  previous: number | null | undefined,
  seconds: number | null,
): number | null {
  if (present == null || previous == null || seconds === null || seconds <= 0 || present < previous)
    return null;
  return (present - previous) / seconds;
}

function rateTable(
  title: string,
  counters: readonly (readonly [string, string])[],
  present: Groups,
  previous: Groups | undefined,
  seconds: number | null,
  style: TableStyle,
  busyCounter: string | null,
): string[] {
  const names = Object.keys(present);
  if (names.length === 0) return [`${title}  none`];
  const of = (name: string, counter: string): number | null =>
    rate(present[name]?.[counter], previous?.[name]?.[counter], seconds);
  const columns: TableColumn<string>[] = [
    { title, cell: (name) => name },
    ...counters.map(
      ([heading, counter]): TableColumn<string> => ({
        title: heading,
        align: 'right',
        cell: (name) => perSecond(of(name, counter)),
      }),
    ),
    ...(busyCounter === null
      ? []
      : [
          {
            title: 'BUSY',
            align: 'right',
            cell: (name: string) => formatRatio(of(name, busyCounter)),
          } as const,
        ]),
  ];
  return renderTable(columns, names, style);
}

function perSecond(bytes: number | null): string {
  return bytes === null ? ABSENT : `${formatBytes(Math.round(bytes))}/s`;
}

function pressureTable(
  present: Groups,
  previous: Groups | undefined,
  seconds: number | null,
  style: TableStyle,
): string[] {
  const resources = Object.keys(present);
  if (resources.length === 0) return ['PRESSURE  not offered by this kernel'];
  const of = (resource: string, counter: string): string =>
    formatRatio(rate(present[resource]?.[counter], previous?.[resource]?.[counter], seconds));
  return renderTable<string>(
    [
      { title: 'PRESSURE', cell: (resource) => resource },
      { title: 'SOME WAIT', align: 'right', cell: (resource) => of(resource, 'waitingSecondsTotal') },
      { title: 'ALL STALLED', align: 'right', cell: (resource) => of(resource, 'stalledSecondsTotal') },
    ],
    resources,
    style,
  );
}
