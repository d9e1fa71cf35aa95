// Kunlunxin: the tables of xpu_smi. Another vendor has a tool of the name xpu-smi: its output is refused as unknown.
//
// Before version 5, one line a device in each of DEVICES, VIDEO, PROCESSES, without power and temperature:
//
//   | DevID |   PCI Addr   | Model |   SN   |    INODE   | UseRate |    L3     |    Memory    |
//
// From 5 on (P800), three lines a device, then the processes (of those only public examples without one were seen):
//
//   | XPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
//   | Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | XPU-Util  Compute M. |
//   |                               |             L3-Usage |            SR-IOV M. |
import type { DeviceProcess } from '../protocol/device.ts';
import type { Measured, ToolReading, Vendor } from './accelerator.ts';
import { pairOf, readBoxLines } from './box-table.ts';
import { emptyReading, layoutFault, refuseTwins } from './reading.ts';
import {
  askText,
  busIdOf,
  countOf,
  MEBIBYTE,
  measure,
  measureCelsius,
  measurePercent,
  wordsOf,
} from './tool-text.ts';
import { indexGrants } from './vendor-grant.ts';

const TOOL = 'xpu_smi';
const variables = ['XPU_VISIBLE_DEVICES', 'CUDA_VISIBLE_DEVICES'];

export const kunlunxin: Vendor = {
  name: 'kunlunxin',
  title: 'Kunlunxin',
  level: 'captures',
  tools: [TOOL, 'xpu-smi'],
  async query(tool) {
    const stdout = await askText(tool, []);
    return refuseTwins(TOOL, stdout, parseXpuSmi(stdout));
  },
  ...indexGrants({ variables, nodePrefix: '/dev/xpu', controlNodes: ['/dev/xpuctrl'] }),
};

const deviceTitles = 'DevID|PCI Addr|Model|SN|INODE|UseRate|L3|Memory';
const videoTitles = 'DevID|Model|DEC|ENC|IMGPROC';
const processTitles = 'DevID|PID|Streams|L3|Memory|Command';

export function parseXpuSmi(text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  const lines = readBoxLines(TOOL, text);
  if (/^XPU-SMI\s/.test(lines.find(({ isFrame }) => !isFrame)?.cells[0] ?? ''))
    return readThreeLines(
      lines.flatMap(({ cells, isFrame }) => (isFrame ? [] : [cells])),
      refuse,
    );
  const driverVersion = wordsOf(/^Driver Version:\s*(\S{1,64})\s*$/m.exec(text)?.[1], 64);
  const tables = new Map<string, (readonly string[])[]>();
  let open: (readonly string[])[] | null = null;
  for (const { cells, isFrame } of lines) {
    if (isFrame) continue;
    const titles = cells.join('|');
    if (cells[0] === 'DevID') {
      if (![deviceTitles, videoTitles, processTitles].includes(titles) || tables.has(titles))
        throw refuse('a heading');
      open = [];
      tables.set(titles, open);
    } else if (open === null) throw refuse('a line without a heading');
    else open.push(cells);
  }
  const devices = tables.get(deviceTitles);
  if (devices === undefined) throw refuse('no table of devices');
  const video = tables.get(videoTitles) ?? [];
  const processes = tables.get(processTitles)?.map((cells) => readProcess(cells, refuse)) ?? null;
  const readings: ToolReading[] = [];
  for (const cells of devices) {
    const index = countOf(cells[0]);
    const busId = busIdOf(cells[1]);
    const memory = pairOf(/^(.+) MB$/.exec(cells[7] ?? '')?.[1]);
    if (index === null || cells.length !== 8 || memory === null) throw refuse('a device of the table');
    if (readings.some((other) => other.index === index)) throw refuse(`device ${index} stands there twice`);
    const engines = video.find((each) => countOf(each[0]) === index);
    const engine = (at: number): Measured => measurePercent(engines?.[at]?.split(',')[0], /%/);
    readings.push({
      ...emptyReading(index, busId ?? `xpu-${index}`, {
        values: {
          busyRatio: measurePercent(cells[5], /%/),
          memoryUsedBytes: measure(memory[0], { factor: MEBIBYTE }),
          memoryTotalBytes: measure(memory[1], { factor: MEBIBYTE }),
        },
        ...(engines === undefined ? {} : { engineBusyRatio: { decoder: engine(2), encoder: engine(3) } }),
      }),
      name: wordsOf(cells[2]),
      busId,
      serial: wordsOf(cells[3]),
      driverVersion,
      nodeNumber: countOf(/^\/dev\/xpu(\d+)$/.exec(cells[4] ?? '')?.[1]),
      processes:
        processes?.flatMap(({ device, ...process }) => (device === index ? [process] : [])).slice(0, 256) ??
        null,
    });
  }
  return readings;
}

type Owned = DeviceProcess & { readonly device: number };

function readProcess(cells: readonly string[], refuse: (detail: string) => Error): Owned {
  const device = countOf(cells[0]);
  const pid = countOf(cells[1]);
  if (device === null || pid === null || cells.length < 6) throw refuse('a process of the table');
  const bytes = measure(cells[4], { unit: /MB/, factor: MEBIBYTE });
  return {
    device,
    pid,
    name: wordsOf(cells.slice(5).join('|'), 256),
    memoryBytes: typeof bytes === 'number' ? bytes : null,
  };
}

const mib = { unit: /MiB/, factor: MEBIBYTE };

/** The lines of the table of version 5 on. */
function readThreeLines(
  rows: readonly (readonly string[])[],
  refuse: (detail: string) => Error,
): ToolReading[] {
  const [title, one, two, three, ...body] = rows;
  const version = /^XPU-SMI\s+Driver Version:\s*(\S+)\s/.exec(title?.[0] ?? '')?.[1];
  const isKnown =
    /^XPU\s+Name\s+Persistence-M\|Bus-Id\s+Disp\.A\|Volatile Uncorr\. ECC$/.test(one?.join('|') ?? '') &&
    /^Fan\s+Temp\s+Perf\s+Pwr:Usage\/Cap\|Memory-Usage\|XPU-Util\s+Compute M\.$/.test(two?.join('|') ?? '') &&
    three?.join('|') === '|L3-Usage|SR-IOV M.';
  if (version === undefined || !isKnown) throw refuse('its heading');
  const at = body.findIndex((cells) => /^Processes:$/.test(cells[0] ?? ''));
  const deviceRows = at === -1 ? body : body.slice(0, at);
  const processes =
    at === -1 ? null : body.slice(at + 1).flatMap((cells, index) => readRunning(cells, index, refuse));
  const readings: ToolReading[] = [];
  for (let line = 0; line < deviceRows.length; line += 3) {
    const reading = readDevice(deviceRows.slice(line, line + 3), version, processes);
    if (reading === null) throw refuse(`device ${readings.length + 1} of the table`);
    if (readings.some(({ index }) => index === reading.index))
      throw refuse(`device ${reading.index} stands there twice`);
    readings.push(reading);
  }
  return readings;
}

function readDevice(
  [one, two, three]: readonly (readonly string[])[],
  driverVersion: string,
  processes: readonly Owned[] | null,
): ToolReading | null {
  if (one?.length !== 3 || two?.length !== 3 || three?.length !== 3) return null;
  const identity = /^(\d{1,9})\s+(\S.*?)\s+\S+$/.exec(one[0] ?? '');
  const place = /^(\S+)\s+\S+$/.exec(one[1] ?? '');
  const state = /^(\S+)\s+(\S+)\s+(\S+)\s+(\S.*)$/.exec(two[0] ?? '');
  const load = /^(\S+)\s+\S.*$/.exec(two[2] ?? '');
  const power = pairOf(state?.[4]);
  const memory = pairOf(two[1]);
  if (identity === null || place === null || state === null || load === null) return null;
  if (power === null || memory === null || three[0] !== '') return null;
  const index = Number(identity[1]);
  const busId = busIdOf(place[1]);
  const volatile = measure(one[2]);
  return {
    ...emptyReading(index, busId ?? `xpu-${index}`, {
      values: {
        busyRatio: measurePercent(load[1], /%/),
        memoryUsedBytes: measure(memory[0], mib),
        memoryTotalBytes: measure(memory[1], mib),
        powerWatts: measure(power[0], { unit: /W/ }),
        powerLimitWatts: measure(power[1], { unit: /W/ }),
        temperatureCelsius: measureCelsius(state[2]),
        fanRatio: measurePercent(state[1], /%/),
      },
    }),
    name: wordsOf(identity[2]),
    busId,
    driverVersion: wordsOf(driverVersion, 64),
    nodeNumber: index,
    // Errors since the driver was loaded, as the heading has it: those before are not told, so no counter.
    healthKnown: typeof volatile === 'number',
    conditions:
      typeof volatile === 'number' && volatile > 0
        ? [
            {
              code: 'ecc-uncorrected',
              rung: 'warn',
              text: `${volatile} memory errors that could not be corrected since the driver was loaded.`,
            },
          ]
        : [],
    processes:
      processes?.flatMap(({ device, ...process }) => (device === index ? [process] : [])).slice(0, 256) ??
      null,
  };
}

/** `|    0   N/A  N/A      1234      C   python3                         512MiB |` */
function readRunning(cells: readonly string[], index: number, refuse: (detail: string) => Error): Owned[] {
  const cell = cells.join('|');
  // Two lines of heading.
  if (index === 0 && /^XPU\s+XI\s+CI\s+PID\s+Type\s+Process name\s+XPU Memory$/.test(cell)) return [];
  if (index === 1 && /^ID\s+ID\s+Usage$/.test(cell)) return [];
  if (/^No running processes? found$/i.test(cell)) return [];
  const match =
    /^(\d{1,9})\s+(?:N\/A|\d{1,4})\s+(?:N\/A|\d{1,4})\s+(\d{1,9})\s+[A-Z+]{1,8}\s+(\S.*?)\s+(\d+MiB|N\/A)$/.exec(
      cell,
    );
  if (index < 2 || match === null) throw refuse('a process of the table');
  const bytes = measure(match[4], mib);
  return [
    {
      device: Number(match[1]),
      pid: Number(match[2]),
      name: wordsOf(match[3], 256),
      memoryBytes: typeof bytes === 'number' ? bytes : null,
    },
  ];
}
