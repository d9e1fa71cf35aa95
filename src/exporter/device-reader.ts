// Accelerators as the pages need them: each record with its numbers of one window, looked up by family and label.
import type { AbsentReason, ColumnFamilyName, Window } from '../protocol/columns.ts';
import { absentReasons, columnFamilies, statistic, windowStatistics } from '../protocol/columns.ts';
import type { DeviceRecord } from '../protocol/device.ts';

/** What the agent knows of its accelerators. */
export interface ExportedDevices {
  /** The same list as long as nothing has changed. */
  readonly records: readonly DeviceRecord[];
  /** Jobs that hold a device or partition, by its id. */
  heldBy(id: string): readonly string[];
}

export interface DeviceReader {
  readonly record: DeviceRecord;
  /** Record of the device that this partition is cut from; null for a device. */
  readonly parent: DeviceRecord | null;
  readonly heldBy: readonly string[];
  /** Null where it is absent. */
  value(family: ColumnFamilyName, label?: string): number | null;
  /** Why it is absent; a column that is not there at all is unsupported. */
  reason(family: ColumnFamilyName, label?: string): AbsentReason;
  /** Labels that the family has on this device. */
  labels(family: ColumnFamilyName): readonly string[];
  /** How many of its columns are absent, by reason. */
  absent(): ReadonlyMap<AbsentReason, number>;
}

/** Devices in the order of the records, each followed by its partitions. `window` null: no numbers. */
export function readDevices(devices: ExportedDevices, window: Window | null): readonly DeviceReader[] {
  const columns = columnsByOwner(window);
  const known = new Set<string>();
  const { records } = devices;
  return records
    .filter(({ parentSlot }) => parentSlot === null)
    .flatMap((record) => [
      { record, parent: null },
      ...records
        .filter(({ parentSlot }) => parentSlot === record.slot)
        .map((part) => ({ record: part, parent: record })),
    ])
    .filter(({ record }) => {
      // Ids tell series apart: a second device with the same one would make the page invalid.
      const key = JSON.stringify([record.vendor, record.id]);
      return known.has(key) ? false : known.add(key);
    })
    .map(({ record, parent }) =>
      createReader(record, parent, devices.heldBy(record.id), columns.get(record.slot) ?? new Map(), window),
    );
}

type Places = ReadonlyMap<ColumnFamilyName, ReadonlyMap<string, number>>;

function columnsByOwner(window: Window | null): ReadonlyMap<number, Places> {
  const owners = new Map<number, Map<ColumnFamilyName, Map<string, number>>>();
  window?.columns.forEach(({ family, owner, label }, at) => {
    if (owner === 'host') return;
    const families = owners.get(owner) ?? new Map<ColumnFamilyName, Map<string, number>>();
    owners.set(owner, families);
    const places = families.get(family) ?? new Map<string, number>();
    families.set(family, places.set(label ?? '', at));
  });
  return owners;
}

function createReader(
  record: DeviceRecord,
  parent: DeviceRecord | null,
  heldBy: readonly string[],
  places: Places,
  window: Window | null,
): DeviceReader {
  const reasonAt = (at: number): AbsentReason => absentReasons[window?.reasons[at] ?? 0] ?? 'error';
  const valueAt = (at: number, family: ColumnFamilyName): number | null => {
    const value = window?.values[at * windowStatistics + shownStatistic(family)] ?? Number.NaN;
    return reasonAt(at) === 'present' && Number.isFinite(value) ? value : null;
  };
  return {
    record,
    parent,
    heldBy,
    value(family, label = '') {
      const at = places.get(family)?.get(label);
      return at === undefined ? null : valueAt(at, family);
    },
    reason(family, label = '') {
      const at = places.get(family)?.get(label);
      return at === undefined ? 'unsupported' : reasonAt(at);
    },
    labels: (family) => [...(places.get(family)?.keys() ?? [])],
    absent() {
      const counts = new Map<AbsentReason, number>();
      for (const columns of places.values()) {
        for (const at of columns.values()) {
          const reason = reasonAt(at);
          if (reason !== 'present') counts.set(reason, (counts.get(reason) ?? 0) + 1);
        }
      }
      return counts;
    },
  };
}

/** Shares and rates of work are means over the window, all else is the last value: as in protocol/device-view.ts. */
function shownStatistic(family: ColumnFamilyName): number {
  const { kind, unit } = columnFamilies[family];
  return kind === 'gauge' && (unit === 'ratio' || unit === 'flops') ? statistic.mean : statistic.last;
}

/** Number in the vendor's catalogue at the end of a fault's code (`xid-79`), or null. */
export function catalogueNumber(code: string): number | null {
  const match = /-(\d{1,9})$/.exec(code);
  return match === null ? null : Number(match[1]);
}
