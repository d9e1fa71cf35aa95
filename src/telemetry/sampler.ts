// The one clock of the numbers: opens the native reader, wakes once per window, takes the window into memory that
// is allocated once per list of columns, adds the slow columns and hands it on. It never waits for a device.
//
// INVARIANTS: a window is handed on at most once per `windowMs`, whatever the event loop did meanwhile; what it
// missed is in the next, longer one. The memory of a window is used again for the next: who keeps one copies it.
import type { Clock, Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { SlowDevice } from '../device/device.ts';
import type { Native } from '../native.ts';
import { windowHeader } from '../native.ts';
import type { Column, ColumnFamilyName, Window } from '../protocol/columns.ts';
import { absentReasons, columnFamilies, isColumnFamilyName, windowStatistics } from '../protocol/columns.ts';
import { createSlowRow } from './slow-row.ts';

/** The first window comes after this many ticks, so that a new agent has numbers at once. */
const FIRST_WINDOW_TICKS = 3;
const NO_VALUES = new Float64Array(0);
const NO_REASONS = new Uint8Array(0);
const REASON_UNSUPPORTED = absentReasons.indexOf('unsupported');
/** Most columns whose change of reason is named in one line of the log. */
const MAX_NAMED = 8;

export interface SamplerOptions {
  /** Null where the addon is missing: then the host's numbers are absent. */
  readonly native: Native | null;
  readonly clock: Clock;
  readonly procRoot: string;
  readonly sysRoot: string;
  /** Time between two ticks of the reader thread. */
  readonly periodMs: number;
  readonly windowMs: number;
  readonly slowDevices: readonly SlowDevice[];
  /** Vendors whose accelerators the native reader reads, and the kernel's log that it follows; none when absent. */
  readonly vendors?: readonly string[];
  readonly kernelLog?: string | null;
  /** Slot of a device by the native reader's number; the columns of a device without one are kept out meanwhile. */
  ownerOf?(deviceNumber: number): number | null;
  /** Called before a window that may show it: what the native reader knows of devices has changed. */
  onDevices?(revision: number): void;
  /** Called once per window, on the event loop; must not keep the window. */
  onWindow(window: Window): void;
  readonly log: Log;
}

/** What the reader thread has cost and missed since it was opened. */
export interface ReaderTotals {
  windows: number;
  busySeconds: number;
  lateTicks: number;
}

export interface Sampler {
  latest(): Window | null;
  /** When the latest window was taken, by the clock's monotonic time; null before the first. */
  lastWindowMonotonicMs(): number | null;
  totals(): Readonly<ReaderTotals>;
  /** Stops the clock and the reader thread. Idempotent. */
  close(): void;
}

/** Throws what the reader throws when it cannot be opened. */
export function createSampler(options: SamplerOptions): Sampler {
  const { native, clock, windowMs, periodMs, slowDevices, onWindow, log } = options;
  const totals: ReaderTotals = { windows: 0, busySeconds: 0, lateTicks: 0 };
  const header = new Float64Array(windowHeader.length);
  const slow = createSlowRow(slowDevices, clock, log);
  let generation = 1;
  let row = createRow(-1, native === null ? missingColumns() : [], slow.columns());
  let deviceRevision = 0;
  let latest: Window | null = null;
  let takenMs: number | null = null;
  let closed = false;

  native?.openReader({
    procRoot: options.procRoot,
    sysRoot: options.sysRoot,
    periodMs,
    ...(options.vendors === undefined ? {} : { vendors: options.vendors }),
    ...(options.kernelLog === undefined ? {} : { kernelLog: options.kernelLog }),
  });
  let startedMs = clock.monotonicMs();
  let sequence = 0;
  if (native !== null) adoptNativeColumns(native);

  const firstMs = Math.min(windowMs, FIRST_WINDOW_TICKS * periodMs);
  let dueMs = startedMs + firstMs;
  let timer: Timer = clock.after(firstMs, wake);

  function wake(): void {
    const nowMs = clock.monotonicMs();
    // Due times keep their grid; those that passed meanwhile are skipped.
    dueMs += windowMs;
    if (dueMs <= nowMs) dueMs = nowMs + windowMs;
    timer = clock.after(dueMs - nowMs, wake);
    take(nowMs);
  }

  /** Hot: every window. */
  function take(nowMs: number): void {
    if (row.slowColumns !== slow.columns() || row.waiting.some((number) => ownerOf(number) !== null))
      adopt(row.nativeGeneration, row.nativeColumns);
    if (native !== null) {
      // What was not taken stays in the reader: after new columns the same window is taken at the second attempt.
      if (!takeNative(native)) {
        tellDevices();
        adoptNativeColumns(native);
        if (!takeNative(native)) return;
      }
      tellDevices();
      moveUp(row);
      sequence = at(windowHeader.sequence);
      totals.busySeconds += at(windowHeader.busyNs) / 1e9;
      totals.lateTicks += at(windowHeader.lateTicks);
    } else sequence += 1;
    slow.writeInto(row.values, row.reasons, row.shown.length);
    logChanges(row, log);
    const durationMs =
      native === null ? nowMs - startedMs : (at(windowHeader.endNs) - at(windowHeader.startNs)) / 1e6;
    startedMs = nowMs;
    totals.windows += 1;
    takenMs = nowMs;
    latest = {
      generation,
      columns: row.columns,
      sequence,
      endMs: clock.wallMs(),
      durationMs,
      ticks: native === null ? 0 : at(windowHeader.ticks),
      values: row.values,
      reasons: row.reasons,
    };
    onWindow(latest);
  }

  function takeNative(reader: Native): boolean {
    const count = reader.takeWindow(header, row.memory, row.reasonMemory);
    return count === row.nativeColumns.length && at(windowHeader.generation) === row.nativeGeneration;
  }

  function at(index: number): number {
    return header[index] ?? 0;
  }

  /** Who owns the devices must be known before their columns are taken in. */
  function tellDevices(): void {
    const revision = at(windowHeader.deviceRevision);
    if (revision === deviceRevision) return;
    deviceRevision = revision;
    options.onDevices?.(revision);
  }

  function ownerOf(deviceNumber: number): number | null {
    return options.ownerOf?.(deviceNumber) ?? null;
  }

  /** Asks for the reader's present columns and makes room for them. */
  function adoptNativeColumns(reader: Native): void {
    reader.takeWindow(header, NO_VALUES, NO_REASONS);
    const columns = reader.readerColumns().map(({ family, label, device }) => {
      if (!isColumnFamilyName(family))
        throw new Error(`the native reader announces an unknown column ${family}`);
      return { family, label, device };
    });
    adopt(at(windowHeader.generation), columns);
  }

  function adopt(nativeGeneration: number, nativeColumns: readonly ReaderColumn[]): void {
    generation += 1;
    row = createRow(nativeGeneration, nativeColumns, slow.columns(), ownerOf);
    log.debug({ generation, columns: row.columns.length }, 'telemetry columns changed');
  }

  return {
    latest: () => latest,
    lastWindowMonotonicMs: () => takenMs,
    totals: () => totals,
    close() {
      if (closed) return;
      closed = true;
      timer.cancel();
      slow.close();
      native?.closeReader();
    },
  };
}

interface ReaderColumn {
  readonly family: ColumnFamilyName;
  readonly label: string | null;
  readonly device: number | null;
}

/**
 * Memory of the windows of one generation: native columns first, then slow ones. The reader writes all its columns;
 * those that are shown are then moved up over those that are not.
 */
interface Row {
  readonly nativeGeneration: number;
  readonly nativeColumns: readonly ReaderColumn[];
  /** Places among the native columns of those that are shown. */
  readonly shown: Int32Array;
  /** Numbers of the devices whose columns are kept out. */
  readonly waiting: readonly number[];
  readonly slowColumns: readonly Column[];
  readonly columns: readonly Column[];
  readonly memory: Float64Array;
  readonly reasonMemory: Uint8Array;
  /** The beginnings of the two, as long as `columns`. */
  readonly values: Float64Array;
  readonly reasons: Uint8Array;
  /** Reasons of the window before, to tell what changed. */
  readonly told: Uint8Array;
}

function createRow(
  nativeGeneration: number,
  nativeColumns: readonly ReaderColumn[],
  slowColumns: readonly Column[],
  ownerOf: (deviceNumber: number) => number | null = () => null,
): Row {
  const waiting = new Set<number>();
  const shown: number[] = [];
  const native = nativeColumns.flatMap(({ family, label, device }, place): Column[] => {
    const owner = device === null ? 'host' : ownerOf(device);
    if (owner === null) {
      if (device !== null) waiting.add(device);
      return [];
    }
    shown.push(place);
    return [{ family, owner, label }];
  });
  const columns = [...native, ...slowColumns];
  const most = nativeColumns.length + slowColumns.length;
  const memory = new Float64Array(most * windowStatistics).fill(Number.NaN);
  const reasonMemory = new Uint8Array(most).fill(REASON_UNSUPPORTED);
  return {
    nativeGeneration,
    nativeColumns,
    shown: Int32Array.from(shown),
    waiting: [...waiting],
    slowColumns,
    columns,
    memory,
    reasonMemory,
    values: memory.subarray(0, columns.length * windowStatistics),
    reasons: reasonMemory.subarray(0, columns.length),
    told: new Uint8Array(columns.length),
  };
}

/** Hot: every window, but nothing to do while every device has its slot. */
function moveUp({ waiting, shown, memory, reasonMemory }: Row): void {
  if (waiting.length === 0) return;
  for (let to = 0; to < shown.length; to += 1) {
    const from = shown[to] ?? to;
    if (from === to) continue;
    memory.copyWithin(to * windowStatistics, from * windowStatistics, (from + 1) * windowStatistics);
    reasonMemory[to] = reasonMemory[from] ?? 0;
  }
}

/** Without the addon the host's families appear once each, absent, so that whoever shows them can say why. */
function missingColumns(): ReaderColumn[] {
  return Object.entries(columnFamilies)
    .filter(([name, family]) => family.label === null && !name.startsWith('accelerator.'))
    .map(([family]) => ({ family: family as ColumnFamilyName, label: null, device: null }));
}

/** An absent value is told when its reason changes, not in every window. */
function logChanges({ columns, reasons, told }: Row, log: Log): void {
  let changed: string[] | null = null;
  for (let column = 0; column < reasons.length; column += 1) {
    if (reasons[column] === told[column]) continue;
    told[column] = reasons[column] ?? 0;
    const { family, label } = columns[column] ?? { family: '', label: null };
    changed ??= [];
    changed.push(`${family}${label === null ? '' : `{${label}}`} ${absentReasons[reasons[column] ?? 0]}`);
  }
  if (changed === null) return;
  log.info(
    { columns: changed.slice(0, MAX_NAMED), more: Math.max(0, changed.length - MAX_NAMED) },
    'telemetry columns came or went',
  );
}
