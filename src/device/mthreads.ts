// Moore Threads: the table of mthreads-gmi, three lines a GPU, then the processes. Written after public examples of
// versions 2.0 to 2.4; power and clocks do not stand in it.
//
//   ID   Name           |PCIe                |%GPU  Mem
//        Device Type    |Pcie Lane Width     |Temp  MPC Capable
//                                            |      ECC Mode
import type { DeviceProcess } from '../protocol/device.ts';
import type { ToolReading, Vendor } from './accelerator.ts';
import { emptyReading, layoutFault, refuseFlood, refuseTwins } from './reading.ts';
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

const TOOL = 'mthreads-gmi';
const variables = ['MUSA_VISIBLE_DEVICES', 'MTHREADS_VISIBLE_DEVICES'];
const mib = { unit: /MiB/, factor: MEBIBYTE };

export const mthreads: Vendor = {
  name: 'mthreads',
  title: 'Moore Threads',
  level: 'bestEffort',
  tools: [TOOL],
  async query(tool) {
    const stdout = await askText(tool, []);
    return refuseTwins(TOOL, stdout, parseMthreadsGmi(stdout));
  },
  ...indexGrants({ variables, nodePrefix: '/dev/mtgpu.' }),
};

const isFrame = (line: string): boolean => /^\+?-{20,300}\+?$/.test(line);

export function parseMthreadsGmi(text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  refuseFlood(TOOL, text);
  const all = text.split('\n');
  if (all.length > 5000 || all.some((line) => line.length > 2000)) throw refuse('too long');
  const lines = all.map((line) => line.trim()).filter((line) => line !== '');
  const version = /^[ \t]*mthreads-gmi:[ \t]*\S{1,64}[ \t]+Driver Version:[ \t]*(\S{1,64})\s*$/m.exec(
    text,
  )?.[1];
  const start = lines.findIndex((line) => /^ID\s+Name\s*\|PCIe\s*\|%GPU\s+Mem$/.test(line));
  const isKnown =
    version !== undefined &&
    /^Device Type(?:\s+Perf)?\s*\|Pcie Lane Width\s*\|Temp\s+MPC Capable$/.test(lines[start + 1] ?? '') &&
    /^\|\s*ECC Mode$/.test(lines[start + 2] ?? '');
  if (start === -1 || !isKnown) throw refuse('its heading');
  if (lines.slice(start + 1).some((line) => line.startsWith('mthreads-gmi:')))
    throw refuse('more than one table');
  if (!isFrame(lines.at(-1) ?? '')) throw refuse('the table has no end');
  const body = lines.slice(start + 3).filter((line) => !isFrame(line));
  const at = body.findIndex((line) => /^Processes:$/.test(line));
  const gpuLines = at === -1 ? body : body.slice(0, at);
  const processes =
    at === -1 ? null : body.slice(at + 1).flatMap((line, index) => readProcess(line, index, refuse));
  const readings: ToolReading[] = [];
  for (let line = 0; line < gpuLines.length; line += 3) {
    const [one = '', two = '', three = ''] = gpuLines.slice(line, line + 3);
    const first = /^(\d{1,9})\s+([^|]*\S)\s*\|\s*(\S+)\s*\|\s*(\S+)\s+(\S+)\((\S+)\)$/.exec(one);
    const second = /^[^|]+\|\s*\S+\s*\|\s*(\S+)\s+\S+$/.exec(two);
    if (first === null || second === null || !/^\|/.test(three))
      throw refuse(`GPU ${readings.length + 1} of the table`);
    const index = Number(first[1]);
    if (readings.some((other) => other.index === index)) throw refuse(`GPU ${index} stands there twice`);
    const busId = busIdOf(first[3]);
    readings.push({
      ...emptyReading(index, busId ?? `gpu-${index}`, {
        values: {
          busyRatio: measurePercent(first[4], /%/),
          memoryUsedBytes: measure(first[5], mib),
          memoryTotalBytes: measure(first[6], mib),
          temperatureCelsius: measureCelsius(second[1]),
        },
      }),
      name: wordsOf(first[2]),
      busId,
      driverVersion: wordsOf(version, 64),
      nodeNumber: index,
      processes:
        processes?.flatMap(({ gpu, ...process }) => (gpu === index ? [process] : [])).slice(0, 256) ?? null,
    });
  }
  return readings;
}

type Owned = DeviceProcess & { readonly gpu: number };

/** `0    1123      /usr/lib/xorg/Xorg                       134MiB` */
function readProcess(line: string, index: number, refuse: (detail: string) => Error): Owned[] {
  // Two lines of heading.
  if (index === 0 && /^ID\s+PID\s+Process name\s+GPU Memory$/.test(line)) return [];
  if (index === 1 && /^Usage$/.test(line)) return [];
  if (/^No running processes? found$/i.test(line)) return [];
  const match = /^(\d{1,9})\s+(\d{1,9})\s+(\S.*?)\s+(\d+MiB|N\/A)$/.exec(line);
  const pid = countOf(match?.[2]);
  if (index < 2 || match === null || pid === null) throw refuse('a process of the table');
  const bytes = measure(match[4], mib);
  return [
    {
      gpu: Number(match[1]),
      pid,
      name: wordsOf(match[3], 256),
      memoryBytes: typeof bytes === 'number' ? bytes : null,
    },
  ];
}
