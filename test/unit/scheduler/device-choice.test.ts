import { describe, expect, it } from 'vitest';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import { acceleratorRequestSchema } from '../../../src/protocol/spec.ts';
import { chooseDevices, deviceWords, isCalled } from '../../../src/scheduler/device-choice.ts';
import { createDeviceHolds } from '../../../src/scheduler/device-holds.ts';
import { cordonsOf, placementDevices } from '../../../src/scheduler/node-devices.ts';
import { ascendRecord, deviceRecord, faultyRecord, GIB, partitionRecord } from '../../fakes/device.ts';

const NOW_MS = 1000;
const asks = (request: object) => acceleratorRequestSchema.parse({ count: 1, ...request });

function bed(records: readonly DeviceRecord[]) {
  const devices = placementDevices(records, cordonsOf(null, NOW_MS), NOW_MS);
  const holds = createDeviceHolds();
  holds.learn(devices);
  return {
    holds,
    choose: (request: object) => chooseDevices(devices, holds, asks(request))?.ids ?? null,
    take(jobId: string, request: object) {
      const choice = chooseDevices(devices, holds, asks(request));
      holds.hold(jobId, choice?.ids ?? [], asks(request));
      return choice?.ids ?? null;
    },
  };
}
const linked = (slot: number, ...peers: number[]): DeviceRecord =>
  deviceRecord(slot, {
    links: peers.map((peer) => ({ kind: 'nvlink', peer: `GPU-${peer}`, count: 12, up: true })),
  });

describe('what a request calls a device', () => {
  it.each([
    ['nvidia', 'nvidia', 'NVIDIA H100 80GB HBM3', true],
    ['NVIDIA', 'nvidia', 'NVIDIA H100 80GB HBM3', true],
    ['h100', 'nvidia', 'NVIDIA H100 80GB HBM3', true],
    ['h100 80gb', 'nvidia', 'NVIDIA H100 80GB HBM3', true],
    ['nvidia:H100', 'nvidia', 'NVIDIA H100 80GB HBM3', true],
    ['h20', 'nvidia', 'NVIDIA H200', false],
    ['h200', 'nvidia', 'NVIDIA H20', false],
    ['a100', 'nvidia', 'NVIDIA A100-SXM4-80GB', true],
    ['rtx4090', 'nvidia', 'NVIDIA GeForce RTX 4090', true],
    ['l40', 'nvidia', 'NVIDIA L40S', false],
    ['ascend', 'ascend', '910B3', true],
    ['ascend:910b3', 'ascend', '910B3', true],
    ['Ascend910B3', 'ascend', '910B3', true],
    ['910B3', 'ascend', 'Ascend910B3', true],
    ['910b', 'ascend', '910B3', false],
    ['nvidia', 'ascend', '910B3', false],
    ['ascend', 'ascend', null, true],
    ['::', 'ascend', '910B3', false],
  ])('%s for %s %s', (match, vendor, name, called) => {
    expect(isCalled({ words: deviceWords(vendor, [name]) }, match)).toBe(called);
  });
});

describe('the choice of devices', () => {
  it('takes exactly as many as were asked for, of the vendor that was asked for', () => {
    const { choose } = bed([
      deviceRecord(0),
      deviceRecord(1),
      ascendRecord(2),
      ascendRecord(3),
      ascendRecord(4),
    ]);
    expect(choose({ count: 2, match: 'ascend' })).toEqual(['NPU-2', 'NPU-3']);
    expect(choose({ count: 3, match: 'nvidia' })).toBeNull();
  });

  it('never mixes vendors, and mixes models only when no one model has enough', () => {
    const small = deviceRecord(1, { name: 'NVIDIA A100-PCIE-40GB', memoryTotalBytes: 40 * GIB });
    expect(bed([deviceRecord(0), ascendRecord(2)]).choose({ count: 2 })).toBeNull();
    expect(bed([deviceRecord(0), small, ascendRecord(2)]).choose({ count: 2 })).toEqual(['GPU-0', 'GPU-1']);
    expect(bed([deviceRecord(0), small, deviceRecord(3)]).choose({ count: 2 })).toEqual(['GPU-0', 'GPU-3']);
  });

  it('takes the least memory that fits; unknown memory never fits what asks for some', () => {
    const small = deviceRecord(1, { name: 'NVIDIA T4', memoryTotalBytes: 16 * GIB });
    const unknown = deviceRecord(2, { memoryTotalBytes: null });
    const { choose } = bed([deviceRecord(0), small, unknown]);
    expect(choose({})).toEqual(['GPU-1']);
    expect(choose({ memoryBytes: 16 * GIB })).toEqual(['GPU-1']);
    expect(choose({ memoryBytes: 16 * GIB + 1 })).toEqual(['GPU-0']);
    expect(choose({ memoryBytes: 81 * GIB })).toBeNull();
  });

  it('leaves out what is cordoned on the node or too ill for new jobs, until the cordon has run out', () => {
    const cordon = { by: 'alice', reason: 'fan', sinceMs: 0, untilMs: null };
    const records = [
      deviceRecord(0, { cordon }),
      faultyRecord(deviceRecord(1), 'noNewJobs'),
      deviceRecord(2, { cordon: { ...cordon, untilMs: NOW_MS } }),
      faultyRecord(deviceRecord(3), 'warn'),
    ];
    expect(bed(records).choose({ count: 2 })).toEqual(['GPU-2', 'GPU-3']);
    expect(bed(records).choose({ count: 3 })).toBeNull();
  });

  it('keeps linked devices together', () => {
    const { take } = bed([linked(0, 3), linked(1, 2), linked(2, 1), linked(3, 0)]);
    expect(take('job-a', { count: 2 })).toEqual(['GPU-0', 'GPU-3']);
    expect(take('job-b', { count: 2 })).toEqual(['GPU-1', 'GPU-2']);
  });

  it('breaks no pair for one device, and falls back to the NUMA node', () => {
    expect(bed([linked(0, 1), linked(1, 0), deviceRecord(2)]).choose({})).toEqual(['GPU-2']);
    const numa = (slot: number, numaNode: number) => deviceRecord(slot, { numaNode });
    expect(bed([numa(0, 0), numa(1, 1), numa(2, 0), numa(3, 1)]).choose({ count: 2 })).toEqual([
      'GPU-0',
      'GPU-2',
    ]);
  });

  it('does not count a link that is down', () => {
    const down = deviceRecord(0, { links: [{ kind: 'nvlink', peer: 'GPU-1', count: 18, up: false }] });
    expect(bed([down, deviceRecord(1), linked(2, 3), linked(3, 2)]).choose({ count: 2 })).toEqual([
      'GPU-2',
      'GPU-3',
    ]);
  });

  it('gives a device or its partitions, never both', () => {
    const records = [deviceRecord(0), partitionRecord(1, 0), partitionRecord(2, 0)];
    const first = bed(records);
    expect(first.take('job-a', { partition: '1G.10GB' })).toEqual(['MIG-1']);
    expect(first.choose({})).toBeNull();
    expect(first.take('job-b', { partition: 'any' })).toEqual(['MIG-2']);
    expect(first.choose({ partition: 'any' })).toBeNull();
    first.holds.release('job-a');
    expect(first.choose({})).toBeNull();
    first.holds.release('job-b');
    expect(first.take('job-c', {})).toEqual(['GPU-0']);
    expect(first.choose({ partition: 'any' })).toBeNull();
  });

  it('gives whole devices first that are not cut, and partitions of devices that are in use already', () => {
    const records = [
      deviceRecord(0),
      partitionRecord(1, 0),
      partitionRecord(2, 0),
      deviceRecord(3),
      partitionRecord(4, 3),
      deviceRecord(5),
    ];
    const { choose, take } = bed(records);
    expect(choose({})).toEqual(['GPU-5']);
    expect(take('job-a', { partition: '1g.10gb' })).toEqual(['MIG-1']);
    expect(take('job-b', { partition: '1g.10gb' })).toEqual(['MIG-2']);
    expect(take('job-c', { partition: '2g.20gb' })).toBeNull();
  });

  it('closes the partitions of a device that takes no jobs', () => {
    const records = [faultyRecord(deviceRecord(0), 'stopJobs'), partitionRecord(1, 0)];
    expect(bed(records).choose({ partition: 'any' })).toBeNull();
  });

  it('lets jobs share only when both asked for it, and only as far as the memory they asked for goes', () => {
    const { choose, take, holds } = bed([deviceRecord(0), deviceRecord(1)]);
    expect(take('job-a', { shared: true, memoryBytes: 50 * GIB })).toEqual(['GPU-0']);
    expect(choose({})).toEqual(['GPU-1']);
    expect(take('job-b', { shared: true, memoryBytes: 30 * GIB })).toEqual(['GPU-0']);
    expect(take('job-c', { shared: true, memoryBytes: 1 * GIB })).toEqual(['GPU-1']);
    expect(choose({})).toBeNull();
    holds.release('job-c');
    expect(take('job-d', {})).toEqual(['GPU-1']);
    expect(choose({ shared: true, memoryBytes: 1 * GIB })).toBeNull();
  });

  it('of 64 devices and 1024 partitions answers in no time', () => {
    const mesh = Array.from({ length: 64 }, (_, slot) =>
      linked(slot, ...[...Array(64).keys()].filter((n) => n !== slot)),
    );
    const slices = Array.from({ length: 1024 }, (_, n) => partitionRecord(100 + n, n % 64));
    const { choose } = bed([...mesh, ...slices]);
    const before = process.cpuUsage();
    expect(choose({ count: 32 })).toHaveLength(32);
    expect(choose({ count: 512, partition: 'any' })).toHaveLength(512);
    expect(process.cpuUsage(before).user).toBeLessThan(1500_000);
  });
});
