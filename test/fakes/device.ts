// Device records as an agent tells them.
import { noFlops } from '../../src/device/peak/peak.ts';
import { type DeviceRecord, deviceRecordSchema } from '../../src/protocol/device.ts';

export const GIB = 1024 ** 3;

export function deviceRecord(slot: number, change: Partial<DeviceRecord> = {}): DeviceRecord {
  return deviceRecordSchema.parse({
    slot,
    parentSlot: null,
    vendor: 'nvidia',
    index: slot,
    id: `GPU-${slot}`,
    profile: null,
    name: 'NVIDIA H100 80GB HBM3',
    busId: null,
    serial: null,
    driverVersion: null,
    firmwareVersion: null,
    numaNode: null,
    backend: 'native',
    level: 'captures',
    memoryTotalBytes: 80 * GIB,
    peakFlops: noFlops,
    peakMethod: null,
    peakSource: 'none known',
    achievedMethod: null,
    energyMethod: null,
    health: 'ok',
    rung: 'ok',
    faults: [],
    cordon: null,
    processes: [],
    links: [],
    absent: {},
    problem: null,
    ...change,
  } satisfies DeviceRecord);
}

export function ascendRecord(slot: number, change: Partial<DeviceRecord> = {}): DeviceRecord {
  return deviceRecord(slot, {
    vendor: 'ascend',
    id: `NPU-${slot}`,
    name: '910B3',
    memoryTotalBytes: 64 * GIB,
    ...change,
  });
}

/** A slice of the device with the parent's slot. */
export function partitionRecord(
  slot: number,
  parentSlot: number,
  profile = '1g.10gb',
  change: Partial<DeviceRecord> = {},
): DeviceRecord {
  const name = `NVIDIA H100 80GB HBM3 MIG ${profile}`;
  return deviceRecord(slot, {
    parentSlot,
    profile,
    name,
    id: `MIG-${slot}`,
    index: slot,
    memoryTotalBytes: 10 * GIB,
    ...change,
  });
}

export function faultyRecord(
  record: DeviceRecord,
  rung: DeviceRecord['rung'],
  code = 'xid-79',
): DeviceRecord {
  const fault = {
    code,
    rung,
    text: 'it has fallen off the bus; reset it',
    firstAtMs: 1,
    lastAtMs: 1,
    count: 1,
    active: true,
  };
  return { ...record, rung, health: 'failed', faults: [fault] };
}
