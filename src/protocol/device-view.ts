// One accelerator as people and programs see it: the contract of `flopd devices -o json`, of the scheduler's API and
// of the dashboard. Built from records and one window of telemetry. A number that could not be read is null and its
// reason stands in `absent`; it is never 0 and never left out.
import * as z from 'zod';
import {
  type AbsentReason,
  absentReasons,
  type ColumnFamilyName,
  columnFamilies,
  statistic,
  type Window,
  windowStatistics,
} from './columns.ts';
import {
  cordonSchema,
  type DeviceRecord,
  deviceLinkSchema,
  deviceProcessSchema,
  type FlopsByPrecision,
  faultSchema,
  flopsByPrecisionSchema,
  healths,
  precisions,
  rungs,
  takesJobs,
} from './device.ts';

const number = z.number().nullable();
const text = z.string().nullable();
const numbersByName = z.record(z.string(), number);

export const deviceViewSchema = z.strictObject({
  vendor: z.string(),
  index: z.number().int(),
  id: z.string(),
  name: text,
  busId: text,
  driverVersion: text,
  memoryTotalBytes: number,
  memoryUsedBytes: number,
  busyRatio: number,
  memoryBusyRatio: number,
  powerWatts: number,
  powerLimitWatts: number,
  energyJoules: number,
  temperatureCelsius: number,
  memoryTemperatureCelsius: number,
  clockHertz: number,
  memoryClockHertz: number,
  health: z.enum(healths),
  faults: z.array(faultSchema),
  eccCorrected: number,
  eccUncorrected: number,
  processes: z.array(deviceProcessSchema),
  /** MIG instances, vNPUs: the same shape, without partitions of their own. */
  get partitions() {
    return z.array(deviceViewSchema);
  },
  peakFlops: flopsByPrecisionSchema,
  achievedFlops: number,
  achievedMethod: text,
  /** Reason per absent field; `error: …` in words. */
  absent: z.record(z.string(), z.string()),

  // Beyond the contract.
  simulated: z.boolean(),
  backend: z.enum(['native', 'cli', 'simulated']),
  level: z.enum(['hardware', 'captures', 'bestEffort']),
  serial: text,
  firmwareVersion: text,
  numaNode: number,
  /** Kind of slice, for a partition. */
  profile: text,
  rung: z.enum(rungs),
  cordon: cordonSchema.nullable(),
  /** Whether new jobs may come: below `noNewJobs` and not cordoned. */
  takesJobs: z.boolean(),
  peakMethod: z.enum(['table', 'formula', 'override']).nullable(),
  peakSource: z.string(),
  /** Peak at the present clock limits, less what is faulty or cordoned. */
  availableFlops: flopsByPrecisionSchema,
  /** Error band of `achievedFlops`. */
  achievedRange: z.strictObject({ low: z.number(), high: z.number() }).nullable(),
  energyMethod: z.enum(['counter', 'integral']).nullable(),
  /** Share of the time that the energy was measured for. */
  energyMeasuredRatio: number,
  engines: numbersByName,
  pipes: numbersByName,
  throttled: numbersByName,
  fanRatio: number,
  pcieReceiveBytesPerSecond: number,
  pcieTransmitBytesPerSecond: number,
  linkReceiveBytesTotal: number,
  linkTransmitBytesTotal: number,
  links: z.array(deviceLinkSchema),
});
export type DeviceView = z.output<typeof deviceViewSchema>;

/** Contract name and column of each number that every device has. */
const numberColumns = {
  memoryTotalBytes: 'accelerator.memoryTotalBytes',
  memoryUsedBytes: 'accelerator.memoryUsedBytes',
  busyRatio: 'accelerator.busyRatio',
  memoryBusyRatio: 'accelerator.memoryBusyRatio',
  powerWatts: 'accelerator.powerWatts',
  powerLimitWatts: 'accelerator.powerLimitWatts',
  energyJoules: 'accelerator.energyJoulesTotal',
  temperatureCelsius: 'accelerator.temperatureCelsius',
  memoryTemperatureCelsius: 'accelerator.memoryTemperatureCelsius',
  clockHertz: 'accelerator.clockHertz',
  memoryClockHertz: 'accelerator.memoryClockHertz',
  eccCorrected: 'accelerator.eccCorrectedTotal',
  eccUncorrected: 'accelerator.eccUncorrectedTotal',
  achievedFlops: 'accelerator.achievedFlops',
  energyMeasuredRatio: 'accelerator.energyMeasuredRatio',
  fanRatio: 'accelerator.fanRatio',
  pcieReceiveBytesPerSecond: 'accelerator.pcieReceiveBytesPerSecond',
  pcieTransmitBytesPerSecond: 'accelerator.pcieTransmitBytesPerSecond',
  linkReceiveBytesTotal: 'accelerator.linkReceiveBytesTotal',
  linkTransmitBytesTotal: 'accelerator.linkTransmitBytesTotal',
} as const satisfies Record<string, ColumnFamilyName>;

/** Places of one device's columns in a window, by `family` or `family{label}`. */
type Places = ReadonlyMap<string, number>;

/**
 * Views of all devices, partitions within theirs, in the order of the records. `window` may be null, or lack columns
 * of a device: its numbers are then absent as `notYet`, or for a device that is gone as its record says.
 */
export function deviceViews(
  records: readonly DeviceRecord[],
  window: Window | null,
  nowMs: number,
): DeviceView[] {
  const places = placesBySlot(window);
  const view = (record: DeviceRecord, parent: DeviceRecord | null): DeviceView =>
    viewOf(
      record,
      window,
      places.get(record.slot) ?? new Map(),
      nowMs,
      records
        .filter((each) => each.parentSlot === record.slot && parent === null)
        .map((each) => view(each, record)),
    );
  return records.filter(({ parentSlot }) => parentSlot === null).map((record) => view(record, null));
}

function placesBySlot(window: Window | null): Map<number, Map<string, number>> {
  const slots = new Map<number, Map<string, number>>();
  window?.columns.forEach(({ family, owner, label }, at) => {
    if (owner === 'host') return;
    const places = slots.get(owner) ?? new Map<string, number>();
    slots.set(owner, places.set(label === null ? family : `${family}{${label}}`, at));
  });
  return slots;
}

function viewOf(
  record: DeviceRecord,
  window: Window | null,
  places: Places,
  nowMs: number,
  partitions: DeviceView[],
): DeviceView {
  const absent: Record<string, string> = {};
  const lack = (path: string, reason: AbsentReason): null => {
    absent[path] = reason === 'error' ? `error: ${record.problem ?? 'the device gave no reason'}` : reason;
    return null;
  };
  const valueAt = (at: number, family: ColumnFamilyName, path: string): number | null => {
    const reason = absentReasons[window?.reasons[at] ?? 0] ?? 'error';
    if (reason !== 'present') return lack(path, reason);
    const { kind, unit } = columnFamilies[family];
    const which =
      kind === 'gauge' && (unit === 'ratio' || unit === 'flops') ? statistic.mean : statistic.last;
    const value = window?.values[at * windowStatistics + which] ?? Number.NaN;
    return Number.isFinite(value) ? value : lack(path, 'error');
  };
  const read = (family: ColumnFamilyName, path: string): number | null => {
    const at = places.get(family);
    if (at !== undefined) return valueAt(at, family, path);
    return lack(path, places.size === 0 ? (record.absent.numbers ?? 'notYet') : 'unsupported');
  };
  const labelled = (family: ColumnFamilyName, path: string): Record<string, number | null> => {
    const found: Record<string, number | null> = Object.create(null) as Record<string, number | null>;
    for (const [key, at] of places) {
      if (!key.startsWith(`${family}{`)) continue;
      const label = key.slice(family.length + 1, -1);
      found[label] = valueAt(at, family, `${path}.${label}`);
    }
    return found;
  };
  const numbers = Object.fromEntries(
    Object.entries(numberColumns).map(([name, family]) => [name, read(family, name)]),
  ) as Record<keyof typeof numberColumns, number | null>;
  for (const name of textFields) if (record[name] === null) lack(name, record.absent[name] ?? 'unsupported');
  for (const name of ['processes', 'links'] as const) {
    const reason = record.absent[name];
    if (reason !== undefined && reason !== 'present') lack(name, reason);
  }
  for (const each of precisions)
    if (record.peakFlops[each] === null) lack(`peakFlops.${each}`, 'unsupported');
  if (record.achievedMethod === null) {
    // Numbers and records come by ways of their own: a rate whose method has yet to come is not shown without it.
    const isToCome = numbers.achievedFlops !== null;
    if (isToCome) numbers.achievedFlops = lack('achievedFlops', 'notYet');
    lack('achievedMethod', isToCome ? 'notYet' : 'unsupported');
  }

  /** A number whose absence is told by another one. */
  const quiet = (family: ColumnFamilyName): number | null => {
    const at = places.get(family);
    const value =
      at === undefined ? Number.NaN : (window?.values[at * windowStatistics + statistic.mean] ?? Number.NaN);
    return at !== undefined && window?.reasons[at] === 0 && Number.isFinite(value) ? value : null;
  };
  const [low, high] = [quiet('accelerator.achievedLowFlops'), quiet('accelerator.achievedHighFlops')];
  return {
    vendor: record.vendor,
    index: record.index,
    id: record.id,
    name: record.name,
    busId: record.busId,
    driverVersion: record.driverVersion,
    ...numbers,
    health: record.health,
    faults: record.faults,
    processes: record.processes,
    partitions,
    peakFlops: record.peakFlops,
    achievedMethod: record.achievedMethod,
    absent,
    simulated: record.backend === 'simulated',
    backend: record.backend,
    level: record.level,
    serial: record.serial,
    firmwareVersion: record.firmwareVersion,
    numaNode: record.numaNode,
    profile: record.profile,
    rung: record.rung,
    cordon: record.cordon,
    takesJobs: takesJobs(record, nowMs),
    peakMethod: record.peakMethod,
    peakSource: record.peakSource,
    availableFlops: scaled(record.peakFlops, quiet('accelerator.availableRatio')),
    achievedRange: low === null || high === null ? null : { low, high },
    energyMethod: record.energyMethod,
    engines: labelled('accelerator.engineBusyRatio', 'engines'),
    pipes: labelled('accelerator.pipeActiveRatio', 'pipes'),
    throttled: labelled('accelerator.throttledRatio', 'throttled'),
    links: record.links,
  };
}

const textFields = ['name', 'busId', 'driverVersion', 'serial', 'firmwareVersion', 'numaNode'] as const;

function scaled(peak: FlopsByPrecision, ratio: number | null): FlopsByPrecision {
  return Object.fromEntries(
    precisions.map((each) => [each, peak[each] === null || ratio === null ? null : peak[each] * ratio]),
  ) as FlopsByPrecision;
}
