// The list of devices that are read at a slow pace, outside the native tick. To add one: its file, and a line here.
import type { Clock } from '../base/clock.ts';
import type { SlowDevice } from './device.ts';
import { createStorage } from './storage.ts';

export interface SlowDeviceOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly procRoot: string;
  readonly sysRoot: string;
}

export function createSlowDevices(options: SlowDeviceOptions): SlowDevice[] {
  return [createStorage(options)];
}
