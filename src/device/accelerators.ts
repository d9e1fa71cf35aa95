// All of a host's accelerators, put together as the configuration asks: for the agent, and for commands that read the
// host without one.
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Native } from '../native.ts';
import type { DeviceFault, DeviceRecord } from '../protocol/device.ts';
import { type BackendChoice, type Bank, createBank } from './bank.ts';
import type { Rate } from './census.ts';
import { createLadder, type Ladder, type LadderState } from './health.ts';
import { createSimulated, parseSimulated } from './simulated.ts';
import { createVendors } from './vendors.ts';

export interface AcceleratorsOptions {
  readonly native: Native | null;
  /** Folder of package.json. */
  readonly root: string;
  readonly backend: BackendChoice;
  readonly toolPeriodMs: number;
  readonly retestMs: number;
  /** Accelerators to make up instead of reading those of the host; null for none. */
  readonly simulate: string | null;
  /** Keeps the made-up devices of two hosts apart. */
  readonly seed: string;
  readonly bootId: string;
  readonly saved: LadderState | null;
  readonly rate: Rate;
  readonly held: () => ReadonlySet<string>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  onChange(records: readonly DeviceRecord[]): void;
  onFailed(id: string, fault: DeviceFault): void;
}

/** Throws CONFIG_SIMULATE for a fleet that cannot be made up. */
export function openAccelerators(options: AcceleratorsOptions): { bank: Bank; ladder: Ladder } {
  const { simulate, clock, root, seed } = options;
  const ladder = createLadder(options);
  const simulated = simulate === null ? null : createSimulated(parseSimulated(simulate), clock, seed);
  const bank = createBank({
    ...options,
    vendors: createVendors(),
    simulated,
    ladder,
    scriptFolder: join(root, 'dist'),
  });
  return { bank, ladder };
}
