// Every measured column family: what a number means, its unit, and how finely it travels. The native reader, the
// frame codec, the exporter and the dashboard all take names and units from this one list; a house test holds the
// reader to it. A column is a family plus the value of its one label, if it has one: `disk.readBytesTotal{vda}`.
//
// gauge:   a window carries minimum, time-weighted mean, maximum and last value.
// counter: only grows; a window carries the last value, exactly. A decrease means that the source started over.
// resolution: the step in which the value travels and is shown; readers need not round.

export type ColumnKind = 'gauge' | 'counter';
// biome-ignore format: one line of units
export type ColumnUnit =
  | 'ratio' | 'seconds' | 'bytes' | 'bytesPerSecond' | 'count' | 'hertz' | 'watts' | 'joules' | 'celsius' | 'volts' | 'rpm'
  | 'flops';

export interface ColumnFamily {
  readonly unit: ColumnUnit;
  readonly kind: ColumnKind;
  readonly resolution: number;
  /** Name of the one label that tells the columns of a family apart, or null where there is one column. */
  readonly label: string | null;
  readonly help: string;
}

const ratio = { unit: 'ratio', kind: 'gauge', resolution: 0.0001 } as const;
const bytes = { unit: 'bytes', kind: 'gauge', resolution: 1024 } as const;
const bytesTotal = { unit: 'bytes', kind: 'counter', resolution: 1 } as const;
const countTotal = { unit: 'count', kind: 'counter', resolution: 1 } as const;
const hertz = { unit: 'hertz', kind: 'gauge', resolution: 1e6 } as const;
const celsius = { unit: 'celsius', kind: 'gauge', resolution: 0.1 } as const;
const flops = { unit: 'flops', kind: 'gauge', resolution: 1e6 } as const;
const secondsTotal = { unit: 'seconds', kind: 'counter', resolution: 0.000001 } as const;

// biome-ignore format: a table, one family a line
export const columnFamilies = {
  'cpu.busyRatio': { ...ratio, label: null, help: 'Share of CPU time not idle and not waiting for I/O, over all cores' },
  'cpu.coreBusyRatio': { ...ratio, label: 'core', help: 'Share of CPU time not idle and not waiting for I/O, per core' },
  'cpu.secondsTotal': { ...secondsTotal, resolution: 0.01, label: 'mode', help: 'CPU time per mode since boot, over all cores' },
  'cpu.load1': { unit: 'count', kind: 'gauge', resolution: 0.01, label: null, help: 'Load average over 1 minute' },
  'cpu.load5': { unit: 'count', kind: 'gauge', resolution: 0.01, label: null, help: 'Load average over 5 minutes' },
  'cpu.load15': { unit: 'count', kind: 'gauge', resolution: 0.01, label: null, help: 'Load average over 15 minutes' },
  'cpu.runnableTasks': { unit: 'count', kind: 'gauge', resolution: 1, label: null, help: 'Tasks that run or could run' },
  'cpu.blockedTasks': { unit: 'count', kind: 'gauge', resolution: 1, label: null, help: 'Tasks that wait for I/O' },
  'cpu.contextSwitchesTotal': { ...countTotal, label: null, help: 'Context switches since boot' },
  'cpu.clockHertz': { unit: 'hertz', kind: 'gauge', resolution: 1e6, label: null, help: 'Mean present clock of all cores' },
  'memory.totalBytes': { ...bytes, label: null, help: 'Physical memory' },
  'memory.usedBytes': { ...bytes, label: null, help: 'Physical memory that is not available to a new job (total less available)' },
  'memory.availableBytes': { ...bytes, label: null, help: 'Estimate of memory available to a new job without swapping' },
  'memory.freeBytes': { ...bytes, label: null, help: 'Unused physical memory' },
  'memory.cachedBytes': { ...bytes, label: null, help: 'Page cache' },
  'memory.buffersBytes': { ...bytes, label: null, help: 'Buffers of block devices' },
  'memory.swapTotalBytes': { ...bytes, label: null, help: 'Swap space' },
  'memory.swapFreeBytes': { ...bytes, label: null, help: 'Unused swap space' },
  'pressure.waitingSecondsTotal': { ...secondsTotal, label: 'resource', help: 'Time in which at least one task waited for the resource' },
  'pressure.stalledSecondsTotal': { ...secondsTotal, label: 'resource', help: 'Time in which no task could work for want of the resource' },
  'disk.readBytesTotal': { ...bytesTotal, label: 'disk', help: 'Bytes read' },
  'disk.writtenBytesTotal': { ...bytesTotal, label: 'disk', help: 'Bytes written' },
  'disk.readsTotal': { ...countTotal, label: 'disk', help: 'Reads completed' },
  'disk.writesTotal': { ...countTotal, label: 'disk', help: 'Writes completed' },
  'disk.busySecondsTotal': { ...secondsTotal, resolution: 0.001, label: 'disk', help: 'Time in which the disk had requests' },
  'network.receiveBytesTotal': { ...bytesTotal, label: 'interface', help: 'Bytes received' },
  'network.transmitBytesTotal': { ...bytesTotal, label: 'interface', help: 'Bytes sent' },
  'network.receivePacketsTotal': { ...countTotal, label: 'interface', help: 'Packets received' },
  'network.transmitPacketsTotal': { ...countTotal, label: 'interface', help: 'Packets sent' },
  'network.receiveErrorsTotal': { ...countTotal, label: 'interface', help: 'Receive errors' },
  'network.transmitErrorsTotal': { ...countTotal, label: 'interface', help: 'Transmit errors' },
  'network.receiveDropsTotal': { ...countTotal, label: 'interface', help: 'Received packets dropped' },
  'network.transmitDropsTotal': { ...countTotal, label: 'interface', help: 'Outgoing packets dropped' },
  'network.speedBytesPerSecond': { unit: 'bytesPerSecond', kind: 'gauge', resolution: 1, label: 'interface', help: 'Nominal link rate' },
  'storage.totalBytes': { ...bytes, label: 'mount', help: 'Size of the file system' },
  'storage.freeBytes': { ...bytes, label: 'mount', help: 'Space of the file system that is free to unprivileged users' },
  'sensor.temperatureCelsius': { unit: 'celsius', kind: 'gauge', resolution: 0.1, label: 'sensor', help: 'Temperature of a hardware monitor' },
  'sensor.fanRpm': { unit: 'rpm', kind: 'gauge', resolution: 1, label: 'sensor', help: 'Fan speed of a hardware monitor' },
  'power.watts': { unit: 'watts', kind: 'gauge', resolution: 0.1, label: 'source', help: 'Electrical power of a host part' },
  'power.energyJoulesTotal': { unit: 'joules', kind: 'counter', resolution: 0.001, label: 'source', help: 'Energy used by a host part since the agent first read it' },
  'cgroup.memoryLimitBytes': { ...bytes, label: null, help: 'Memory limit of the cgroup that the agent runs in' },
  'cgroup.memoryUsedBytes': { ...bytes, label: null, help: 'Memory use of the cgroup that the agent runs in' },
  'cgroup.cpuLimitCores': { unit: 'count', kind: 'gauge', resolution: 0.01, label: null, help: 'CPU quota of the cgroup that the agent runs in, in cores' },
  'cgroup.throttledSecondsTotal': { ...secondsTotal, label: null, help: 'Time in which the CPU quota held the cgroup of the agent back' },
  // Of accelerators: their owner is the slot of a device (protocol/device.ts). Raw ones are read, the last five derived.
  'accelerator.busyRatio': { ...ratio, label: null, help: "Share of time in which the device worked, as its vendor defines it; not a measure of FLOPS" },
  'accelerator.memoryBusyRatio': { ...ratio, label: null, help: 'Share of time, or of bandwidth, in which device memory was read or written' },
  'accelerator.engineBusyRatio': { ...ratio, label: 'engine', help: 'Share of time in which one engine of the device worked' },
  'accelerator.pipeActiveRatio': { ...ratio, label: 'pipe', help: 'Share of peak cycles in which a pipe was active, by hardware counters' },
  'accelerator.memoryTotalBytes': { ...bytes, label: null, help: 'Device memory' },
  'accelerator.memoryUsedBytes': { ...bytes, label: null, help: 'Device memory in use' },
  'accelerator.powerWatts': { unit: 'watts', kind: 'gauge', resolution: 0.01, label: null, help: 'Electrical power of the device' },
  'accelerator.powerLimitWatts': { unit: 'watts', kind: 'gauge', resolution: 0.01, label: null, help: 'Power limit in force' },
  'accelerator.energyCounterJoules': { unit: 'joules', kind: 'counter', resolution: 0.001, label: null, help: "The device's own energy counter, as it stands" },
  'accelerator.temperatureCelsius': { ...celsius, label: null, help: 'Temperature of the chip' },
  'accelerator.memoryTemperatureCelsius': { ...celsius, label: null, help: 'Temperature of the device memory' },
  'accelerator.clockHertz': { ...hertz, label: null, help: 'Present clock of the compute units' },
  'accelerator.memoryClockHertz': { ...hertz, label: null, help: 'Present clock of the device memory' },
  'accelerator.fanRatio': { ...ratio, label: null, help: 'Fan speed as a share of the highest' },
  'accelerator.eccCorrectedTotal': { ...countTotal, label: null, help: 'Memory errors corrected, over the life of the device' },
  'accelerator.eccUncorrectedTotal': { ...countTotal, label: null, help: 'Memory errors not corrected, over the life of the device' },
  'accelerator.throttledRatio': { ...ratio, label: 'reason', help: 'Share of time in which the clock was held back for this reason' },
  'accelerator.pcieReplaysTotal': { ...countTotal, label: null, help: 'PCIe packets sent again' },
  'accelerator.pcieReceiveBytesPerSecond': { unit: 'bytesPerSecond', kind: 'gauge', resolution: 1024, label: null, help: 'Bytes received over PCIe' },
  'accelerator.pcieTransmitBytesPerSecond': { unit: 'bytesPerSecond', kind: 'gauge', resolution: 1024, label: null, help: 'Bytes sent over PCIe' },
  'accelerator.linkReceiveBytesTotal': { ...bytesTotal, label: null, help: 'Bytes received over links between devices' },
  'accelerator.linkTransmitBytesTotal': { ...bytesTotal, label: null, help: 'Bytes sent over links between devices' },
  'accelerator.energyJoulesTotal': { unit: 'joules', kind: 'counter', resolution: 0.001, label: null, help: 'Energy used since the agent first saw the device' },
  'accelerator.energyMeasuredRatio': { ...ratio, label: null, help: 'Share of the time since then that the energy was measured for' },
  'accelerator.availableRatio': { ...ratio, label: null, help: 'Share of the peak that the device offers now, after clock limits, faults and cordons' },
  'accelerator.achievedFlops': { ...flops, label: null, help: 'Floating-point operations per second done now, by the method of the device' },
  'accelerator.achievedLowFlops': { ...flops, label: null, help: 'Lower end of the error band of the achieved rate' },
  'accelerator.achievedHighFlops': { ...flops, label: null, help: 'Upper end of the error band of the achieved rate' },
} as const satisfies Record<string, ColumnFamily>;

export type ColumnFamilyName = keyof typeof columnFamilies;

export function isColumnFamilyName(name: string): name is ColumnFamilyName {
  return Object.hasOwn(columnFamilies, name);
}

/** Why a value is absent. The numbers travel on the wire and cross the native border: never renumber. */
export const absentReasons = ['present', 'unsupported', 'denied', 'lost', 'late', 'error', 'notYet'] as const;
export type AbsentReason = (typeof absentReasons)[number];

/** What a column belongs to: the host itself, or the slot of an accelerator (protocol/device.ts). */
export type ColumnOwner = 'host' | number;

export interface Column {
  readonly family: ColumnFamilyName;
  readonly owner: ColumnOwner;
  /** Value of the family's label, or null where the family has none. */
  readonly label: string | null;
}

/** Places of a column's statistics in a window's `values`: `values[column * windowStatistics + statistic.mean]`. */
export const statistic = { min: 0, mean: 1, max: 2, last: 3 } as const;
export const windowStatistics = 4;

/**
 * One window of telemetry. For a gauge all four statistics are set; for a counter only `last` (the others are
 * NaN). An absent column is NaN throughout and its reason stands in `reasons` (index into `absentReasons`).
 */
export interface Window {
  /** Changes whenever the list of columns does. */
  readonly generation: number;
  readonly columns: readonly Column[];
  /** Grows by one per window since the reader was opened. */
  readonly sequence: number;
  /** Wall clock at the end of the window, ms since the Unix epoch. */
  readonly endMs: number;
  readonly durationMs: number;
  /** Ticks of the reader in this window. */
  readonly ticks: number;
  readonly values: Float64Array;
  readonly reasons: Uint8Array;
}
