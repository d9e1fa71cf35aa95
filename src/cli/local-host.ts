// This host's own numbers, read in this process without agent or scheduler: for `devices` and `top`.
import { createSilentLog } from '../base/log.ts';
import type { DeviceBackend } from '../config/value.ts';
import { createSlowDevices } from '../device/catalogue.ts';
import { loadNative, nativePaths } from '../native.ts';
import type { HostView } from '../protocol/api.ts';
import type { Window } from '../protocol/columns.ts';
import { hostView } from '../protocol/host.ts';
import { createSampler } from '../telemetry/sampler.ts';
import type { Context } from './context.ts';
import { PROC_ROOT, SYS_ROOT } from './host-root.ts';
import { createUnreadDevices, type LocalDevices, readLocalDevices } from './local-devices.ts';

const PERIOD_MS = 100;

export interface LocalHostOptions {
  readonly stateDir: string;
  readonly windowMs: number;
  /** How accelerators are read. */
  readonly backend: DeviceBackend;
  /** Accelerators to make up instead of reading those of the host; null for none. */
  readonly simulate: string | null;
}

export interface LocalHost {
  /** Why there are no native numbers, with the remedy, or null. */
  readonly problem: string | null;
  /** Resolves with the next window's view. */
  next(): Promise<HostView>;
  /** The accelerators as of the last window, once every vendor has been asked. */
  readDevices(): Promise<LocalDevices>;
  close(): void;
}

/** Opens the reader with windows of `windowMs`; the first comes after about 300 ms. */
export function openLocalHost(context: Context, { stateDir, windowMs }: LocalHostOptions): LocalHost {
  const { native, problem } = loadNative(nativePaths(context.root).addon);
  let waiting: ((view: HostView) => void)[] = [];
  let last: Window | null = null;
  const roots = { procRoot: PROC_ROOT, sysRoot: SYS_ROOT };
  const devices = createUnreadDevices(context.environment);
  const sampler = createSampler({
    native,
    clock: context.clock,
    ...roots,
    periodMs: PERIOD_MS,
    windowMs,
    slowDevices: createSlowDevices({ stateDir, clock: context.clock, ...roots }),
    onWindow(window) {
      last = window;
      const view = hostView(window);
      const woken = waiting;
      waiting = [];
      for (const wake of woken) wake(view);
    },
    log: createSilentLog(),
  });
  // The sampler's timers do not keep the process alive; a command that waits for them must.
  const alive = setInterval(() => {}, 2 ** 30);
  return {
    problem,
    next: () => new Promise((resolve) => waiting.push(resolve)),
    async readDevices() {
      await devices.ready();
      return readLocalDevices(devices, last, context.clock.wallMs());
    },
    close() {
      clearInterval(alive);
      devices.close();
      sampler.close();
    },
  };
}
