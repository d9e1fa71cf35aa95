// This host's own numbers, read in this process without agent or scheduler: for `devices` and `top`.
import { createSilentLog } from '../base/log.ts';
import type { DeviceBackend } from '../config/value.ts';
import { openAccelerators } from '../device/accelerators.ts';
import { createSlowDevices } from '../device/catalogue.ts';
import { rateDevice } from '../device/rating.ts';
import { loadNative, nativePaths } from '../native.ts';
import type { HostView } from '../protocol/api.ts';
import type { Window } from '../protocol/columns.ts';
import { hostView } from '../protocol/host.ts';
import { createSampler } from '../telemetry/sampler.ts';
import type { Context } from './context.ts';
import { PROC_ROOT, SYS_ROOT } from './host-root.ts';
import { hasNumbers, type LocalDevices, readLocalDevices } from './local-devices.ts';

const PERIOD_MS = 100;
const TOOL_PERIOD_MS = 5000;
/** A tool has ten seconds for its first answer, see device/tool-source.ts. */
const SETTLE_MS = 11_000;
const NUMBERS_MS = 3000;

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
  /** The accelerators as of the last window; call it after `next`. */
  readDevices(): Promise<LocalDevices>;
  close(): void;
}

/** Opens the reader with windows of `windowMs`; the first comes after about 300 ms. Throws CONFIG_SIMULATE. */
export function openLocalHost(
  context: Context,
  { stateDir, windowMs, backend, simulate }: LocalHostOptions,
): LocalHost {
  const { native, problem } = loadNative(nativePaths(context.root).addon);
  const { clock, environment, root } = context;
  let waiting: ((window: Window) => void)[] = [];
  let last: Window | null = null;
  const roots = { procRoot: PROC_ROOT, sysRoot: SYS_ROOT };
  const { bank } = openAccelerators({
    native,
    root,
    backend,
    simulate,
    seed: '',
    toolPeriodMs: TOOL_PERIOD_MS,
    retestMs: 0,
    bootId: '',
    saved: null,
    rate: rateDevice(() => null),
    held: () => new Set(),
    environment,
    clock,
    log: createSilentLog(),
    onChange() {},
    onFailed() {},
  });
  const sampler = createSampler({
    native,
    clock,
    ...roots,
    periodMs: PERIOD_MS,
    windowMs,
    slowDevices: [...createSlowDevices({ stateDir, clock, ...roots }), ...bank.slowDevices],
    vendors: bank.nativeVendors,
    ownerOf: (number) => bank.ownerOf(number),
    onDevices: () => bank.refresh(),
    onWindow(window) {
      bank.window(window);
      last = window;
      const woken = waiting;
      waiting = [];
      for (const wake of woken) wake(window);
    },
    log: createSilentLog(),
  });
  const nextWindow = (): Promise<Window> => new Promise((resolve) => waiting.push(resolve));
  // The sampler's timers do not keep the process alive; a command that waits for them must.
  const alive = setInterval(() => {}, 2 ** 30);
  let isReady = false;
  return {
    problem,
    async next() {
      if (!isReady) {
        await bank.settled(SETTLE_MS);
        const endMs = clock.monotonicMs() + NUMBERS_MS;
        while (!hasNumbers(bank, await nextWindow()) && clock.monotonicMs() < endMs) {
          // The next window may have them.
        }
        isReady = true;
        if (last !== null) return hostView(last);
      }
      return hostView(await nextWindow());
    },
    async readDevices() {
      return readLocalDevices(bank, last, clock.wallMs());
    },
    close() {
      clearInterval(alive);
      sampler.close();
      bank.close();
    },
  };
}
