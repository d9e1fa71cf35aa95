// Sums over accelerators, by vendor and model and of all. A sum says over how many devices it was taken, so that it
// never hides those that are absent; where no device tells, it is null and never 0.

import { type Health, healths, type Precision, precisions } from './device.ts';
import type { DeviceView } from './device-view.ts';

/** `value` is the sum over the `counted` devices that tell; null where none does. */
export interface Sum {
  readonly value: number | null;
  readonly counted: number;
}

export interface DeviceTotals {
  /** Null in the totals of all. */
  readonly vendor: string | null;
  /** The product's name; null in the totals of all, and for devices that do not tell theirs. */
  readonly model: string | null;
  readonly devices: number;
  /** Devices of nodes that are connected now; health, holders and sums are of these alone. */
  readonly reachable: number;
  readonly simulated: number;
  readonly health: Readonly<Record<Health, number>>;
  readonly takesJobs: number;
  readonly cordoned: number;
  /** Devices that a job holds, as a whole or in part. */
  readonly held: number;
  readonly memoryTotalBytes: Sum;
  readonly memoryUsedBytes: Sum;
  readonly powerWatts: Sum;
  readonly powerLimitWatts: Sum;
  readonly energyJoules: Sum;
  readonly peakFlops: Readonly<Record<Precision, Sum>>;
  readonly availableFlops: Readonly<Record<Precision, Sum>>;
  readonly achievedFlops: Sum;
}

export interface FleetTotals {
  readonly all: DeviceTotals;
  /** In the order of vendor, then model. */
  readonly models: readonly DeviceTotals[];
}

/** A device as a host shows it, or as the scheduler does, who knows more of it. */
export type ListedDevice = Omit<DeviceView, 'partitions'> & { readonly partitions: readonly ListedDevice[] };

export interface CountedDevice {
  readonly view: ListedDevice;
  readonly held: boolean;
  readonly reachable: boolean;
}

export function fleetTotals(devices: readonly CountedDevice[]): FleetTotals {
  const groups = new Map<string, CountedDevice[]>();
  for (const device of devices) {
    const key = JSON.stringify([device.view.vendor, device.view.name]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [device]);
    else group.push(device);
  }
  const models = [...groups.values()].map((group) =>
    totalsOf(group[0]?.view.vendor ?? null, group[0]?.view.name ?? null, group),
  );
  models.sort(
    (one, other) =>
      (one.vendor ?? '').localeCompare(other.vendor ?? '', 'en') ||
      (one.model ?? '').localeCompare(other.model ?? '', 'en', { numeric: true }),
  );
  return { all: totalsOf(null, null, devices), models };
}

function totalsOf(
  vendor: string | null,
  model: string | null,
  devices: readonly CountedDevice[],
): DeviceTotals {
  const reachable = devices.filter((device) => device.reachable);
  const views = reachable.map(({ view }) => view);
  const sum = (pick: (view: ListedDevice) => number | null): Sum => sumOf(views.map(pick));
  const byPrecision = (pick: (view: ListedDevice, precision: Precision) => number | null) =>
    Object.fromEntries(
      precisions.map((precision) => [precision, sum((view) => pick(view, precision))]),
    ) as Record<Precision, Sum>;
  return {
    vendor,
    model,
    devices: devices.length,
    reachable: reachable.length,
    simulated: devices.filter(({ view }) => view.simulated).length,
    health: Object.fromEntries(
      healths.map((health) => [health, views.filter((view) => view.health === health).length]),
    ) as Record<Health, number>,
    takesJobs: views.filter((view) => view.takesJobs).length,
    cordoned: views.filter((view) => view.cordon !== null).length,
    held: reachable.filter(({ held }) => held).length,
    memoryTotalBytes: sum((view) => view.memoryTotalBytes),
    memoryUsedBytes: sum((view) => view.memoryUsedBytes),
    powerWatts: sum((view) => view.powerWatts),
    powerLimitWatts: sum((view) => view.powerLimitWatts),
    energyJoules: sum((view) => view.energyJoules),
    peakFlops: byPrecision((view, precision) => view.peakFlops[precision]),
    availableFlops: byPrecision((view, precision) => view.availableFlops[precision]),
    achievedFlops: sum((view) => view.achievedFlops),
  };
}

function sumOf(values: readonly (number | null)[]): Sum {
  const known = values.filter((value) => value !== null);
  return {
    value: known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0),
    counted: known.length,
  };
}

/** The precision in which people compare: the first of these that anybody tells. */
export const headlinePrecisions = ['bf16', 'fp16', 'fp32', 'fp64'] as const satisfies readonly Precision[];

/** Headline precision of one device or of a sum; null where no peak is known. */
export function headlineOf(
  peaks: Readonly<Record<Precision, number | null | Sum>>,
): (typeof headlinePrecisions)[number] | null {
  const isKnown = (peak: number | null | Sum): boolean =>
    typeof peak === 'object' ? peak !== null && peak.value !== null : true;
  return headlinePrecisions.find((precision) => isKnown(peaks[precision])) ?? null;
}
