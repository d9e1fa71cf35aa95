// `nvidia-smi -L`: names and UUIDs of devices and of their MIG instances.
import type { ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault } from '../reading.ts';
import { deviceIds } from './identity.ts';

interface Listed {
  readonly index: number;
  readonly name: string;
  readonly uuid: string | null;
  readonly instances: { readonly index: number; readonly profile: string; readonly uuid: string }[];
}

const gpuLine = /^GPU (\d{1,4}): (.{1,200}?) \(UUID: ([A-Za-z0-9-]{1,80})\)\s*$/;
const gpuWithoutUuid = /^GPU (\d{1,4}): ([^(]{1,200}?)\s*$/;
const migLine = /^\s+MIG\s+(\S{1,40})\s+Device\s+(\d{1,3}):\s+\(UUID: ([A-Za-z0-9/-]{1,120})\)\s*$/;

export function isList(text: string): boolean {
  return /^GPU \d{1,4}: /.test(text);
}

/** Throws DEVICE_OUTPUT_UNKNOWN. */
export function parseList(text: string): Listed[] {
  const listed: Listed[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const gpu = gpuLine.exec(line) ?? gpuWithoutUuid.exec(line);
    const mig = migLine.exec(line);
    if (gpu !== null)
      listed.push({ index: Number(gpu[1]), name: gpu[2] ?? '', uuid: gpu[3] ?? null, instances: [] });
    else if (mig !== null)
      listed.at(-1)?.instances.push({ index: Number(mig[2]), profile: mig[1] ?? '', uuid: mig[3] ?? '' });
    // The tool goes on with the others.
    else if (!/^Unable to determine the device handle for /.test(line))
      throw layoutFault('nvidia-smi -L', line);
  }
  if (listed.some(({ index }, at) => index <= (listed[at - 1]?.index ?? -1)))
    throw layoutFault('nvidia-smi -L', text, 'devices out of order');
  return listed;
}

/** All that the list tells; it has no numbers. */
export function readingsOfList(text: string): ToolReading[] {
  const listed = parseList(text);
  const ids = deviceIds(listed.map(({ uuid }) => ({ uuid, busId: null })));
  return listed.flatMap(({ index, name, instances }, at) => {
    const id = ids[at] ?? `nvidia-${index}`;
    return [
      { ...emptyReading(index, id), name },
      ...instances.map((one) => ({
        ...emptyReading(one.index, one.uuid),
        parentId: id,
        profile: one.profile,
        name: `${name} MIG ${one.profile}`,
      })),
    ];
  });
}

/** Gives MIG instances the ids and profiles that the list has for them; where it does not fit, they keep their own. */
export function withMigList(readings: readonly ToolReading[], text: string): ToolReading[] {
  const listed = isList(text) ? parseList(text) : [];
  const seen = new Set<string>();
  const devices = readings.filter(({ parentId }) => parentId === null);
  return readings.map((reading) => {
    const device = devices.find(({ id }) => id === reading.parentId);
    const host =
      listed.find(({ uuid }) => uuid === device?.id) ?? listed.find(({ index }) => index === device?.index);
    const own = host?.instances.find(({ index }) => index === reading.index);
    if (own === undefined || seen.has(own.uuid)) return reading;
    seen.add(own.uuid);
    // Named as the driver's library names it.
    return { ...reading, id: own.uuid, profile: own.profile, name: `${host?.name} MIG ${own.profile}` };
  });
}
