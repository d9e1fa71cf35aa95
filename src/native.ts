// The border to C: the only file that loads the addon, and the declaration of every function in it, in the order
// of native/addon.cc. Memory is handed in by the caller, filled by C and never kept; absent is null or NaN with a
// reason code (protocol/columns.ts). C checks arguments, TypeScript checks meaning.
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** A column as the reader announces it: family name (protocol/columns.ts) and the value of its label. */
export interface NativeColumn {
  readonly family: string;
  readonly label: string | null;
  /** Number of the device (`NativeDevice.number`) that the column belongs to; null for the host's. */
  readonly device: number | null;
}

export interface ReaderOptions {
  /** Roots of the pseudo file systems, `/proc` and `/sys`; tests pass copies. */
  readonly procRoot: string;
  readonly sysRoot: string;
  /** Time between two ticks of the reader thread, 10 to 10 000 ms. */
  readonly periodMs: number;
  /** Vendors whose libraries are looked for, by their names in native/vendor/catalogue.c; absent: none. */
  readonly vendors?: readonly string[];
  /** File that kernel messages are read from (`/dev/kmsg`, or a FIFO or file in tests); absent or null: none. */
  readonly kernelLog?: string | null;
}

/** Header that `takeWindow` writes: see the indexes. Times are CLOCK_MONOTONIC in ns. */
export const windowHeader = {
  generation: 0,
  sequence: 1,
  ticks: 2,
  startNs: 3,
  endNs: 4,
  busyNs: 5,
  lateTicks: 6,
  /** Grows whenever what `readDevices` answers has changed. */
  deviceRevision: 7,
  length: 8,
} as const;

export interface Native {
  /** Version of the addon, equal to the package's. */
  readonly version: string;

  /** Opens the host and starts the reader thread; at most one per process. Throws when already open. */
  openReader(options: ReaderOptions): void;
  /** Columns of the present generation. Copies; call it once per generation. */
  readerColumns(): readonly NativeColumn[];
  /**
   * Ends the current window and starts the next. Fills `header` (windowHeader), `values` (columns × 4 statistics)
   * and `reasons` (one per column). Returns the number of columns; when that is larger than the memory handed in
   * allows, or `header[generation]` is not the one the caller knows, call readerColumns and keep the next window:
   * nothing has been written to `values`. Takes under 50 µs and never waits for the reader to finish a tick.
   */
  takeWindow(header: Float64Array, values: Float64Array, reasons: Uint8Array): number;
  /** Stops the thread and closes its descriptors. */
  closeReader(): void;

  /**
   * What the vendor threads know, as JSON text (NativeDevices below). Copies; takes no vendor call and never waits for
   * one. `{"revision":0,"vendors":[],"devices":[]}` when no reader is open.
   */
  readDevices(): string;
  /**
   * Events since the last call as JSON text: an array of NativeEvent, at most 256 kinds of (device, kind, code), each
   * with its count. Empties the store.
   */
  takeDeviceEvents(): string;
  /**
   * Calls `wake` on the event loop soon after an event came, or a device was lost or came back, once until the next
   * `takeDeviceEvents`; null ends that. Does not keep the process alive.
   */
  watchDevices(wake: (() => void) | null): void;

  /** Sends one datagram to $NOTIFY_SOCKET; false where there is none or it failed. Never blocks. */
  notify(state: string): boolean;
  /**
   * Starts a program without copying this process (CLONE_VM), in a session of its own, with /dev/null as standard
   * streams, default signal dispositions, an empty signal mask and no other descriptors. Returns its pid or the
   * negative errno. The reader thread, or `reap`, collects its end.
   */
  spawn(path: string, argv: readonly string[], environment: readonly string[]): number;
  /** Collects ended children of `spawn` that nobody has waited for; returns how many are still running. */
  reap(): number;
  /** Takes an exclusive lock on the file (created 0600); returns its descriptor, or -1 when another holds it. */
  lockFile(path: string): number;
  /**
   * User id of the process that connected to this end of a Unix socket, as the kernel noted it then; the negative errno
   * for a descriptor that is none.
   */
  peerUser(fd: number): number;
  /**
   * Removes a folder with all that is in it, off the JavaScript thread. Follows no link, stays on its file system, and
   * needs few descriptors however deep it is. A missing one is removed already. Rejects with the errno name as `code`.
   */
  removeTree(path: string): Promise<void>;
  /**
   * Runs the floating-point kernel on `threads` threads for `durationMs`, off the JavaScript thread.
   * Resolves to FLOP/s summed over the threads and the instruction set that was used (`avx512`, `avx2`, `neon`, `generic`).
   */
  measureFlops(
    precision: 'fp64' | 'fp32',
    threads: number,
    durationMs: number,
  ): Promise<{ flops: number; isa: string }>;
}

/** What `readDevices` answers. Strings are UTF-8 with invalid bytes replaced; numbers in base units. */
export interface NativeDevices {
  readonly revision: number;
  readonly vendors: readonly NativeVendor[];
  readonly devices: readonly NativeDevice[];
}

export interface NativeVendor {
  readonly name: string;
  /**
   * `opening`: not yet known · `missing`: no library here · `open`: read through it · `failed`: it is there but cannot
   * be used at present (`problem` says why; tried again by itself)
   */
  readonly state: 'opening' | 'missing' | 'open' | 'failed';
  readonly problem: string | null;
  readonly driverVersion: string | null;
  /** The library that was opened. */
  readonly library: string | null;
}

export interface NativeDevice {
  /** Given once per id in this process. */
  readonly number: number;
  readonly vendor: string;
  readonly index: number;
  readonly id: string;
  /** Number of the device that this partition is cut from, or null. */
  readonly parent: number | null;
  readonly profile: string | null;
  readonly name: string | null;
  readonly busId: string | null;
  readonly serial: string | null;
  readonly firmwareVersion: string | null;
  readonly numaNode: number | null;
  readonly nodeNumber: number | null;
  readonly computeCapability: string | null;
  readonly lanes: number | null;
  readonly units: number | null;
  readonly maxClockHertz: number | null;
  /** The pipe counters work: `pipeActiveRatio` is measured. */
  readonly hasPipes: boolean;
  readonly processes: readonly { pid: number; memoryBytes: number | null; name: string | null }[];
  /** Why there is no list of processes, as a reason (protocol/columns.ts), or null. */
  readonly processesAbsent: string | null;
  readonly links: readonly { kind: string; peer: string | null; count: number; up: boolean | null }[];
  /** Raw health signals by the names of native/vendor/vendor.h; only those that could be read. */
  readonly signals: Readonly<Record<string, number>>;
  /** The vendor's error codes that stand now. */
  readonly codes: readonly number[];
  /** Why the whole device cannot be read now, as a reason, or null; and in words. */
  readonly absent: string | null;
  readonly problem: string | null;
}

export interface NativeEvent {
  /** Number of the device; null where the kernel names one that is not known, then `busId` says which. */
  readonly number: number | null;
  readonly busId: string | null;
  readonly kind: 'xid' | 'ecc' | 'fault' | 'lost' | 'returned';
  readonly code: number;
  readonly count: number;
  readonly detail: string | null;
}

export interface NativeLoad {
  readonly native: Native | null;
  /** Why it is missing, in words with the remedy; null when it loaded. */
  readonly problem: string | null;
}

/** Paths of what `npm ci` builds below the package's root. */
export interface NativePaths {
  readonly addon: string;
  readonly shim: string;
  /** The first process of a container job. */
  readonly contained: string;
  readonly matmul: string;
}

export function nativePaths(root: string): NativePaths {
  const build = join(root, 'native', 'build');
  return {
    addon: join(build, 'flopd.node'),
    shim: join(build, 'flopd-shim'),
    contained: join(build, 'flopd-contained'),
    matmul: join(build, 'flopd-matmul'),
  };
}

/** Loads the addon; a missing or broken one is an answer, not an error. */
export function loadNative(path: string): NativeLoad {
  try {
    return { native: createRequire(import.meta.url)(path) as Native, problem: null };
  } catch (error) {
    const detail = error instanceof Error ? error.message.split('\n')[0] : String(error);
    return {
      native: null,
      problem: `native addon missing (${detail}); host numbers are absent: install g++ and run "npm run build"`,
    };
  }
}
