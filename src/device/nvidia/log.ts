// Readings from the tree of `nvidia-smi -q [-x]`. Names differ by driver (352 to 610 are read) and between the two
// forms; for each field they stand here together, newest first.
import type { DeviceProcess } from '../../protocol/device.ts';
import { type DeviceNumbers, deviceNumbers, type Measured, type ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault, unknownFacts } from '../reading.ts';
import { MEBIBYTE } from '../tool-text.ts';
import { deviceIds } from './identity.ts';
import { judgeSignals, judgeUnread, recoveryActions, type Signals, slowdown } from './judge.ts';
import { type Entry, entriesAt, type Tree, textAt, treeAt } from './tree.ts';
import { measure, percent, whole, word } from './value.ts';

const MAX_DEVICES = 1024;
/** As the native reader takes it: the tool passes on what the library says. */
const KILOBYTE = 1024;

/** Of a device that is lost nothing is known, not even what it would not have. */
export const lostNumbers: DeviceNumbers = {
  values: Object.fromEntries(deviceNumbers.map((name) => [name, 'lost' as const])),
};

/** Readings of all devices, each followed by its MIG instances. Throws DEVICE_OUTPUT_UNKNOWN. */
export function readingsOfLog(log: Tree, raw: string): ToolReading[] {
  const devices = entriesAt(log, 'gpu');
  const attached = whole(textAt(log, 'attached_gpus'));
  const isOneLog =
    entriesAt(log, 'driver_version').length <= 1 && entriesAt(log, 'attached_gpus').length <= 1;
  if (!isOneLog || (attached !== null && devices.length > attached))
    throw layoutFault('nvidia-smi', raw, 'two outputs in one');
  if (devices.length > MAX_DEVICES) throw layoutFault('nvidia-smi', raw, 'too many devices');
  if (devices.length === 0 && attached !== 0) throw layoutFault('nvidia-smi', raw, 'no device in it');
  const driverVersion = word(textAt(log, 'driver_version'));
  const ids = deviceIds(
    devices.map(({ tree }) => ({
      uuid: word(textAt(tree, 'uuid', 'gpu_uuid')),
      busId: word(textAt(tree, 'pci.pci_bus_id', 'pci.bus_id', '$id')),
    })),
  );
  return devices.flatMap(({ tree }, index) => {
    const device = readingOf(tree, index, ids[index] ?? `nvidia-${index}`, driverVersion);
    return [device, ...migReadings(tree, device)];
  });
}

function readingOf(tree: Tree, index: number, id: string, driverVersion: string | null): ToolReading {
  const told = numbersOf(tree);
  const isLost = told.values.memoryTotalBytes === 'lost' || told.values.powerWatts === 'lost';
  const conditions = judgeSignals(signalsOf(tree));
  conditions.unshift(...judgeUnread(told.values));
  const processes = processesOf(tree);
  const maxClock = measure(textAt(tree, 'max_clocks.sm_clock', 'max_clocks.sm'), 'MHz', 1e6);
  return {
    ...emptyReading(index, id, isLost ? lostNumbers : told),
    name: word(textAt(tree, 'product_name')),
    busId: word(textAt(tree, 'pci.pci_bus_id', 'pci.bus_id', '$id')),
    serial: word(textAt(tree, 'serial', 'serial_number')),
    driverVersion,
    firmwareVersion: word(textAt(tree, 'vbios_version')),
    nodeNumber: whole(textAt(tree, 'minor_number')),
    facts: { ...unknownFacts, maxClockHertz: typeof maxClock === 'number' ? maxClock : null },
    processes,
    conditions,
    healthKnown: true,
    absent: isLost ? { processes: 'lost' } : processes === null ? { processes: 'unsupported' } : {},
    problem: isLost ? 'GPU is lost' : null,
  };
}

function numbersOf(tree: Tree): DeviceNumbers {
  const memory = treeAt(tree, 'fb_memory_usage', 'memory_usage');
  const power = treeAt(tree, 'gpu_power_readings', 'power_readings');
  const clocks = treeAt(tree, 'clocks');
  const use = treeAt(tree, 'utilization');
  const pci = treeAt(tree, 'pci');
  const ecc = treeAt(tree, 'ecc_errors.aggregate');
  const values: Record<string, Measured> = {
    memoryTotalBytes: measure(textAt(memory, 'total'), 'MiB|MB', MEBIBYTE),
    memoryUsedBytes: measure(textAt(memory, 'used'), 'MiB|MB', MEBIBYTE),
    busyRatio: percent(textAt(use, 'gpu_util', 'gpu')),
    memoryBusyRatio: percent(textAt(use, 'memory_util', 'memory')),
    powerWatts: firstKnown(
      power,
      'W',
      'instant_power_draw',
      'instantaneous_power_draw',
      'power_draw',
      'average_power_draw',
    ),
    powerLimitWatts: firstKnown(power, 'W', 'current_power_limit', 'enforced_power_limit', 'power_limit'),
    energyCounterJoules: 'unsupported',
    temperatureCelsius: measure(
      textAt(tree, 'temperature.gpu_temp', 'temperature.gpu_current_temp', 'temperature.gpu'),
      'C',
    ),
    memoryTemperatureCelsius: measure(
      textAt(tree, 'temperature.memory_temp', 'temperature.memory_current_temp'),
      'C',
    ),
    clockHertz: measure(textAt(clocks, 'sm_clock', 'sm'), 'MHz', 1e6),
    memoryClockHertz: measure(textAt(clocks, 'mem_clock', 'memory'), 'MHz', 1e6),
    eccCorrectedTotal: sumOf(ecc, /^(sram|dram)_correctable$/, 'single_bit.total', 'single_bit'),
    eccUncorrectedTotal: sumOf(ecc, /^(sram|dram)_uncorrectable/, 'double_bit.total', 'double_bit'),
  };
  const found = (name: string, value: Measured): void => {
    if (value !== 'unsupported') values[name] = value;
  };
  found('fanRatio', percent(textAt(tree, 'fan_speed')));
  found('pcieReplaysTotal', measure(textAt(pci, 'replay_counter', 'replays_since_reset'), ''));
  found('pcieReceiveBytesPerSecond', measure(textAt(pci, 'rx_util', 'rx_throughput'), 'KB/s', KILOBYTE));
  found('pcieTransmitBytesPerSecond', measure(textAt(pci, 'tx_util', 'tx_throughput'), 'KB/s', KILOBYTE));
  return {
    values,
    engineBusyRatio: supported({
      encoder: percent(textAt(use, 'encoder_util', 'encoder')),
      decoder: percent(textAt(use, 'decoder_util', 'decoder')),
      jpeg: percent(textAt(use, 'jpeg_util', 'jpeg')),
      ofa: percent(textAt(use, 'ofa_util', 'ofa')),
    }),
    throttledRatio: throttlesOf(tree),
  };
}

function supported(values: Record<string, Measured>): Record<string, Measured> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== 'unsupported'));
}

/** The first of these that has a number; else why the first that is told at all has none. */
function firstKnown(tree: Tree, unit: string, ...keys: readonly string[]): Measured {
  let absent: Measured = 'unsupported';
  for (const key of keys) {
    const value = measure(textAt(tree, key), unit);
    if (typeof value === 'number') return value;
    if (absent === 'unsupported') absent = value;
  }
  return absent;
}

/** Newer drivers count by kind of memory, older ones have a total of their own. */
function sumOf(tree: Tree, keys: RegExp, ...totals: readonly string[]): Measured {
  const parts = tree.filter(({ key }) => keys.test(key)).map(({ value }) => measure(value, ''));
  if (parts.length === 0) return measure(textAt(tree, ...totals), '');
  const broken = parts.find((part) => typeof part !== 'number' && part !== 'unsupported');
  if (broken !== undefined) return broken;
  const counts = parts.filter((part) => typeof part === 'number');
  return counts.length === 0 ? 'unsupported' : counts.reduce((sum, count) => sum + count, 0);
}

/** Our names, and what comes after `clocks_event_reason_` (or `clocks_throttle_reason_`) in the tool's. */
const throttles = [
  ['powerCap', 'sw_power_cap'],
  ['hwSlowdown', 'hw_slowdown'],
  ['swThermal', 'sw_thermal_slowdown'],
  ['hwThermal', 'hw_thermal_slowdown'],
  ['powerBrake', 'hw_power_brake_slowdown'],
  ['syncBoost', 'sync_boost'],
] as const;

function throttlesOf(tree: Tree): Record<string, Measured> {
  const reasons = treeAt(tree, 'clocks_event_reasons', 'clocks_throttle_reasons');
  const found: Record<string, Measured> = {};
  for (const [name, key] of throttles) {
    const text = textAt(reasons, `clocks_event_reason_${key}`, `clocks_throttle_reason_${key}`, key);
    if (text === 'Active') found[name] = 1;
    else if (text === 'Not Active') found[name] = 0;
  }
  return found;
}

function signalsOf(tree: Tree): Signals {
  const signals: Record<string, number> = {};
  const yes = (name: string, ...paths: readonly string[]): void => {
    const text = textAt(tree, ...paths);
    if (text === 'Yes' || text === 'No') signals[name] = text === 'Yes' ? 1 : 0;
  };
  yes('rowRemapPending', 'remapped_rows.remapped_row_pending', 'remapped_rows.pending');
  yes('rowRemapFailed', 'remapped_rows.remapped_row_failure', 'remapped_rows.remapping_failure_occurred');
  yes(
    'pagesPending',
    'retired_pages.pending_retirement',
    'retired_pages.pending_blacklist',
    'retired_pages.pending_page_blacklist',
  );
  const volatile = sumOf(
    treeAt(tree, 'ecc_errors.volatile'),
    /^(sram|dram)_uncorrectable/,
    'double_bit.total',
    'double_bit',
  );
  if (typeof volatile === 'number') signals.eccUncorrectedVolatile = volatile;
  const action = textAt(tree, 'gpu_recovery_action');
  const known = recoveryActions.indexOf(action ?? '');
  if (known >= 0) signals.recoveryAction = known;
  else if (word(action) !== null) signals.recoveryAction = recoveryActions.length;
  const throttled = throttlesOf(tree);
  if (Object.keys(throttled).length > 0)
    signals.throttleReasons = Object.entries(slowdown).reduce(
      (bits, [name, bit]) => (throttled[name] === 1 ? bits | bit : bits),
      0,
    );
  const fabric = ['Not Started', 'In Progress', 'Completed'].indexOf(textAt(tree, 'fabric.state') ?? '');
  if (fabric >= 0) signals.fabricState = fabric + 1;
  const status = textAt(tree, 'fabric.status');
  if (fabric >= 0 && word(status) !== null && status !== 'Success') signals.fabricStatus = 1;
  const lanes = (path: string): number | null =>
    whole((textAt(tree, ...pathsOf(path)) ?? '').replace(/x$/, ''));
  const [width, widthMax] = [lanes('current'), lanes('max')];
  if (width !== null) signals.pcieWidth = width;
  if (widthMax !== null) signals.pcieWidthMax = widthMax;
  return signals;
}

const pathsOf = (which: string): string[] => [
  `pci.pci_gpu_link_info.link_widths.${which}_link_width`,
  `pci.gpu_link_info.link_width.${which}`,
];

/** Null where the tool does not tell. */
function processesOf(tree: Tree): DeviceProcess[] | null {
  const list = tree.find(({ key }) => key === 'processes');
  if (list === undefined) return null;
  // An empty list, or the word for it; `N/A` is no list.
  if (list.tree.length === 0) return /^(none)?$/i.test(list.value ?? '') ? [] : null;
  const blocks = entriesAt(list.tree, 'process_info').map(({ tree: fields }) => fields);
  return (blocks.length > 0 ? blocks : blocksOf(list.tree)).flatMap((fields): DeviceProcess[] => {
    const pid = whole(textAt(fields, 'pid', 'process_id'));
    const bytes = measure(textAt(fields, 'used_memory', 'used_gpu_memory'), 'MiB|MB', MEBIBYTE);
    if (pid === null) return [];
    const name = word(textAt(fields, 'process_name', 'name'));
    return [{ pid, memoryBytes: typeof bytes === 'number' ? bytes : null, name }];
  });
}

/** The text form has one flat list; each process begins at its id. */
function blocksOf(fields: Tree): Tree[] {
  const blocks: Entry[][] = [];
  for (const field of fields) {
    if (field.key === 'process_id') blocks.push([]);
    blocks.at(-1)?.push(field);
  }
  return blocks;
}

/** MIG instances. Neither form tells their ids or profiles: see `withMigList` in list.ts. */
function migReadings(tree: Tree, device: ToolReading): ToolReading[] {
  const blocks = [...entriesAt(treeAt(tree, 'mig_devices'), 'mig_device'), ...entriesAt(tree, 'mig_device')];
  return blocks.map(({ tree: fields }, at) => {
    const index = whole(textAt(fields, 'index')) ?? at;
    const [gi, ci] = [textAt(fields, 'gpu_instance_id'), textAt(fields, 'compute_instance_id')].map(whole);
    const memory = treeAt(fields, 'fb_memory_usage', 'shared_fb_memory_usage');
    const units = whole(textAt(fields, 'device_attributes.shared.multiprocessor_count'));
    return {
      ...emptyReading(index, `MIG-${device.id}/${gi ?? `i${index}`}/${ci ?? 0}`, {
        values: {
          memoryTotalBytes: measure(textAt(memory, 'total'), 'MiB|MB', MEBIBYTE),
          memoryUsedBytes: measure(textAt(memory, 'used'), 'MiB|MB', MEBIBYTE),
        },
      }),
      parentId: device.id,
      name: device.name,
      busId: device.busId,
      driverVersion: device.driverVersion,
      firmwareVersion: device.firmwareVersion,
      nodeNumber: device.nodeNumber,
      facts: { ...device.facts, units },
      processes: migProcesses(tree, gi ?? null, ci ?? null),
      healthKnown: true,
    };
  });
}

function migProcesses(tree: Tree, gi: number | null, ci: number | null): DeviceProcess[] {
  const list = treeAt(tree, 'processes');
  const blocks = entriesAt(list, 'process_info').map(({ tree: fields }) => fields);
  return blocks
    .filter(
      (fields) =>
        whole(textAt(fields, 'gpu_instance_id')) === gi &&
        whole(textAt(fields, 'compute_instance_id')) === ci,
    )
    .flatMap(
      (fields) =>
        processesOf([
          { key: 'processes', value: null, tree: [{ key: 'process_info', value: null, tree: fields }] },
        ]) ?? [],
    );
}
