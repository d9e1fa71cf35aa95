// How devices are joined: `nvidia-smi topo -m` (a matrix of paths) and `nvidia-smi nvlink -s` (the state of each link).
// Both count devices as the list does.
import type { DeviceLink } from '../../protocol/device.ts';
import type { ToolReading } from '../accelerator.ts';
import { emptyReading, layoutFault } from '../reading.ts';
import { judgeSignals } from './judge.ts';

const MAX_LINE = 16_384;
const gpuName = /^GPU(\d{1,4})$/;
const gpuLine = /^GPU (\d{1,4}): (.{1,200}?)(?: \(UUID: ([A-Za-z0-9-]{1,80})\))?\s*$/;
const linkLine = /^\s+Link (\d{1,3}): +(?:<inactive>|\d{1,5}(?:\.\d{1,6})? GB\/s)\s*$/;
/** What stands in place of links. */
const without = /^(?:Device does not have or support Nvlink|Nvlink queries are not supported|NVML: )/i;

export interface Path {
  readonly kind: string;
  /** Number of the device at the other end. */
  readonly peer: number;
  readonly count: number;
}

export interface Place {
  readonly index: number;
  readonly numaNode: number | null;
  readonly paths: readonly Path[];
}

export function isTopology(text: string): boolean {
  const [head = []] = tableOf(text);
  return head.includes('CPU Affinity');
}

/** Where each device sits, and its paths to the others. Throws DEVICE_OUTPUT_UNKNOWN. */
export function parseTopology(text: string): Place[] {
  const [head = [], ...below] = tableOf(text);
  if (!head.includes('CPU Affinity')) throw layoutFault('nvidia-smi topo -m', text);
  const names = head.slice(0, head.indexOf('CPU Affinity'));
  const numaAt = head.indexOf('NUMA Affinity');
  const rows = below.filter(([name = '']) => gpuName.test(name));
  const places = rows.map(([name = '', ...cells]): Place => {
    const index = Number(gpuName.exec(name)?.[1]);
    const paths = names.map((peer, at) => pathOf(cells[at] ?? '', peer, peer === name, text));
    // Where a cell is empty, which one it is cannot be told.
    const node = cells.length === head.length && numaAt >= 0 ? (cells[numaAt] ?? '') : '';
    return {
      index,
      numaNode: /^\d{1,4}$/.test(node) ? Number(node) : null,
      paths: paths.filter((path) => path !== null),
    };
  });
  const devices = names.filter((name) => gpuName.test(name));
  if (places.length !== devices.length || places.some(({ index }, at) => devices[at] !== `GPU${index}`))
    throw layoutFault('nvidia-smi topo -m', text, 'a matrix with a row too few or too many');
  return places;
}

function pathOf(cell: string, peer: string, isSelf: boolean, text: string): Path | null {
  const match = /^(?:(X)|NV(\d{1,3})|([A-Z]{2,8}))$/.exec(cell);
  if (match === null || (match[1] !== undefined) !== isSelf)
    throw layoutFault('nvidia-smi topo -m', text, 'a path of another form');
  const index = gpuName.exec(peer)?.[1];
  if (isSelf || index === undefined) return null;
  const links = match[2];
  return links === undefined
    ? { kind: match[3] ?? '', peer: Number(index), count: 1 }
    : { kind: 'nvlink', peer: Number(index), count: Number(links) };
}

/** The cells of each line, from the one that names the columns on. */
function tableOf(text: string): string[][] {
  const lines = linesOf(text);
  const head = lines.findIndex((line) => line.includes('GPU0'));
  return head < 0 ? [] : lines.slice(head).map(cellsOf);
}

function linesOf(text: string): string[] {
  return text.split('\n').map((line) => line.slice(0, MAX_LINE));
}

/** Apart by tabs or by more than one blank; the first line is underlined by escapes. */
function cellsOf(line: string): string[] {
  return (
    line
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the tool writes them
      .replace(/\x1b\[[0-9;]{0,8}m/g, '')
      .replace(/ {2,}/g, '\t')
      .split('\t')
      .map((cell) => cell.trim())
      .filter((cell) => cell !== '')
  );
}

export function readingsOfTopology(text: string): ToolReading[] {
  return parseTopology(text).map((place) => ({
    ...emptyReading(place.index, `nvidia-${place.index}`),
    numaNode: place.numaNode,
    links: place.paths.map(({ kind, peer, count }) => ({ kind, peer: `nvidia-${peer}`, count, up: null })),
  }));
}

export interface Connections {
  readonly index: number;
  readonly name: string;
  readonly uuid: string | null;
  readonly up: number;
  readonly down: number;
}

export function isLinkState(text: string): boolean {
  return (
    gpuLine.test(text.split('\n', 1)[0] ?? '') &&
    /^[ \t]+Link \d|^(?:Device does|Nvlink q|NVML: )/im.test(text)
  );
}

/** How many links of each device work. Throws DEVICE_OUTPUT_UNKNOWN. */
export function parseLinkState(text: string): Connections[] {
  const found: { index: number; name: string; uuid: string | null; up: number; down: number }[] = [];
  for (const line of linesOf(text)) {
    const gpu = gpuLine.exec(line);
    const last = found.at(-1);
    if (gpu !== null)
      found.push({ index: Number(gpu[1]), name: gpu[2] ?? '', uuid: gpu[3] ?? null, up: 0, down: 0 });
    else if (last !== undefined && linkLine.test(line))
      last[line.includes('<inactive>') ? 'down' : 'up'] += 1;
    else if (line.trim() !== '' && !without.test(line)) throw layoutFault('nvidia-smi nvlink -s', line);
  }
  if (found.some(({ index }, at) => index <= (found[at - 1]?.index ?? -1)))
    throw layoutFault('nvidia-smi nvlink -s', text, 'devices out of order');
  return found;
}

export function readingsOfLinkState(text: string): ToolReading[] {
  return parseLinkState(text).map(({ index, name, uuid, up, down }) => ({
    ...emptyReading(index, uuid ?? `nvidia-${index}`),
    name,
    links: [linkTo(null, up, true), linkTo(null, down, false)].filter(({ count }) => count > 0),
    conditions: judgeSignals(linkSignals({ up, down })),
  }));
}

export const linkTo = (peer: string | null, count: number, up: boolean | null): DeviceLink => ({
  kind: 'nvlink',
  peer,
  count,
  up,
});

/** Where every link is down, nothing is plugged into the device: no fault. */
export function linkSignals({ up, down }: { up: number; down: number }): Record<string, number> {
  return up === 0 ? {} : { linksDown: down };
}
