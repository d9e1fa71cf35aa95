// What the native reader's answer says of one vendor's devices, as the readings that a tool would give of them.
import type { NativeDevice, NativeDevices, NativeEvent } from '../native.ts';
import { type AbsentReason, absentReasons } from '../protocol/columns.ts';
import type { DeviceEvent, DeviceReading, Vendor } from './accelerator.ts';

/** A reading with the number that its columns carry in the native row. */
export interface NativeReading extends DeviceReading {
  readonly number: number;
  /** Why the device as a whole cannot be read now; null when it can. */
  readonly unread: AbsentReason | null;
}

/** Parses the text of `Native.readDevices`. */
export function parseNativeDevices(text: string): NativeDevices {
  return JSON.parse(text) as NativeDevices;
}

/** Parses the text of `Native.takeDeviceEvents`. */
export function parseNativeEvents(text: string): NativeEvent[] {
  return JSON.parse(text) as NativeEvent[];
}

export function nativeReadings(state: NativeDevices, vendor: Vendor): NativeReading[] {
  const driverVersion = state.vendors.find(({ name }) => name === vendor.name)?.driverVersion ?? null;
  const idByNumber = new Map(state.devices.map(({ number, id }) => [number, id]));
  return state.devices
    .filter((device) => device.vendor === vendor.name)
    .map((device) => readingOf(device, vendor, driverVersion, idByNumber));
}

function readingOf(
  device: NativeDevice,
  vendor: Vendor,
  driverVersion: string | null,
  idByNumber: ReadonlyMap<number, string>,
): NativeReading {
  const { computeCapability, lanes, units, maxClockHertz } = device;
  const processesAbsent = reasonOf(device.processesAbsent);
  return {
    number: device.number,
    index: device.index,
    id: device.id,
    parentId: device.parent === null ? null : (idByNumber.get(device.parent) ?? null),
    profile: device.profile,
    name: device.name,
    busId: device.busId,
    serial: device.serial,
    driverVersion,
    firmwareVersion: device.firmwareVersion,
    numaNode: device.numaNode,
    nodeNumber: device.nodeNumber,
    facts: { computeCapability, lanes, units, maxClockHertz },
    processes: processesAbsent === null ? device.processes : null,
    links: device.links,
    conditions: vendor.judgeSignals?.(device.signals, device.codes) ?? [],
    healthKnown: vendor.judgeSignals !== undefined,
    absent: processesAbsent === null ? {} : { processes: processesAbsent },
    problem: device.problem,
    unread: reasonOf(device.absent),
  };
}

function reasonOf(text: string | null): AbsentReason | null {
  if (text === null || text === 'present') return null;
  return absentReasons.find((each) => each === text) ?? 'error';
}

export function eventOf({ kind, code, count, detail }: NativeEvent): DeviceEvent {
  return { kind, code, count, detail };
}

/** Whether two spellings (`00000000:65:00.0`, `0000:65:00`) name one device on the PCI bus. */
export function isSameBus(one: string | null, other: string | null): boolean {
  const [a, b] = [busNumbers(one), busNumbers(other)];
  return a !== null && b !== null && a.every((part, at) => part === b[at]);
}

/** Domain, bus and device; the function is left out, as kernel messages do. */
function busNumbers(text: string | null): number[] | null {
  const match = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.[0-9a-f])?$/i.exec(text ?? '');
  return match === null ? null : match.slice(1, 4).map((part) => Number.parseInt(part ?? '0', 16));
}
