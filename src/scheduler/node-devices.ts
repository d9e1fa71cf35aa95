// The devices of a node, as its agent told them last, for placement and for people. What the scheduler knows beyond
// the node is added here: cordons of its own, and which jobs hold what.
import { Fault } from '../base/fault.ts';
import type { NodeDeviceView } from '../protocol/api.ts';
import type { Window } from '../protocol/columns.ts';
import {
  type Cordon,
  type DeviceRecord,
  type FlopsByPrecision,
  isRungAtLeast,
  precisions,
} from '../protocol/device.ts';
import { type DeviceView, deviceViews } from '../protocol/device-view.ts';
import { deviceWords, type PlacementDevice } from './device-choice.ts';
import type { NodeRecord } from './queue/queue.ts';
import { list } from './words.ts';

/** Cordons of the scheduler that are in force. */
export interface Cordons {
  readonly node: Cordon | null;
  readonly devices: ReadonlyMap<string, Cordon>;
}

export function isInForce(cordon: Cordon | null, nowMs: number): cordon is Cordon {
  return cordon !== null && (cordon.untilMs === null || cordon.untilMs > nowMs);
}

export function cordonsOf(record: NodeRecord | null, nowMs: number): Cordons {
  const kept = record?.cordons;
  const node = kept?.node ?? null;
  return {
    node: isInForce(node, nowMs) ? node : null,
    devices: new Map(Object.entries(kept?.devices ?? {}).filter(([, cordon]) => isInForce(cordon, nowMs))),
  };
}

/** When the first of these cordons runs out, the node's own included; null when none does by itself. */
export function nextEndMs(cordons: Cordons, records: readonly DeviceRecord[], nowMs: number): number | null {
  const all = [cordons.node, ...cordons.devices.values(), ...records.map(({ cordon }) => cordon)];
  const ends = all.flatMap((cordon) => (isInForce(cordon, nowMs) ? (cordon.untilMs ?? []) : []));
  return ends.length === 0 ? null : Math.min(...ends);
}

/** Each id once: a node that names two devices alike has one of them. */
export function distinctRecords(records: readonly DeviceRecord[]): readonly DeviceRecord[] {
  const byId = new Map<string, DeviceRecord>();
  for (const record of records) if (!byId.has(record.id)) byId.set(record.id, record);
  return [...byId.values()];
}

export function placementDevices(
  records: readonly DeviceRecord[],
  cordons: Cordons,
  nowMs: number,
): readonly PlacementDevice[] {
  const whole = new Map(
    records.filter(({ parentSlot }) => parentSlot === null).map((one) => [one.slot, one]),
  );
  const cut = new Set(records.map(({ parentSlot }) => parentSlot));
  return records.map((record) => {
    const parent = record.parentSlot === null ? null : (whole.get(record.parentSlot) ?? null);
    return {
      id: record.id,
      vendor: record.vendor,
      index: record.index,
      name: record.name,
      words: deviceWords(record.vendor, parent === null ? [record.name] : [record.name, parent.name]),
      memoryBytes: record.memoryTotalBytes,
      // A partition of a device that is not told of stays a partition.
      parentId: record.parentSlot === null ? null : (parent?.id ?? `slot ${record.parentSlot}`),
      profile: record.profile,
      isCut: cut.has(record.slot),
      numaNode: record.numaNode ?? parent?.numaNode ?? null,
      links: record.links,
      closed: closedBy(record, cordons, nowMs) ?? (parent === null ? null : closedBy(parent, cordons, nowMs)),
    };
  });
}

function closedBy(record: DeviceRecord, cordons: Cordons, nowMs: number): PlacementDevice['closed'] {
  const cordon = cordonOf(record, cordons, nowMs);
  if (cordon !== null) return { kind: 'cordoned', why: describeCordon(cordon) };
  if (!isRungAtLeast(record.rung, 'noNewJobs')) return null;
  const codes = record.faults.filter(({ rung }) => isRungAtLeast(rung, 'noNewJobs')).map(({ code }) => code);
  return { kind: 'faulty', why: codes.length === 0 ? record.rung : list(codes) };
}

/** The scheduler's, or else the node's. */
function cordonOf(record: DeviceRecord, cordons: Cordons, nowMs: number): Cordon | null {
  return cordons.devices.get(record.id) ?? (isInForce(record.cordon, nowMs) ? record.cordon : null);
}

/** `alice: fan is loud`, and until when, where it ends by itself. */
export function describeCordon({ by, reason, untilMs }: Cordon): string {
  return untilMs === null ? `${by}: ${reason}` : `${by}: ${reason}, until ${new Date(untilMs).toISOString()}`;
}

export function nodeDeviceViews(
  records: readonly DeviceRecord[],
  window: Window | null,
  cordons: Cordons,
  holders: (id: string) => readonly string[],
  nowMs: number,
): readonly NodeDeviceView[] {
  const byId = new Map(records.map((record) => [record.id, record]));
  const viewOf = (view: DeviceView, isParentOpen: boolean): NodeDeviceView => {
    const record = byId.get(view.id);
    const cordon = record === undefined ? view.cordon : cordonOf(record, cordons, nowMs);
    const takesJobs = view.takesJobs && cordon === null && isParentOpen;
    return {
      ...view,
      cordon,
      takesJobs,
      // What nobody may use is not on offer, whatever the node says of it.
      availableFlops: takesJobs ? view.availableFlops : withheld(view.availableFlops),
      heldBy: holders(view.id),
      partitions: view.partitions.map((partition) => viewOf(partition, takesJobs)),
    };
  };
  return deviceViews(records, window, nowMs).map((view) => viewOf(view, true));
}

/** The id of the device that somebody means: its id, or `vendor:index`. Throws Fault API_NOT_FOUND. */
export function findDevice(records: readonly DeviceRecord[], text: string, nodeName: string): string {
  const byId = records.find(({ id }) => id === text);
  if (byId !== undefined) return byId.id;
  const match = /^(.+):(\d{1,9})$/s.exec(text);
  const vendor = match?.[1]?.toLowerCase();
  const byIndex = records.find(
    (record) => record.parentSlot === null && record.vendor === vendor && record.index === Number(match?.[2]),
  );
  if (byIndex !== undefined) return byIndex.id;
  const known = records.filter(({ parentSlot }) => parentSlot === null);
  const names = list(
    known.map((record) => `${record.vendor}:${record.index}`),
    8,
  );
  throw new Fault('API_NOT_FOUND', `${nodeName} has no device "${printable(text)}"`, {
    field: 'device',
    remedy:
      known.length === 0
        ? 'the node has told of no device since this scheduler started; name the node alone'
        : `name one of ${names}, or an id as "flopd node ${nodeName}" shows it`,
  });
}

function printable(text: string): string {
  return text.slice(0, 96).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}

function withheld(flops: FlopsByPrecision): FlopsByPrecision {
  return Object.fromEntries(
    precisions.map((each) => [each, flops[each] === null ? null : 0]),
  ) as FlopsByPrecision;
}
