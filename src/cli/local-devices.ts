// This host's accelerators without agent or scheduler, for `devices`, `top` and `doctor`: what they are told comes
// from a source that `local-host.ts` opens. Here: the contract, and the source of a build that has none.
import type { Environment } from '../config/keys.ts';
import type { Window } from '../protocol/columns.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import { type DeviceView, deviceViews } from '../protocol/device-view.ts';
import type { Backends } from '../protocol/devices-document.ts';
import { findVendorTools, vendorTools } from './vendor-tool.ts';

/** Where records come from (device/bank.ts); their numbers stand in the windows of the same sampler. */
export interface DeviceSource {
  /** Resolves when every vendor has been asked once, or its deadline has passed. */
  ready(): Promise<void>;
  records(): readonly DeviceRecord[];
  /** One sentence for each vendor that is here (its tool, its library) and cannot be read at all. */
  problems(): readonly string[];
  /** Every known vendor, and how it is read. */
  backends(): Backends;
  close(): void;
}

export interface LocalDevices {
  readonly views: readonly DeviceView[];
  readonly problems: readonly string[];
  readonly backends: Backends;
}

export function readLocalDevices(source: DeviceSource, window: Window | null, nowMs: number): LocalDevices {
  return {
    views: deviceViews(source.records(), window, nowMs),
    problems: source.problems(),
    backends: source.backends(),
  };
}

/** Finds nothing, and says of each vendor whose tool is here that nobody reads it. */
export function createUnreadDevices(environment: Environment): DeviceSource {
  const found = [...findVendorTools(environment)];
  return {
    ready: () => Promise.resolve(),
    records: () => [],
    problems: () =>
      found.map(([vendor, path]) => `${vendor}: ${path} is here, but nothing reads it in this build`),
    backends: () => Object.fromEntries(Object.keys(vendorTools).map((vendor) => [vendor, null])),
    close() {},
  };
}
