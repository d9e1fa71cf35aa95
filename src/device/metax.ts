// MetaX: the table of mx-smi, two lines a GPU, then the processes; and the matrix of its links (`topo -m`).
//
//   | Board       Name | GPU   Persist-M | Bus-id              | GPU-Util      sGPU-M |
//   | Pwr:Usage/Cap    | Temp       Perf | Memory-Usage        | GPU-State            |
//
// Until 2.2.4 the board had no number (and before 2.2 there was no GPU-State; before 2.1, no cap of the power):
//
//   | GPU         NAME                   | Bus-id              | GPU-Util             |
//   | Temp        Pwr:Usage/Cap          | Memory-Usage        | [GPU-State]          |
import { isFault } from '../base/fault.ts';
import type { DeviceProcess } from '../protocol/device.ts';
import type { ToolReading, Vendor } from './accelerator.ts';
import { pairOf, readBoxLines, readPairs } from './box-table.ts';
import { emptyReading, layoutFault, refuseFlood, refuseTwins } from './reading.ts';
import { readRenderNode } from './render-node.ts';
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

const TOOL = 'mx-smi';
// Its runtime stands in for another vendor's and takes that one's variable.
const variables = ['CUDA_VISIBLE_DEVICES'];

export function createMetax(devRoot = '/dev'): Vendor {
  let links: readonly MetaxLinks[] | null = null;
  let isWithoutLinks = false;
  return {
    name: 'metax',
    title: 'MetaX',
    level: 'captures',
    tools: [TOOL],
    async query(tool) {
      const stdout = await askText(tool, []);
      const readings = refuseTwins(TOOL, stdout, parseMxSmi(stdout));
      if (links?.length !== readings.length && !isWithoutLinks && tool.remainingMs() > 500) {
        try {
          links = parseMxTopology((await tool.run(['topo', '-m'])).stdout);
        } catch (error) {
          if (!isFault(error)) throw error;
          isWithoutLinks = error.code !== 'DEVICE_TOOL_LATE';
        }
      }
      return readings.map((reading) => {
        const own = links?.find(({ gpu }) => gpu === reading.index);
        return {
          ...reading,
          nodeNumber: readRenderNode(devRoot, reading.busId),
          numaNode: own?.numaNode ?? null,
          links: (own?.links ?? []).flatMap(({ to, kind }) => {
            const peer = readings.find(({ index }) => index === to)?.id ?? null;
            return [{ kind: kind === 'MX' ? 'metaxlink' : kind, peer, count: 1, up: null }];
          }),
        };
      });
    },
    ...indexGrants({ variables, nodePrefix: '/dev/dri/renderD', controlNodes: ['/dev/mxcd'] }),
  };
}

type Owned = DeviceProcess & { readonly gpu: number };

export function parseMxSmi(text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  const lines = readBoxLines(TOOL, text).filter(({ isFrame }) => !isFrame);
  const rows = lines.map(({ cells }) => cells);
  const start = rows.findIndex((cells) => /^(?:Board|GPU)\s+Name$/i.test(cells[0] ?? ''));
  const [one, two] = [rows[start], rows[start + 1]];
  const titles = rows.slice(0, Math.max(0, start)).join('\n');
  const version = /^MX-SMI\s+\S+\s+Kernel Mode Driver Version:\s*(\S+)/.exec(titles)?.[1];
  const layout = layouts.find(
    (each) => each.one.test(`${one?.join('|')}`) && each.two.test(`${two?.join('|')}`),
  );
  if (version === undefined || layout === undefined) throw refuse('its heading');
  const bios = /BIOS Version:\s*(\S+)/.exec(titles)?.[1];
  const body = rows.slice(start + 2);
  const at = body.findIndex((cells) => /^Process:$/.test(cells[0] ?? ''));
  const gpuRows = at === -1 ? body : body.slice(0, at);
  const processes =
    at === -1 ? null : body.slice(at + 1).flatMap((cells, index) => readProcess(cells, index, refuse));
  const firmwareVersion = wordsOf(bios, 64);
  const readOne = (one: Cells, two: Cells) => readGpu(layout.read(one ?? [], two ?? []), version, processes);
  const readings = readPairs(gpuRows, 'GPU', readOne, refuse).map((reading) => ({
    ...reading,
    firmwareVersion,
  }));
  const attached = countOf(/^Attached GPUs\s*:\s*(\d{1,4})\s*$/m.exec(text)?.[1]);
  if (attached !== null && attached !== readings.length)
    throw refuse(`${attached} GPUs announced, ${readings.length} listed`);
  return readings;
}

type Cells = readonly string[] | undefined;

/** Both lines of a GPU as the pattern of its layout takes them apart. */
interface GpuCells {
  readonly index: string;
  readonly name: string;
  readonly bus: string;
  readonly busy: string;
  readonly temperature: string;
  readonly power: string;
  readonly memory: string;
  readonly state: string;
}

/** A layout of the table: the two lines of its heading, and the pattern of the two lines of a GPU. */
function layoutOf(one: RegExp, two: RegExp, gpu: RegExp) {
  return {
    one,
    two,
    read: (first: readonly string[], second: readonly string[]): GpuCells | null =>
      (gpu.exec(`${first.join('|')}||${second.join('|')}`)?.groups as GpuCells | undefined) ?? null,
  };
}

const layouts = [
  layoutOf(
    /^Board\s+Name\|GPU\s+Persist-M\|Bus-id\|GPU-Util\s+sGPU-M$/i,
    /^Pwr:Usage\/Cap\|Temp\s+Perf\|Memory-Usage\|/,
    /^\d{1,9} +(?<name>[^|\s][^|]*)\|(?<index>\d{1,9}) +\S+\|(?<bus>[^|]*)\|(?<busy>\S+) +\S+\|\|(?<power>[^|]*)\|(?<temperature>\S+) +\S+\|(?<memory>[^|]*)\|(?<state>[^|]*)$/,
  ),
  layoutOf(
    /^GPU\s+NAME\|Bus-id\|GPU-Util$/i,
    /^Temp\s+(?:Pwr:Usage\/Cap|Power)\|Memory-Usage\|(?:GPU-State)?$/,
    /^(?<index>\d{1,9}) +(?<name>[^|\s][^|]*)\|(?<bus>[^|]*)\|(?<busy>\S+)\|\|(?<temperature>\S+) +(?<power>[^|\s][^|]*)\|(?<memory>[^|]*)\|(?<state>[^|]*)$/,
  ),
];

function readGpu(
  cells: GpuCells | null,
  driverVersion: string,
  processes: readonly Owned[] | null,
): ToolReading | null {
  const memory = pairOf(/^(.+) MiB$/.exec(cells?.memory ?? '')?.[1]);
  // Where no cap is told there is no slash either.
  const power = pairOf(cells?.power.includes('/') === false ? `${cells.power}/N/A` : cells?.power);
  if (cells === null || power === null || memory === null) return null;
  const index = Number(cells.index);
  const busId = busIdOf(cells.bus);
  const word = cells.state;
  return {
    ...emptyReading(index, busId ?? `gpu-${index}`, {
      values: {
        busyRatio: measurePercent(cells.busy, /%/),
        memoryUsedBytes: measure(memory[0], { factor: MEBIBYTE }),
        memoryTotalBytes: measure(memory[1], { factor: MEBIBYTE }),
        powerWatts: measure(power[0], { unit: /W/ }),
        powerLimitWatts: measure(power[1], { unit: /W/ }),
        temperatureCelsius: measureCelsius(cells.temperature),
      },
    }),
    name: wordsOf(cells.name),
    busId,
    driverVersion: wordsOf(driverVersion, 64),
    processes:
      processes?.flatMap(({ gpu: of, ...process }) => (of === index ? [process] : [])).slice(0, 256) ?? null,
    // Only `Available` has been seen; any other word says that it is not.
    healthKnown: word !== '',
    conditions:
      word === '' || word === 'Available'
        ? []
        : [
            {
              code: 'gpu-not-available',
              rung: 'noNewJobs',
              text: `The tool calls the state of the GPU "${wordsOf(word, 40) ?? '?'}", not Available.`,
            },
          ],
  };
}

/** `|  0                    123456      python3                       1234 |` */
function readProcess(cells: readonly string[], index: number, refuse: (detail: string) => Error): Owned[] {
  const [cell = ''] = cells;
  // Two lines of heading.
  if (index === 0 && /^GPU\s+PID\s+Process Name\s+GPU Memory$/.test(cell)) return [];
  if (index === 1 && /^Usage\(MiB\)$/.test(cell)) return [];
  if (/^no process found$/i.test(cell)) return [];
  const match = /^(\d{1,9})\s+(\d{1,9})\s+(\S.*?)\s+(\d+|N\/A)$/.exec(cells.join('|'));
  const pid = countOf(match?.[2]);
  if (index < 2 || match === null || pid === null) throw refuse('a process of the table');
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

export interface MetaxLinks {
  readonly gpu: number;
  readonly links: readonly { readonly to: number; readonly kind: string }[];
  readonly numaNode: number | null;
}

/** The matrix of `topo -m`. */
export function parseMxTopology(text: string): MetaxLinks[] {
  refuseFlood(TOOL, text);
  const lines = text.split('\n');
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  if (lines.length > 2000 || lines.some((line) => line.length > 5000)) throw refuse('too long');
  const start = lines.findIndex((line) => /^\s+GPU0\s.*CPU Affinity\s*$/.test(line));
  const numbers = (lines[start] ?? '').match(/GPU\d{1,4}(?=\s)/g)?.map((name) => Number(name.slice(3))) ?? [];
  if (start === -1 || new Set(numbers).size !== numbers.length) throw refuse('its heading');
  const found: MetaxLinks[] = [];
  for (const line of lines.slice(start + 1)) {
    if (line.trim() === '') break;
    const [who = '', ...cells] = line.trim().split(/\s+/);
    const gpu = countOf(/^GPU(\d+)$/.exec(who)?.[1]);
    const kinds = cells.slice(0, numbers.length);
    const isWhole = cells.length === numbers.length + 2 && kinds.every((kind) => /^[A-Z]{1,8}$/.test(kind));
    if (gpu === null || !isWhole || found.some((other) => other.gpu === gpu))
      throw refuse('a line of the matrix');
    found.push({
      gpu,
      links: numbers.flatMap((to, place) => (to === gpu ? [] : [{ to, kind: kinds[place] ?? '' }])),
      numaNode: countOf(cells[numbers.length]),
    });
  }
  if (found.length !== numbers.length) throw refuse('the matrix has no end');
  return found;
}
