// Records and a window of a fleet as the agent would have them, built from simulated readings: for tests of all that
// shows devices. Peaks are the published figures of a few models, so that sums can be checked by hand.
import type { ToolReading } from '../../src/device/accelerator.ts';
import { noFlops } from '../../src/device/peak/peak.ts';
import { createSimulated, parseSimulated } from '../../src/device/simulated.ts';
import {
  absentReasons,
  type Column,
  type ColumnFamilyName,
  columnFamilies,
  statistic,
  type Window,
  windowStatistics,
} from '../../src/protocol/columns.ts';
import type { DeviceFault, DeviceRecord, FlopsByPrecision } from '../../src/protocol/device.ts';

export const FLEET_MS = Date.parse('2026-11-25T08:00:00Z');

const T = 1e12;
const peaks: Readonly<Record<string, FlopsByPrecision>> = {
  'NVIDIA H100 80GB HBM3': {
    fp64: 66.9 * T,
    fp32: 66.9 * T,
    tf32: 494.7 * T,
    bf16: 989.4 * T,
    fp16: 989.4 * T,
    fp8: 1978.9 * T,
    int8: 1978.9 * T,
  },
  '910B3': { ...noFlops, bf16: 294.9 * T, fp16: 294.9 * T, fp32: 83 * T, int8: 626 * T },
};

export interface Fleet {
  readonly records: readonly DeviceRecord[];
  readonly window: Window;
}

export interface FleetOptions {
  /** Index in the list of devices -> changes of its record. */
  readonly records?: Readonly<Record<number, Partial<DeviceRecord>>>;
  /** The first this many devices work. */
  readonly busy?: number;
  readonly seed?: string;
  /** `slot/family` -> a value, or why there is none. */
  readonly values?: Readonly<Record<string, number | (typeof absentReasons)[number]>>;
}

export function sampleFault(part: Partial<DeviceFault> = {}): DeviceFault {
  return {
    code: 'xid-79',
    rung: 'resetNeeded',
    text: 'the device has fallen off the bus: reboot the host, then reseat or replace the card',
    firstAtMs: FLEET_MS - 60_000,
    lastAtMs: FLEET_MS - 50_000,
    count: 2,
    active: true,
    ...part,
  };
}

export function sampleFleet(text: string, options: FleetOptions = {}): Fleet {
  const clock = { wallMs: () => FLEET_MS - 60_000 };
  const simulated = createSimulated(parseSimulated(text), clock, options.seed ?? 'test');
  const idle = simulated.read(FLEET_MS - 60_000, new Set());
  const busyIds = new Set(idle.slice(0, options.busy ?? 0).map(({ id }) => id));
  const readings = simulated.read(FLEET_MS, busyIds);
  const columns: Column[] = [];
  const cells: (number | (typeof absentReasons)[number])[] = [];
  const records = readings.map((reading, slot): DeviceRecord => {
    const put = (
      family: ColumnFamilyName,
      value: number | (typeof absentReasons)[number],
      label?: string,
    ) => {
      columns.push({ family, owner: slot, label: label ?? null });
      cells.push(options.values?.[`${slot}/${family}`] ?? value);
    };
    putNumbers(reading, put);
    return { ...recordOf(reading, slot), ...options.records?.[slot] };
  });
  return { records, window: windowOf(columns, cells) };
}

function putNumbers(
  { numbers, name }: ToolReading,
  put: (family: ColumnFamilyName, value: number | (typeof absentReasons)[number], label?: string) => void,
): void {
  for (const [number, value] of Object.entries(numbers.values))
    put(`accelerator.${number}` as ColumnFamilyName, value);
  for (const [engine, value] of Object.entries(numbers.engineBusyRatio ?? {}))
    put('accelerator.engineBusyRatio', value, engine);
  for (const [reason, value] of Object.entries(numbers.throttledRatio ?? {}))
    put('accelerator.throttledRatio', value, reason);
  const busy = numbers.values.busyRatio;
  const best = peaks[name ?? '']?.bf16 ?? null;
  put('accelerator.energyJoulesTotal', numbers.values.energyCounterJoules ?? 'unsupported');
  put('accelerator.energyMeasuredRatio', 1);
  put('accelerator.availableRatio', 0.9);
  const achieved = best === null || typeof busy !== 'number' ? 'unsupported' : Math.round(best * busy * 0.5);
  put('accelerator.achievedFlops', achieved);
  put('accelerator.achievedLowFlops', typeof achieved === 'number' ? achieved * 0.8 : achieved);
  put('accelerator.achievedHighFlops', typeof achieved === 'number' ? achieved * 1.2 : achieved);
}

function recordOf(reading: ToolReading & { readonly vendor: string }, slot: number): DeviceRecord {
  const peak = peaks[reading.name ?? ''] ?? null;
  return {
    slot,
    parentSlot: null,
    vendor: reading.vendor,
    index: reading.index,
    id: reading.id,
    profile: null,
    name: reading.name,
    busId: reading.busId,
    serial: null,
    driverVersion: reading.driverVersion,
    firmwareVersion: null,
    numaNode: reading.numaNode,
    backend: 'simulated',
    level: 'bestEffort',
    memoryTotalBytes:
      typeof reading.numbers.values.memoryTotalBytes === 'number'
        ? reading.numbers.values.memoryTotalBytes
        : null,
    peakFlops: peak ?? noFlops,
    peakMethod: peak === null ? null : 'table',
    peakSource: peak === null ? 'no figure is known for this model' : 'published figure',
    achievedMethod: peak === null ? null : 'estimate',
    energyMethod: 'counter',
    health: 'ok',
    rung: 'ok',
    faults: [],
    cordon: null,
    processes: [],
    links: [],
    absent: reading.absent,
    problem: null,
  };
}

export function windowOf(
  columns: readonly Column[],
  cells: readonly (number | (typeof absentReasons)[number])[],
): Window {
  const values = new Float64Array(columns.length * windowStatistics).fill(Number.NaN);
  const reasons = new Uint8Array(columns.length);
  cells.forEach((cell, at) => {
    const family = columns[at]?.family ?? 'accelerator.busyRatio';
    if (typeof cell === 'string') reasons[at] = absentReasons.indexOf(cell);
    else if (columnFamilies[family].kind === 'counter') values[at * windowStatistics + statistic.last] = cell;
    else values.fill(cell, at * windowStatistics, (at + 1) * windowStatistics);
  });
  return {
    generation: 1,
    columns,
    sequence: 1,
    endMs: FLEET_MS,
    durationMs: 1000,
    ticks: 10,
    values,
    reasons,
  };
}

/** A slice of the device in `parent`: a record and its columns, appended to a fleet. */
export function withPartition(fleet: Fleet, parent: number, profile: string): Fleet {
  const device = fleet.records[parent];
  if (device === undefined) throw new Error(`there is no device ${parent}`);
  const slot = 1000 + fleet.records.length;
  const index = fleet.records.filter(({ parentSlot }) => parentSlot === device.slot).length;
  const record: DeviceRecord = {
    ...device,
    slot,
    parentSlot: device.slot,
    index,
    id: `MIG-${device.id}-${index}`,
    profile,
    memoryTotalBytes: 10 * 1024 ** 3,
  };
  const more: [ColumnFamilyName, number][] = [
    ['accelerator.memoryTotalBytes', 10 * 1024 ** 3],
    ['accelerator.memoryUsedBytes', 2 * 1024 ** 3],
  ];
  const { window } = fleet;
  const columns = [
    ...window.columns,
    ...more.map(([family]): Column => ({ family, owner: slot, label: null })),
  ];
  const old = window.columns.map((_, at): number | (typeof absentReasons)[number] => {
    const reason = absentReasons[window.reasons[at] ?? 0] ?? 'error';
    return reason === 'present' ? (window.values[at * windowStatistics + statistic.last] ?? 0) : reason;
  });
  return {
    records: [...fleet.records, record],
    window: windowOf(columns, [...old, ...more.map(([, value]) => value)]),
  };
}
