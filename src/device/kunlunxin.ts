// Kunlunxin: the tables of xpu_smi, one line a device: DEVICES, VIDEO, PROCESSES. It prints neither power nor
// temperature there. Another vendor has a tool of the name xpu-smi: its output is refused as unknown.
//
//   | DevID |   PCI Addr   | Model |   SN   |    INODE   | UseRate |    L3     |    Memory    |
import type { DeviceProcess } from '../protocol/device.ts';
import type { Measured, ToolReading, Vendor } from './accelerator.ts';
import { pairOf, readBoxLines } from './box-table.ts';
import { emptyReading, layoutFault, refuseTwins } from './reading.ts';
import { askText, busIdOf, countOf, MEBIBYTE, measure, measurePercent, wordsOf } from './tool-text.ts';
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
  const driverVersion = wordsOf(/^Driver Version:\s*(\S{1,64})\s*$/m.exec(text)?.[1], 64);
  const tables = new Map<string, (readonly string[])[]>();
  let open: (readonly string[])[] | null = null;
  for (const { cells, isFrame } of readBoxLines(TOOL, text)) {
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
