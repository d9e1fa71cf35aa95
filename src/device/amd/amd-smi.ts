// What amd-smi prints with --json: an array, or an array under `gpu_data`, of one object per GPU. A number is bare, or
// an object of value and unit. Written from documentation and public examples, not from captures of our own.
import type { DeviceProcess } from '../../protocol/device.ts';
import type { Measured, ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault, refuseFlood } from '../reading.ts';
import { busIdOf, MEBIBYTE, MEGAHERTZ, measure, wordsOf } from '../tool-text.ts';
import { distinctIds } from '../vendor-grant.ts';

type Part = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Part {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The objects of a listing by the number of their GPU. */
export function parseAmdSmi(tool: string, text: string): Map<number, Part> {
  refuseFlood(tool, text);
  let parsed: unknown;
  // Warnings may stand before it.
  const start = text.search(/^[[{]/m);
  try {
    parsed = JSON.parse(start === -1 ? text : text.slice(start));
  } catch {
    throw layoutFault(tool, text, 'not whole JSON');
  }
  const list = isObject(parsed) ? parsed.gpu_data : parsed;
  const gpus = new Map<number, Part>();
  for (const each of Array.isArray(list) ? (list as unknown[]) : []) {
    const number = isObject(each) ? each.gpu : null;
    if (
      !isObject(each) ||
      typeof number !== 'number' ||
      !Number.isInteger(number) ||
      number < 0 ||
      number > 1e6
    )
      throw layoutFault(tool, text, 'an entry without a number');
    if (gpus.has(number)) throw layoutFault(tool, text, `GPU ${number} stands there twice`);
    gpus.set(number, each);
  }
  if (gpus.size === 0) throw layoutFault(tool, text, 'no GPU');
  return gpus;
}

/** What stands under a path of keys; undefined where there is nothing. */
function at(part: Part | undefined, path: string): unknown {
  let value: unknown = part;
  for (const key of path.split('.')) {
    if (!isObject(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** First of the paths that is there, as a number in base units. Units that are printed must be among `units`. */
function quantity(
  part: Part | undefined,
  paths: readonly string[],
  units: Readonly<Record<string, number>>,
): Measured {
  let answer: Measured = 'unsupported';
  for (const path of paths) {
    const found = at(part, path);
    if (found === undefined || found === null) continue;
    const value = isObject(found) ? found.value : found;
    const unit = isObject(found) && typeof found.unit === 'string' ? found.unit : '';
    const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
    const text = typeof value === 'number' || typeof value === 'string' ? String(value) : null;
    answer = factor === undefined ? 'error' : measure(text, { factor, isSigned: true });
    if (typeof answer === 'number') return answer;
  }
  return answer;
}

const BYTES = { B: 1, KB: 1024, MB: MEBIBYTE, GB: 1024 * MEBIBYTE };
const WATTS = { W: 1, '': 1 };
const CELSIUS = { C: 1, '': 1 };
const HERTZ = { MHz: MEGAHERTZ };
const COUNT = { '': 1 };

export interface AmdSmiListings {
  readonly metric: ReadonlyMap<number, Part>;
  readonly fixed: ReadonlyMap<number, Part>;
  /** Null: not asked or not answered. */
  readonly processes: ReadonlyMap<number, Part> | null;
}

export function readAmdSmi({ metric, fixed, processes }: AmdSmiListings): ToolReading[] {
  const numbers = [...metric.keys()];
  const text = (number: number, ...paths: string[]): string | null => {
    for (const path of paths) {
      const value = at(fixed.get(number), path);
      const words = typeof value === 'string' ? wordsOf(value) : null;
      if (words !== null) return words;
    }
    return null;
  };
  const uniqueId = (number: number): string | null => {
    const serial = /^0x([0-9a-f]{6,16})$/i.exec(text(number, 'asic.asic_serial') ?? '')?.[1];
    return serial === undefined || /^0+$/.test(serial) ? null : `GPU-${serial.toLowerCase()}`;
  };
  const ids = distinctIds(
    numbers.map((number) => [
      uniqueId(number),
      text(number, 'uuid'),
      text(number, 'board.product_serial'),
      busIdOf(text(number, 'bus.bdf')),
    ]),
  );
  return numbers.map((number, place): ToolReading => {
    const part = metric.get(number);
    const read = (units: Readonly<Record<string, number>>, ...paths: string[]): Measured =>
      quantity(part, paths, units);
    const percent = (...paths: string[]): Measured => {
      const value = quantity(part, paths, { '%': 1, '': 1 });
      return typeof value !== 'number' ? value : value >= 0 && value <= 100 ? value / 100 : 'error';
    };
    // Cards without a counter tell one that stands at nothing.
    const energy = read({ J: 1 }, 'energy.total_energy_consumption');
    const node = at(fixed.get(number), 'numa.node');
    const units = at(fixed.get(number), 'asic.num_compute_units');
    return {
      ...emptyReading(number, ids[place] ?? `gpu-${number}`, {
        values: {
          busyRatio: percent('usage.gfx_activity'),
          memoryBusyRatio: percent('usage.umc_activity'),
          memoryTotalBytes: read(BYTES, 'mem_usage.total_vram'),
          memoryUsedBytes: read(BYTES, 'mem_usage.used_vram'),
          powerWatts: read(WATTS, 'power.socket_power', 'power.average_socket_power'),
          powerLimitWatts: quantity(fixed.get(number), ['limit.max_power', 'limit.socket_power'], WATTS),
          energyCounterJoules: energy === 0 ? 'unsupported' : energy,
          temperatureCelsius: read(CELSIUS, 'temperature.hotspot', 'temperature.edge'),
          memoryTemperatureCelsius: read(CELSIUS, 'temperature.mem'),
          clockHertz: read(HERTZ, 'clock.gfx_0.clk', 'clock.gfx.clk'),
          memoryClockHertz: read(HERTZ, 'clock.mem_0.clk', 'clock.mem.clk'),
          eccCorrectedTotal: read(COUNT, 'ecc.total_correctable_count'),
          eccUncorrectedTotal: read(COUNT, 'ecc.total_uncorrectable_count'),
          fanRatio: percent('fan.usage'),
          pcieReplaysTotal: read(COUNT, 'pcie.replay_count'),
        },
      }),
      name: text(number, 'asic.market_name', 'board.product_name'),
      busId: busIdOf(text(number, 'bus.bdf')),
      serial: text(number, 'board.product_serial'),
      driverVersion: text(number, 'driver.version', 'driver.driver_version'),
      firmwareVersion: text(number, 'vbios.version', 'ifwi.version'),
      numaNode: typeof node === 'number' && Number.isInteger(node) && node >= 0 ? node : null,
      facts: {
        computeCapability: null,
        lanes: null,
        units: typeof units === 'number' && Number.isInteger(units) && units > 0 ? units : null,
        maxClockHertz: null,
      },
      processes: processes === null ? null : processesOf(processes.get(number)),
    };
  });
}

/** Entries without a process id ("No running processes detected") are none. */
function processesOf(part: Part | undefined): DeviceProcess[] {
  const list = part?.process_list;
  return (Array.isArray(list) ? (list as unknown[]) : []).slice(0, 256).flatMap((entry) => {
    const info = isObject(entry) ? entry.process_info : null;
    const pid = isObject(info) ? info.pid : null;
    if (!isObject(info) || typeof pid !== 'number' || !Number.isInteger(pid) || pid < 0) return [];
    const bytes = quantity(info, ['vram_mem', 'memory_usage.vram_mem', 'mem_usage'], BYTES);
    return [
      {
        pid,
        name: typeof info.name === 'string' ? wordsOf(info.name, 256) : null,
        memoryBytes: typeof bytes === 'number' && bytes >= 0 ? bytes : null,
      },
    ];
  });
}
