// Tenstorrent: the snapshot that `tt-smi -s` prints as JSON. It tells neither load nor memory, nor processes.
import type { Measured, ToolReading, Vendor } from './accelerator.ts';
import { emptyReading, layoutFault, refuseFlood } from './reading.ts';
import { askText, busIdOf, MEGAHERTZ, measure, measureCelsius, wordsOf } from './tool-text.ts';
import { distinctIds, indexGrants } from './vendor-grant.ts';

const TOOL = 'tt-smi';
const variables = ['TT_VISIBLE_DEVICES'];

export const tenstorrent: Vendor = {
  name: 'tenstorrent',
  title: 'Tenstorrent',
  level: 'captures',
  tools: [TOOL],
  async query(tool) {
    const stdout = await askText(tool, ['-s']);
    return parseTtSmi(stdout);
  },
  ...indexGrants({ variables, nodePrefix: '/dev/tenstorrent/' }),
};

type Part = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Part =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function parseTtSmi(text: string): ToolReading[] {
  refuseFlood(TOOL, text);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw layoutFault(TOOL, text, 'not whole JSON');
  }
  const list = isObject(parsed) ? parsed.device_info : null;
  if (!Array.isArray(list) || list.length > 1024 || !list.every(isObject)) throw layoutFault(TOOL, text);
  const devices: readonly Part[] = list;
  const host = isObject(parsed) && isObject(parsed.host_info) ? parsed.host_info : {};
  const field = (part: Part | undefined, group: string, key: string): string | null => {
    const inner = part?.[group];
    const value = isObject(inner) && Object.hasOwn(inner, key) ? inner[key] : null;
    return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : null;
  };
  const known = (part: Part): boolean => isObject(part.telemetry) && isObject(part.board_info);
  if (!devices.every(known)) throw layoutFault(TOOL, text, 'a device without telemetry');
  const driver = typeof host.Driver === 'string' ? wordsOf(host.Driver, 64) : null;
  // A board of many chips has one number; then the chips go by their places on the bus.
  const ids = distinctIds(
    devices.map((part) => [
      wordsOf(field(part, 'board_info', 'board_id'), 64),
      busIdOf(field(part, 'board_info', 'bus_id')),
    ]),
  );
  return devices.map((part, index): ToolReading => {
    const get = (group: string, key: string, read: (text: string | null) => Measured): Measured =>
      read(field(part, group, key));
    const plain = (cell: string | null): Measured => measure(cell);
    const board = part.board_info;
    const isDramBad = isObject(board) && board.dram_status === false;
    return {
      ...emptyReading(index, ids[index] ?? `device-${index}`, {
        values: {
          powerWatts: get('telemetry', 'power', plain),
          powerLimitWatts: get('limits', 'tdp_limit', plain),
          temperatureCelsius: get('telemetry', 'asic_temperature', measureCelsius),
          clockHertz: get('telemetry', 'aiclk', (cell) => measure(cell, { factor: MEGAHERTZ })),
        },
      }),
      name: wordsOf(field(part, 'board_info', 'board_type')),
      busId: busIdOf(field(part, 'board_info', 'bus_id')),
      serial: wordsOf(field(part, 'board_info', 'board_id')),
      driverVersion: driver,
      firmwareVersion: wordsOf(field(part, 'firmwares', 'fw_bundle_version'), 64),
      nodeNumber: index,
      conditions: isDramBad
        ? [
            {
              code: 'memory-not-ready',
              rung: 'noNewJobs',
              text: 'The memory of the device was not trained: reset the board.',
            },
          ]
        : [],
    };
  });
}
