// Iluvatar: the table of ixsmi, two lines a GPU, then the processes. Boards with two GPUs tell their power at one of them.
//
//   | GPU  Name                     | Bus-Id               | Clock-SM  Clock-Mem  |
//   | Fan  Temp  Perf  Pwr:Usage/Cap|      Memory-Usage    | GPU-Util  Compute M. |
import type { DeviceProcess } from '../protocol/device.ts';
import type { ToolReading, Vendor } from './accelerator.ts';
import { pairOf, readBoxLines, readPairs } from './box-table.ts';
import { emptyReading, layoutFault, refuseTwins } from './reading.ts';
import {
  askText,
  busIdOf,
  countOf,
  MEBIBYTE,
  MEGAHERTZ,
  measure,
  measureCelsius,
  measurePercent,
  wordsOf,
} from './tool-text.ts';
import { indexGrants } from './vendor-grant.ts';

const TOOL = 'ixsmi';
// Its runtime stands in for another vendor's and takes that one's variable.
const variables = ['CUDA_VISIBLE_DEVICES', 'ILUVATAR_VISIBLE_DEVICES'];
const mib = { unit: /MiB/, factor: MEBIBYTE };

export const iluvatar: Vendor = {
  name: 'iluvatar',
  title: 'Iluvatar',
  level: 'captures',
  tools: [TOOL],
  async query(tool) {
    const stdout = await askText(tool, []);
    return refuseTwins(TOOL, stdout, parseIxsmi(stdout));
  },
  ...indexGrants({ variables, nodePrefix: '/dev/iluvatar' }),
};

type Owned = DeviceProcess & { readonly gpu: number };

export function parseIxsmi(text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  const lines = readBoxLines(TOOL, text).filter(({ isFrame }) => !isFrame);
  const [title, one, two, ...rows] = lines.map(({ cells }) => cells);
  const version = /^IX-ML:\s*\S+\s+Driver Version:\s*(\S+)/.exec(title?.[0] ?? '')?.[1];
  const isKnown =
    /^GPU\s+Name$/.test(one?.[0] ?? '') &&
    one?.[1] === 'Bus-Id' &&
    /^Clock-SM\s+Clock-Mem$/.test(one?.[2] ?? '') &&
    /^Fan\s+Temp\s+Perf\s+Pwr:Usage\/Cap$/.test(two?.[0] ?? '') &&
    two?.[1] === 'Memory-Usage' &&
    /^GPU-Util\s+Compute M\.$/.test(two?.[2] ?? '');
  if (version === undefined || !isKnown) throw refuse('its heading');
  const at = rows.findIndex((cells) => /^Processes:\s+GPU Memory$/.test(cells[0] ?? ''));
  const gpuRows = at === -1 ? rows : rows.slice(0, at);
  const processes =
    at === -1 ? null : rows.slice(at + 1).flatMap((cells, index) => readProcess(cells, index, refuse));
  return readPairs(gpuRows, 'GPU', (one, two) => readGpu(one, two, version, processes), refuse);
}

function readGpu(
  one: readonly string[] | undefined,
  two: readonly string[] | undefined,
  driverVersion: string,
  processes: readonly Owned[] | null,
): ToolReading | null {
  if (one?.length !== 3 || two?.length !== 3) return null;
  const identity = /^(\d{1,9})\s+(\S.*)$/.exec(one[0] ?? '');
  const clocks = /^(\S+)\s+(\S+)$/.exec(one[2] ?? '');
  const state = /^(\S+)\s+(\S+)\s+(\S+)\s+(.+)$/.exec(two[0] ?? '');
  const power = pairOf(state?.[4]);
  const memory = pairOf(two[1]);
  const load = /^(\S+)\s+\S.*$/.exec(two[2] ?? '');
  if (identity === null || clocks === null || state === null || load === null) return null;
  if (power === null || memory === null) return null;
  const index = Number(identity[1]);
  const busId = busIdOf(one[1]);
  const hertz = (cell: string | undefined) => measure(cell, { unit: /MHz/, factor: MEGAHERTZ });
  return {
    ...emptyReading(index, busId ?? `gpu-${index}`, {
      values: {
        busyRatio: measurePercent(load[1], /%/),
        memoryUsedBytes: measure(memory[0], mib),
        memoryTotalBytes: measure(memory[1], mib),
        powerWatts: measure(power[0], { unit: /W/ }),
        powerLimitWatts: measure(power[1], { unit: /W/ }),
        temperatureCelsius: measureCelsius(state[2]),
        clockHertz: hertz(clocks[1]),
        memoryClockHertz: hertz(clocks[2]),
        fanRatio: measurePercent(state[1], /%/),
      },
    }),
    name: wordsOf(identity[2]),
    busId,
    driverVersion: wordsOf(driverVersion, 64),
    nodeNumber: index,
    processes:
      processes?.flatMap(({ gpu, ...process }) => (gpu === index ? [process] : [])).slice(0, 256) ?? null,
  };
}

/** `|    0     123456    python3 train.py                              30112 |` */
function readProcess(cells: readonly string[], index: number, refuse: (detail: string) => Error): Owned[] {
  const [cell = ''] = cells;
  if (index === 0) {
    if (!/^GPU\s+PID\s+Process name\s+Usage\(MiB\)$/.test(cell)) throw refuse('the heading of its processes');
    return [];
  }
  if (/^No running processes? found$/i.test(cell)) return [];
  const match = /^(\d{1,9})\s+(\d{1,9})\s+(\S.*?)\s+(\d+|N\/A)$/.exec(cells.join('|'));
  const pid = countOf(match?.[2]);
  if (match === null || pid === null) throw refuse('a process of the table');
  const bytes = measure(match[4], { factor: MEBIBYTE });
  return [
    {
      gpu: Number(match[1]),
      pid,
      name: wordsOf(match[3], 256),
      memoryBytes: typeof bytes === 'number' ? bytes : null,
    },
  ];
}
