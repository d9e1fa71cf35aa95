// The table of plain `nvidia-smi`, drivers 340 to 610: two or three lines per device between bars, then MIG instances
// and processes. Names are cut there, and it has no UUIDs: devices are known by their place on the bus.
import type { DeviceProcess } from '../../protocol/device.ts';
import type { ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault, unknownFacts } from '../reading.ts';
import { MEBIBYTE } from '../tool-text.ts';
import { deviceUnreadable, judgeSignals } from './judge.ts';
import { absenceOf, measure, percent, whole, word } from './value.ts';

const banner = /^\|\s*NVIDIA-SMI\s+(\S+)\s+(?:Driver Version|KMD Version):\s*(\S+)/;
const firstLine =
  /^\|\s*(\d{1,4})\s+(\S.*?)\s+(?:On|Off|N\/A|WDDM|TCC|MCDM|ERR!)\s*\|\s*([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]|N\/A)\s+\S+\s*\|\s*(\S+)\s*\|$/;
// Devices that share the host's memory have none of their own, and one that is divided may tell none.
const secondLine =
  /^\|\s*(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*\/\s*(\S+)\s*\|\s*(?:N\/A|Not Supported|(\S+)\s*\/\s*(\S+))\s*\|\s*(\S+)\s+\S.*\|$/;
const migLine =
  /^\|\s*(\d{1,4})\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s*\|\s*(\d{1,9}MiB)\s*\/\s*(\d{1,9}MiB)\s*\|\s*(\d{1,4})\s/;
const processLine =
  /^\|\s*(\d{1,4})\s+(?:(N\/A|\d{1,3})\s+(N\/A|\d{1,3})\s+)?(\d{1,10})\s+([A-Z+]{1,8})\s+(\S.*?)\s+(\d{1,9}MiB|N\/A)\s*\|$/;
const untoldLine = /^\|\s*(\d{1,4})\s+Not Supported\s*\|$/;

/** A line of the table has about ninety; the patterns above take long over long ones. */
const LINE_CHARACTERS_MAX = 500;

export function isTable(text: string): boolean {
  return /^[ \t]*\|[ \t]*NVIDIA-SMI[ \t]+\d/m.test(text);
}

interface Found {
  readings: ToolReading[];
  processes: Map<number, DeviceProcess[]>;
  hasProcessList: boolean;
  /** Devices whose processes the tool cannot tell. */
  untold: Set<number>;
}

export function readingsOfTable(text: string): ToolReading[] {
  const lines = text.split('\n').map((line) => line.trim());
  if (lines.some((line) => line.length > LINE_CHARACTERS_MAX))
    throw layoutFault('nvidia-smi', text, 'a line is too long');
  const banners = lines.filter((line) => banner.test(line));
  if (banners.length !== 1) throw layoutFault('nvidia-smi', text, 'more than one table');
  const driverVersion = banner.exec(banners[0] ?? '')?.[2] ?? null;
  const found: Found = { readings: [], processes: new Map(), hasProcessList: false, untold: new Set() };
  for (const [at, line] of lines.entries()) readLine(line, lines[at + 1] ?? '', driverVersion, found);
  const devices = found.readings.filter(({ parentId }) => parentId === null);
  if (devices.length === 0) throw layoutFault('nvidia-smi', text, 'no device in it');
  if (new Set(found.readings.map(({ id }) => id)).size !== found.readings.length)
    throw layoutFault('nvidia-smi', text, 'a device twice');
  return found.readings.map((reading) => {
    if (!found.hasProcessList || reading.parentId !== null || found.untold.has(reading.index))
      return { ...reading, absent: { processes: 'unsupported' } };
    return { ...reading, processes: found.processes.get(reading.index) ?? [] };
  });
}

function readLine(line: string, next: string, driverVersion: string | null, found: Found): void {
  const device = firstLine.exec(line);
  if (device !== null) {
    found.readings.push(deviceOf(device, next, driverVersion));
    return;
  }
  const mig = migLine.exec(line);
  if (mig !== null) {
    const [, gpu, gi, ci, index, used, total, units] = mig;
    const parent = found.readings.find((each) => each.parentId === null && each.index === Number(gpu));
    if (parent === undefined) return;
    found.readings.push({
      ...emptyReading(Number(index), `MIG-${parent.id}/${gi}/${ci}`, {
        values: {
          memoryTotalBytes: measure(total, 'MiB', MEBIBYTE),
          memoryUsedBytes: measure(used, 'MiB', MEBIBYTE),
        },
      }),
      parentId: parent.id,
      name: parent.name,
      busId: parent.busId,
      driverVersion,
      facts: { ...unknownFacts, units: whole(units) },
      healthKnown: true,
    });
    return;
  }
  if (/^\|\s*(Processes:|No running processes found)/.test(line)) found.hasProcessList = true;
  const untold = found.hasProcessList ? untoldLine.exec(line) : null;
  if (untold !== null) found.untold.add(Number(untold[1]));
  const process = found.hasProcessList ? processLine.exec(line) : null;
  if (process === null) return;
  const [, gpu, , , pid, , name, used] = process;
  const bytes = measure(used, 'MiB', MEBIBYTE);
  const list = found.processes.get(Number(gpu)) ?? [];
  list.push({
    pid: Number(pid),
    memoryBytes: typeof bytes === 'number' ? bytes : null,
    name: word(name),
  });
  found.processes.set(Number(gpu), list);
}

function deviceOf([, index, name, place, ecc]: RegExpExecArray, next: string, driverVersion: string | null) {
  const busId = word(place);
  const cells = secondLine.exec(next);
  if (cells === null) throw layoutFault('nvidia-smi', next, 'the second line of a device');
  const [, fan, temperature, , usage, cap, used, total, busy] = cells;
  const fanRatio = percent(fan);
  const uncorrected = whole(ecc);
  const isBroken = absenceOf(name) === 'error' || absenceOf(temperature) === 'error';
  const conditions = judgeSignals(uncorrected === null ? {} : { eccUncorrectedVolatile: uncorrected });
  if (isBroken) conditions.unshift(deviceUnreadable);
  return {
    ...emptyReading(Number(index), busId ?? `nvidia-${index}`, {
      values: {
        memoryTotalBytes: measure(total, 'MiB', MEBIBYTE),
        memoryUsedBytes: measure(used, 'MiB', MEBIBYTE),
        busyRatio: percent(busy),
        powerWatts: measure(usage, 'W'),
        powerLimitWatts: measure(cap, 'W'),
        temperatureCelsius: measure(temperature, 'C'),
        ...(fanRatio === 'unsupported' ? {} : { fanRatio }),
      },
    }),
    name: word(name),
    busId,
    driverVersion,
    conditions,
    healthKnown: true,
    problem: isBroken ? 'nvidia-smi shows ERR!' : null,
  };
}
