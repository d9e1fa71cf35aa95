// `nvidia-smi --query-gpu=… --format=csv`: names of fields in the first row, each with its unit in brackets where it
// has one; values with or without units. Only the fields that are there are told.
import type { Measured, ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault, unknownFacts } from '../reading.ts';
import { MEBIBYTE } from '../tool-text.ts';
import { deviceIds } from './identity.ts';
import { judgeSignals, judgeUnread, slowdown } from './judge.ts';
import { measure, percent, whole, word } from './value.ts';

export function isCsv(text: string): boolean {
  const [header = ''] = text.split('\n', 1);
  return (
    /(^|, )(name|uuid|pci\.bus_id|memory\.total \[MiB\])(,|\s*$)/.test(header.trim()) && header.includes(', ')
  );
}

export function readingsOfCsv(text: string): ToolReading[] {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const header = (lines[0] ?? '').split(', ').map((name) => name.replace(/\s*\[[^\]]*\]$/, ''));
  const rows = lines.slice(1).map((line) => line.split(', '));
  if (rows.length === 0 || rows.some((row) => row.length !== header.length))
    throw layoutFault('nvidia-smi --query-gpu', text, 'a row of another length than the first');
  if (lines.slice(1).includes(lines[0] ?? ''))
    throw layoutFault('nvidia-smi --query-gpu', text, 'two outputs in one');
  const cell = (row: readonly string[], ...names: readonly string[]): string | null => {
    const at = names.map((name) => header.indexOf(name)).find((place) => place >= 0);
    return at === undefined ? null : (row[at] ?? null);
  };
  const ids = deviceIds(
    rows.map((row) => ({
      uuid: word(cell(row, 'uuid', 'gpu_uuid')),
      busId: word(cell(row, 'pci.bus_id', 'gpu_bus_id')),
    })),
  );
  return rows.map((row, at) => readingOf((...names) => cell(row, ...names), at, ids[at] ?? `nvidia-${at}`));
}

function readingOf(
  cell: (...names: readonly string[]) => string | null,
  at: number,
  id: string,
): ToolReading {
  const number = (units: string, scale: number, ...names: readonly string[]): Measured =>
    measure(cell(...names), `${units}|`, scale);
  const share = (name: string): Measured => {
    const text = cell(name);
    return percent(text !== null && /^\d+$/.test(text.trim()) ? `${text} %` : text);
  };
  const active = (name: string): number | null => {
    const text = cell(`clocks_event_reasons.${name}`, `clocks_throttle_reasons.${name}`);
    return text === 'Active' ? 1 : text === 'Not Active' ? 0 : null;
  };
  const [hwSlowdown, hwThermal, powerBrake] = [
    'hw_slowdown',
    'hw_thermal_slowdown',
    'hw_power_brake_slowdown',
  ].map(active);
  const volatile = whole(cell('ecc.errors.uncorrected.volatile.total'));
  const maxClock = number('MHz', 1e6, 'clocks.max.sm');
  const values = {
    memoryTotalBytes: number('MiB', MEBIBYTE, 'memory.total'),
    memoryUsedBytes: number('MiB', MEBIBYTE, 'memory.used'),
    busyRatio: share('utilization.gpu'),
    memoryBusyRatio: share('utilization.memory'),
    powerWatts: number('W', 1, 'power.draw', 'power.draw.instant', 'power.draw.average'),
    powerLimitWatts: number('W', 1, 'enforced.power.limit', 'power.limit'),
    temperatureCelsius: number('', 1, 'temperature.gpu'),
    memoryTemperatureCelsius: number('', 1, 'temperature.memory'),
    clockHertz: number('MHz', 1e6, 'clocks.current.sm', 'clocks.sm'),
    memoryClockHertz: number('MHz', 1e6, 'clocks.current.memory', 'clocks.mem'),
    eccCorrectedTotal: number('', 1, 'ecc.errors.corrected.aggregate.total'),
    eccUncorrectedTotal: number('', 1, 'ecc.errors.uncorrected.aggregate.total'),
  };
  return {
    ...emptyReading(whole(cell('index')) ?? at, id, { values }),
    name: word(cell('name', 'gpu_name')),
    busId: word(cell('pci.bus_id', 'gpu_bus_id')),
    serial: word(cell('serial')),
    driverVersion: word(cell('driver_version')),
    firmwareVersion: word(cell('vbios_version')),
    facts: {
      ...unknownFacts,
      computeCapability: word(cell('compute_cap')),
      maxClockHertz: typeof maxClock === 'number' ? maxClock : null,
    },
    conditions: [
      ...judgeUnread(values),
      ...judgeSignals({
        ...(volatile === null ? {} : { eccUncorrectedVolatile: volatile }),
        throttleReasons:
          (hwSlowdown === 1 ? slowdown.hwSlowdown : 0) |
          (hwThermal === 1 ? slowdown.hwThermal : 0) |
          (powerBrake === 1 ? slowdown.powerBrake : 0),
      }),
    ],
    healthKnown: true,
  };
}
