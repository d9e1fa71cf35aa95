// The record of a device: what the roster knows of it, its health, and what its figures are made from. Fields are cut
// to what the wire takes, so that a tool that prints a novel as a name does no harm.
import type { DeviceLink, DeviceProcess, DeviceRecord } from '../protocol/device.ts';
import { type DeviceHealth, healthFor } from './health.ts';
import type { Member } from './roster.ts';

/** What the peaks, the achieved rate and the energy of a device are made from; see `DeviceRecord`. */
export type Rating = Pick<
  DeviceRecord,
  'peakFlops' | 'peakMethod' | 'peakSource' | 'achievedMethod' | 'energyMethod'
>;

export interface RecordParts {
  readonly member: Member;
  readonly parentSlot: number | null;
  readonly health: DeviceHealth;
  readonly rating: Rating;
  readonly memoryTotalBytes: number | null;
}

const MAX_PROCESSES = 256;
const MAX_LINKS = 256;
const MAX_PROBLEM = 512;

export function recordOf({
  member,
  parentSlot,
  health,
  rating,
  memoryTotalBytes,
}: RecordParts): DeviceRecord {
  const { reading, vendor, backend, slot, unread } = member;
  const { processes } = reading;
  return {
    slot,
    parentSlot,
    vendor: vendor.name,
    index: reading.index,
    id: reading.id,
    profile: cut(reading.profile, 64),
    name: cut(reading.name, 128),
    busId: cut(reading.busId, 64),
    serial: cut(reading.serial, 128),
    driverVersion: cut(reading.driverVersion, 64),
    firmwareVersion: cut(reading.firmwareVersion, 64),
    numaNode: reading.numaNode,
    backend,
    level: vendor.level,
    memoryTotalBytes,
    ...rating,
    health: healthFor(health.rung, reading.healthKnown && unread === null),
    rung: health.rung,
    faults: [...health.faults],
    cordon: health.cordon,
    processes: unread === null ? (processes ?? []).slice(0, MAX_PROCESSES).map(cutProcess) : [],
    links: reading.links.slice(0, MAX_LINKS).map(cutLink),
    absent: absentOf(member),
    problem: cut(unread?.problem ?? reading.problem, MAX_PROBLEM),
  };
}

function absentOf({ reading, unread }: Member): DeviceRecord['absent'] {
  const absent = { ...reading.absent };
  if (unread === null) {
    if (reading.processes === null) absent.processes ??= 'unsupported';
    return absent;
  }
  return { ...absent, numbers: unread.reason, processes: unread.reason };
}

function cut<Text extends string | null>(text: Text, maximum: number): Text | string {
  return text === null ? text : text.slice(0, maximum);
}

function cutProcess({ pid, memoryBytes, name }: DeviceProcess): DeviceProcess {
  return { pid, memoryBytes, name: cut(name, 256) };
}

function cutLink({ kind, peer, count, up }: DeviceLink): DeviceLink {
  return { kind: kind.slice(0, 32), peer: cut(peer, 96), count, up };
}
