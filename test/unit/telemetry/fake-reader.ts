// The native reader's side of the border, played by the test: the same rules as native/reader.c.
import type { Native, NativeColumn, ReaderOptions } from '../../../src/native.ts';
import { windowHeader } from '../../../src/native.ts';
import { windowStatistics } from '../../../src/protocol/columns.ts';

export interface FakeReader {
  readonly native: Native;
  /** Gives the host other columns; a new generation. */
  setColumns(columns: readonly NativeColumn[]): void;
  /** What the next windows say of devices. */
  setDeviceRevision(revision: number): void;
  /** What the next windows say, per column; NaN is absent with reason `lost` (3). */
  readonly values: number[];
  readonly opened: ReaderOptions[];
  closed(): number;
  /** Windows that were written out. */
  taken(): number;
}

export function createFakeReader(first: readonly NativeColumn[], nowMs: () => number): FakeReader {
  let columns = first;
  let generation = 7;
  let told = -1;
  let taken = 0;
  let closed = 0;
  let deviceRevision = 0;
  let startMs = nowMs();
  const opened: ReaderOptions[] = [];
  const values: number[] = [];
  const missing = (): never => {
    throw new Error('not part of this test');
  };
  return {
    values,
    opened,
    closed: () => closed,
    taken: () => taken,
    setColumns(next) {
      columns = next;
      generation += 1;
    },
    setDeviceRevision(revision) {
      deviceRevision = revision;
    },
    native: {
      version: '0.0.0',
      openReader: (options) => void opened.push(options),
      readerColumns() {
        told = generation;
        return columns;
      },
      takeWindow(header, into, reasons) {
        header[windowHeader.generation] = generation;
        header[windowHeader.startNs] = startMs * 1e6;
        header[windowHeader.endNs] = nowMs() * 1e6;
        header[windowHeader.deviceRevision] = deviceRevision;
        const fits =
          told === generation &&
          into.length >= columns.length * windowStatistics &&
          reasons.length >= columns.length;
        if (!fits) return columns.length;
        taken += 1;
        header[windowHeader.sequence] = taken;
        header[windowHeader.ticks] = Math.round((nowMs() - startMs) / 100);
        header[windowHeader.busyNs] = 2e6;
        header[windowHeader.lateTicks] = 1;
        startMs = nowMs();
        columns.forEach((_, at) => {
          const value = values[at] ?? at;
          into.fill(value, at * windowStatistics, (at + 1) * windowStatistics);
          reasons[at] = Number.isNaN(value) ? 3 : 0;
        });
        return columns.length;
      },
      closeReader: () => {
        closed += 1;
      },
      readDevices: () => '{"revision":0,"vendors":[],"devices":[]}',
      takeDeviceEvents: () => '[]',
      watchDevices: () => {},
      notify: missing,
      spawn: missing,
      reap: missing,
      lockFile: missing,
      peerUser: missing,
      removeTree: missing,
      measureFlops: missing,
    },
  };
}
