// May a job have these devices? Pure, and the last look before an order is accepted: the node itself gives no device
// that it does not have, that takes no jobs, or that another job holds, unless both asked to share.
import type { DeviceGrant } from '../device/accelerator.ts';
import type { StartOrder } from '../protocol/control.ts';
import { type DeviceRecord, isRungAtLeast } from '../protocol/device.ts';
import type { Refusal } from './admission.ts';
import type { Granted } from './book.ts';

/** What admission asks of a device. */
export type AdmittedDevice = Pick<DeviceRecord, 'slot' | 'parentSlot' | 'id' | 'rung' | 'faults' | 'cordon'>;

/** The devices of this node, for the job room. */
export interface JobDevices {
  /** All devices and partitions as they are now. */
  records(): readonly AdmittedDevice[];
  /**
   * What a job with these devices is given; all others are hidden from it, so that also an empty list gives
   * something. Throws Fault DEVICE_UNKNOWN for one that has gone.
   */
  grant(ids: readonly string[]): DeviceGrant;
}

/** Devices that an attempt holds. */
export interface HeldDevices {
  /** `job.epoch` */
  readonly name: string;
  readonly ids: readonly string[];
  readonly shared: boolean;
}

export interface DeviceState {
  readonly records: readonly AdmittedDevice[];
  readonly held: readonly HeldDevices[];
  /** A job that runs and of which nobody knows what it holds, or null. */
  readonly unknownHolder: string | null;
  readonly nowMs: number;
}

/** Null where there is nothing to give or to hide. Throws what `grant` throws. */
export function grantFor(devices: JobDevices | undefined, ids: readonly string[]): Granted | null {
  if (devices === undefined) return null;
  const granted = devices.grant(ids);
  return Object.keys(granted.environment).length + granted.deviceNodes.length === 0 ? null : granted;
}

const refuse = (code: string, message: string): Refusal => ({ code, message });

/** An order that does not fit itself, or this node: null for one whose devices are as many as it asks for. */
export function refuseMisfit({ spec, devices }: StartOrder, grantsDevices: boolean): Refusal | null {
  const { accelerators } = spec.resources;
  const asked = accelerators?.count ?? 0;
  if (asked > 0 && !grantsDevices)
    return refuse(
      'JOB_ACCELERATORS_MISSING',
      `the job asks for ${asked} accelerators, this node grants none`,
    );
  if (devices.length !== asked || new Set(devices).size !== devices.length)
    return refuse(
      'JOB_DEVICES_MISMATCH',
      `the job asks for ${asked} accelerators, the order grants ${devices.length}`,
    );
  return null;
}

/** Null where each of the order's devices is here, takes jobs and is free. */
export function refuseDevices({ spec, devices }: StartOrder, state: DeviceState): Refusal | null {
  const byId = new Map(state.records.map((record) => [record.id, record]));
  const partition = spec.resources.accelerators?.partition ?? null;
  for (const id of devices) {
    const record = byId.get(id);
    if (record === undefined) return refuse('JOB_DEVICE_UNKNOWN', `this node has no device ${id} at present`);
    if ((record.parentSlot === null) !== (partition === null))
      return refuse(
        'JOB_DEVICES_MISMATCH',
        `the job asks for ${partition === null ? 'whole devices' : 'partitions'}, ${id} is none`,
      );
    const parent = parentOf(record, state.records);
    const closed = closedBy(record, state.nowMs) ?? (parent === null ? null : closedBy(parent, state.nowMs));
    if (closed !== null) return closed;
  }
  if (state.unknownHolder !== null)
    return refuse(
      'JOB_DEVICE_BUSY',
      `${state.unknownHolder} runs here, its order was lost with a damaged journal, and it may hold any device`,
    );
  const shared = spec.resources.accelerators?.shared ?? false;
  for (const id of devices) {
    const excluded = excludedBy(id, state.records);
    for (const held of state.held) {
      if (held.ids.includes(id) && !(shared && held.shared))
        return refuse('JOB_DEVICE_BUSY', `device ${id} is held by ${held.name}`);
      const other = held.ids.find((one) => excluded.has(one));
      if (other !== undefined)
        return refuse('JOB_DEVICE_BUSY', `${held.name} holds ${other}, which is of the same device as ${id}`);
    }
  }
  return null;
}

function parentOf(record: AdmittedDevice, records: readonly AdmittedDevice[]): AdmittedDevice | null {
  const { parentSlot } = record;
  if (parentSlot === null) return null;
  return records.find((other) => other.slot === parentSlot && other.parentSlot === null) ?? null;
}

/** A device and its partitions exclude each other. */
function excludedBy(id: string, records: readonly AdmittedDevice[]): ReadonlySet<string> {
  const record = records.find((one) => one.id === id);
  if (record === undefined) return new Set();
  const parent = parentOf(record, records);
  if (parent !== null) return new Set([parent.id]);
  return new Set(partitionsOf(id, records));
}

/** Ids of the partitions that are cut from a device. */
export function partitionsOf(id: string, records: readonly AdmittedDevice[]): readonly string[] {
  const device = records.find((one) => one.id === id && one.parentSlot === null);
  if (device === undefined) return [];
  return records.filter(({ parentSlot }) => parentSlot === device.slot).map((one) => one.id);
}

function closedBy({ id, cordon, rung, faults }: AdmittedDevice, nowMs: number): Refusal | null {
  if (cordon !== null && (cordon.untilMs === null || cordon.untilMs > nowMs))
    return refuse('JOB_DEVICE_CORDONED', `device ${id} is cordoned by ${cordon.by}: ${cordon.reason}`);
  if (!isRungAtLeast(rung, 'noNewJobs')) return null;
  const worst = faults.find((fault) => fault.rung === rung);
  const why = worst === undefined ? rung : `${worst.code}: ${worst.text}`;
  return refuse('JOB_DEVICE_UNHEALTHY', `device ${id} takes no new jobs (${why})`);
}
