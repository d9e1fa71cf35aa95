import { describe, expect, test } from 'vitest';
import { createGrantRules } from '../../../src/device/told-grant.ts';
import type { ToldDevice } from '../../../src/runner/protocol.ts';
import { createToldDevices } from '../../../src/runner/told-devices.ts';

const device = (change: Partial<ToldDevice> = {}): ToldDevice => ({
  slot: 0,
  parentSlot: null,
  vendor: 'nvidia',
  index: 0,
  id: 'GPU-1',
  parentId: null,
  nodeNumber: 0,
  rung: 'ok',
  faults: [],
  cordon: null,
  ...change,
});

describe('devices that an agent tells', () => {
  test('are granted by the rules of their vendor', () => {
    const devices = createToldDevices(createGrantRules(), () => 'device');
    devices.tell(['nvidia', 'amd'], [device(), device({ slot: 1, index: 1, id: 'GPU-2', nodeNumber: 3 })]);
    const granted = devices.grant(['GPU-2']);
    expect(granted.environment).toMatchObject({ CUDA_VISIBLE_DEVICES: 'GPU-2', ROCR_VISIBLE_DEVICES: '-1' });
    expect(granted.deviceNodes).toContain('/dev/nvidia3');
    expect(granted.deviceNodes).not.toContain('/dev/nvidia0');
    expect(() => devices.grant(['GPU-3'])).toThrow(/no accelerator/);
  });

  test('hide every vendor from jobs until there is an agent that says which are here', () => {
    const { environment } = createToldDevices(createGrantRules(), () => 'device').grant([]);
    expect(environment).toMatchObject({
      HIP_VISIBLE_DEVICES: '-1',
      ASCEND_RT_VISIBLE_DEVICES: '-1',
    });
  });

  test('are refused where no host can have them', () => {
    const devices = createToldDevices(createGrantRules(), () => 'device');
    for (const [vendors, list] of [
      [['mem'], []],
      [['nvidia'], [device({ vendor: 'mem' })]],
      [['nvidia'], [device(), device({ slot: 1, nodeNumber: 1 })]],
      [['nvidia'], [device(), device({ slot: 1, id: 'GPU-2' })]],
    ] as const)
      expect(() => devices.tell(vendors, list)).toThrow(expect.objectContaining({ code: 'RUNNER_DEVICES' }));
  });

  test('whose node is no device of root are not granted', () => {
    const devices = createToldDevices(createGrantRules(), (path) =>
      path === '/dev/nvidia0' ? 'other' : 'missing',
    );
    devices.tell(['nvidia'], [device(), device({ slot: 1, index: 1, id: 'GPU-2', nodeNumber: 1 })]);
    expect(() => devices.grant(['GPU-1'])).toThrow(expect.objectContaining({ code: 'DEVICE_NODE' }));
    expect(devices.grant(['GPU-2']).deviceNodes).toContain('/dev/nvidia1');
  });
});
