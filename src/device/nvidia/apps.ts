// The lists of nvidia-smi as CSV that have a row per process or page and not per device: `--query-compute-apps`,
// `--query-accounted-apps` and `--query-retired-pages`. Each row names its device.
import type { DeviceProcess } from '../../protocol/device.ts';
import type { ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault } from '../reading.ts';
import { MEBIBYTE } from '../tool-text.ts';
import { deviceIds } from './identity.ts';
import { measure, whole, word } from './value.ts';

const own = /(^|, )(pid|retired_pages\.address)(,|\s*$)/;

export function isAppList(text: string): boolean {
  const header = headerOf(text);
  return own.test(header) && /(^|, )gpu_(uuid|bus_id)(,|\s*$)/.test(header);
}

const headerOf = (text: string): string => (text.split('\n', 1)[0] ?? '').trim();

/** Devices that have a row, with their processes where the list is one of those that run. */
export function readingsOfApps(text: string): ToolReading[] {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const header = headerOf(text);
  if (lines.indexOf(header, 1) > 0) throw layoutFault('nvidia-smi', text, 'two outputs in one');
  const names = header.split(', ').map((name) => name.replace(/\s*\[[^\]]*\]$/, ''));
  // Accounts are of processes that have ended as well.
  const isRunning = names.includes('used_gpu_memory') || names.includes('used_memory');
  const devices = new Map<string, { cell: (name: string) => string | null; processes: DeviceProcess[] }>();
  for (const line of lines.slice(1)) {
    const cells = cellsOf(line, names);
    if (cells === null) throw layoutFault('nvidia-smi', text, 'a row of another length than the first');
    const cell = (name: string): string | null => cells[names.indexOf(name)] ?? null;
    const key = `${cell('gpu_uuid')} ${cell('gpu_bus_id')}`;
    const device = devices.get(key) ?? { cell, processes: [] };
    devices.set(key, device);
    const pid = whole(cell('pid'));
    if (!isRunning || pid === null) continue;
    const bytes = measure(cell('used_gpu_memory') ?? cell('used_memory'), 'MiB|', MEBIBYTE);
    const memoryBytes = typeof bytes === 'number' ? bytes : null;
    device.processes.push({ pid, memoryBytes, name: word(cell('process_name')) });
  }
  const found = [...devices.values()];
  const ids = deviceIds(
    found.map(({ cell }) => ({ uuid: word(cell('gpu_uuid')), busId: word(cell('gpu_bus_id')) })),
  );
  return found.map(({ cell, processes }, at) => ({
    ...emptyReading(at, ids[at] ?? `nvidia-${at}`),
    name: word(cell('gpu_name')),
    busId: word(cell('gpu_bus_id')),
    serial: word(cell('gpu_serial')),
    processes: isRunning ? processes : null,
  }));
}

/** The name of a process may have commas of its own. */
function cellsOf(line: string, names: readonly string[]): string[] | null {
  const cells = line.split(', ');
  const at = names.indexOf('process_name');
  const surplus = cells.length - names.length;
  if (surplus > 0 && at >= 0) cells.splice(at, surplus + 1, cells.slice(at, at + surplus + 1).join(', '));
  return cells.length === names.length ? cells : null;
}
