// `nvidia-smi dmon` and `pmon`: rows of numbers, or of processes, under a line of names and a line of units, which may
// come again after some rows. The last row of a device is its present; it is known by its number alone.
import type { DeviceProcess } from '../../protocol/device.ts';
import type { Measured, ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault } from '../reading.ts';
import { MEBIBYTE } from '../tool-text.ts';
import { measure, percent, whole } from './value.ts';

const MAX_CELLS = 64;
/** Names of our numbers by the tool's; each with its unit there and the base units in one of it. */
const columns = {
  pwr: ['powerWatts', 'W', 1],
  gtemp: ['temperatureCelsius', 'C', 1],
  mtemp: ['memoryTemperatureCelsius', 'C', 1],
  sm: ['busyRatio', '%', 0.01],
  mem: ['memoryBusyRatio', '%', 0.01],
  pclk: ['clockHertz', 'MHz', 1e6],
  mclk: ['memoryClockHertz', 'MHz', 1e6],
  fb: ['memoryUsedBytes', 'MB', MEBIBYTE],
} as const;
const engines = { enc: 'encoder', dec: 'decoder', jpg: 'jpeg', ofa: 'ofa' } as const;

interface Head {
  readonly names: readonly string[];
  readonly units: readonly string[];
}
type Row = ReadonlyMap<string, string>;

export function isMonitor(text: string): boolean {
  return /^# *gpu +[a-z]/.test(text.trimStart());
}

export function readingsOfMonitor(text: string): ToolReading[] {
  let names: readonly string[] | null = null;
  let head: Head | null = null;
  let isProcesses = false;
  const devices = new Map<number, Row>();
  const processes = new Map<number, Map<number, DeviceProcess>>();
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const cells = cellsOf(line.replace(/^#/, ' '));
    if (line.startsWith('#') && cells[0] === 'gpu') {
      names = cells;
      head = null;
      continue;
    }
    if (line.startsWith('#')) {
      if (names === null || cells[0] !== 'Idx' || cells.length !== names.length)
        throw layoutFault('nvidia-smi', text, 'units that do not fit the names');
      isProcesses = names.includes('pid');
      head = { names, units: cells };
      continue;
    }
    if (head === null) throw layoutFault('nvidia-smi', text, 'a row without names');
    const row = rowOf(cells, head, text);
    const index = whole(row.get('gpu'));
    if (index === null || index > 1023) throw layoutFault('nvidia-smi', text, 'a row without a device');
    if (!isProcesses) devices.set(index, withUnits(row, head));
    else note(row, processes.get(index) ?? put(processes, index));
  }
  if (head === null) throw layoutFault('nvidia-smi', text, 'no row in it');
  return isProcesses
    ? [...processes].map(([index, list]) => ({
        ...emptyReading(index, `nvidia-${index}`),
        processes: [...list.values()],
      }))
    : [...devices].map(([index, row]) => readingOf(index, row));
}

function cellsOf(line: string): string[] {
  return line.trim().split(/\s+/, MAX_CELLS);
}

/** The last column is a name that may hold blanks. */
function rowOf(cells: readonly string[], { names }: Head, text: string): Row {
  const isNamed = names.at(-1) === 'command';
  if (isNamed ? cells.length < names.length : cells.length !== names.length)
    throw layoutFault('nvidia-smi', text, 'a row of another length than the names');
  const fixed = isNamed ? names.length - 1 : names.length;
  const row = new Map<string, string>();
  for (const [at, name] of names.slice(0, fixed).entries()) row.set(name, cells[at] ?? '');
  if (isNamed) row.set('command', cells.slice(fixed).join(' '));
  return row;
}

/** Each cell with its unit behind it, so that one of another unit is no number. */
function withUnits(row: Row, { names, units }: Head): Row {
  const told = (cell: string, unit: string): string => (/^\d/.test(cell) ? `${cell} ${unit}` : cell);
  return new Map(names.map((name, at) => [name, told(row.get(name) ?? '', units[at] ?? '')]));
}

const measuredOf = (cell: string | undefined, unit: string, scale: number): Measured => {
  if (cell === '-') return 'unsupported';
  return unit === '%' ? percent(cell) : measure(cell, unit, scale);
};

function readingOf(index: number, row: Row): ToolReading {
  const values: Record<string, Measured> = {};
  for (const [name, [ours, unit, scale]] of Object.entries(columns))
    if (row.has(name)) values[ours] = measuredOf(row.get(name), unit, scale);
  const engineBusyRatio: Record<string, Measured> = {};
  for (const [name, ours] of Object.entries(engines)) {
    const value = measuredOf(row.get(name), '%', 0.01);
    if (value !== 'unsupported') engineBusyRatio[ours] = value;
  }
  return emptyReading(index, `nvidia-${index}`, { values, engineBusyRatio });
}

function put<Value>(map: Map<number, Map<number, Value>>, index: number): Map<number, Value> {
  const list = new Map<number, Value>();
  map.set(index, list);
  return list;
}

/** A device on which nothing runs has a row of dashes. */
function note(row: Row, list: Map<number, DeviceProcess>): void {
  const pid = whole(row.get('pid'));
  if (pid !== null) list.set(pid, { pid, memoryBytes: null, name: row.get('command') ?? null });
}
