// The host's present figures as people and clients read them, from one telemetry window. Shares are means over the
// window, so that they agree with the differences of /proc/stat over it; all else is the last value.
import type { HostView } from './api.ts';
import type { ColumnFamilyName, Window } from './columns.ts';
import { absentReasons, columnFamilies, statistic, windowStatistics } from './columns.ts';

type Numbers = Record<string, number | null>;
type Groups = Record<string, Numbers>;

/** Where the host families go: a number of a section, a map by label, or a number within a map of labels. */
const CPU = ['busyRatio', 'load1', 'load5', 'load15', 'clockHertz'] as const;
const CPU_MAPS = ['coreBusyRatio', 'secondsTotal'] as const;
const MEMORY = [
  'totalBytes',
  'usedBytes',
  'availableBytes',
  'freeBytes',
  'swapTotalBytes',
  'swapFreeBytes',
] as const;

/** Builds the view; every null in it has its reason in `absent`, keyed by its path. */
export function hostView(window: Window): HostView {
  const absent: Record<string, string> = {};
  const one = (family: ColumnFamilyName, path: string): number | null => {
    const column = window.columns.findIndex((each) => each.owner === 'host' && each.family === family);
    return readColumn(window, column, path, absent);
  };
  const section = <Name extends string>(name: string, names: readonly Name[]): Record<Name, number | null> =>
    Object.fromEntries(
      names.map((each) => [each, one(`${name}.${each}` as ColumnFamilyName, `${name}.${each}`)]),
    ) as Record<Name, number | null>;
  const grouped = (name: string, path: string): Groups => readGroups(window, name, path, absent);
  const byLabel = (family: ColumnFamilyName): Numbers => {
    const numbers: Numbers = emptyRecord();
    window.columns.forEach((column, at) => {
      if (column.owner !== 'host' || column.family !== family || column.label === null) return;
      numbers[column.label] = readColumn(window, at, `${family}.${column.label}`, absent);
    });
    return numbers;
  };
  const [coreBusyRatio, secondsTotal] = CPU_MAPS.map((name) => byLabel(`cpu.${name}`));
  return {
    sampledAt: new Date(window.endMs).toISOString(),
    cpu: { ...section('cpu', CPU), coreBusyRatio: coreBusyRatio ?? {}, secondsTotal: secondsTotal ?? {} },
    memory: section('memory', MEMORY),
    disks: grouped('disk', 'disks'),
    network: grouped('network', 'network'),
    storage: grouped('storage', 'storage'),
    pressure: grouped('pressure', 'pressure'),
    powerWatts: sumOverSources(window, 'power.watts', 'powerWatts', absent),
    energyJoulesTotal: sumOverSources(window, 'power.energyJoulesTotal', 'energyJoulesTotal', absent),
    sensors: grouped('sensor', 'sensors'),
    absent,
  };
}

/** All labelled columns of a section: `network.receiveBytesTotal{eth0}` becomes `eth0: {receiveBytesTotal}`. */
function readGroups(window: Window, section: string, path: string, absent: Record<string, string>): Groups {
  const groups: Groups = emptyRecord();
  window.columns.forEach(({ owner, family, label }, at) => {
    if (owner !== 'host' || label === null || !family.startsWith(`${section}.`)) return;
    const name = family.slice(section.length + 1);
    groups[label] ??= emptyRecord();
    groups[label][name] = readColumn(window, at, `${path}.${label}.${name}`, absent);
  });
  return groups;
}

/** The value of a column, or null with its reason noted; a column that does not exist is not supported. */
function readColumn(
  window: Window,
  column: number,
  path: string,
  absent: Record<string, string>,
): number | null {
  const family = window.columns[column]?.family;
  const isShare = family !== undefined && columnFamilies[family].unit === 'ratio';
  const which = isShare ? statistic.mean : statistic.last;
  const reason = absentReasons[window.reasons[column] ?? 0] ?? 'error';
  const value = window.values[column * windowStatistics + which] ?? Number.NaN;
  if (column >= 0 && reason === 'present' && Number.isFinite(value)) return value;
  absent[path] = column < 0 ? 'unsupported' : reason === 'present' ? 'error' : reason;
  return null;
}

/**
 * The host's total. A source for the whole machine (a power meter, or RAPL's platform domain `psys`) contains the
 * others and stands alone; else packages and memory add up, and what a package contains (`core`, `uncore`) is left
 * out. A part that cannot be read makes the sum unknown: a smaller sum would look like a real one.
 */
function sumOverSources(
  window: Window,
  family: ColumnFamilyName,
  path: string,
  absent: Record<string, string>,
): number | null {
  const sources = window.columns.flatMap((column, at) =>
    column.owner === 'host' && column.family === family && column.label !== null
      ? [{ at, part: partOf(column.label) }]
      : [],
  );
  for (const wanted of ['platform', 'part'] as const) {
    const parts = sources.filter(({ part }) => part === wanted);
    if (parts.length === 0) continue;
    const reasons: Record<string, string> = {};
    const values = parts.map(({ at }) => readColumn(window, at, path, reasons));
    if (values.every((value) => value !== null)) return values.reduce((sum, value) => sum + value, 0);
    if (wanted === 'part') {
      Object.assign(absent, reasons);
      return null;
    }
  }
  absent[path] =
    sources.length === 0
      ? 'unsupported'
      : firstReason(
          window,
          sources.map(({ at }) => at),
        );
  return null;
}

function firstReason(window: Window, columns: readonly number[]): string {
  for (const column of columns) {
    const reason = absentReasons[window.reasons[column] ?? 0];
    if (reason !== undefined && reason !== 'present') return reason;
  }
  return 'unsupported';
}

/**
 * What a power source measures, from its label (native/host/powercap.c and hwmon.c): `rapl:psys`,
 * `hwmon:power_meter/...` (on Grace with the parts of a module beside the module), `rapl:package-0`,
 * `rapl:package-0/dram`. Meters of other chips (cards, supplies) may be within one of these or not: not summed.
 */
function partOf(label: string): 'platform' | 'part' | 'other' {
  if (/^rapl:psys/.test(label)) return 'platform';
  if (/^hwmon:power_meter\//.test(label))
    return /\/(Grace|CPU|SysIO) Power/.test(label) ? 'other' : 'platform';
  return /^rapl:[^/]+(\/dram\b.*)?$/.test(label) ? 'part' : 'other';
}

/** A map that has no names but its own, so that a disk called `__proto__` is only a disk. */
function emptyRecord<Value>(): Record<string, Value> {
  return Object.create(null) as Record<string, Value>;
}
