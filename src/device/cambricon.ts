// Cambricon: the table of cnmon, two lines a card, then the processes.
//
//   | Card  VF  Name       Firmware |               Bus-Id | Util        Ecc-Error |
//   | Fan   Temp      Pwr:Usage/Cap |         Memory-Usage | SR-IOV   Compute-Mode |
//
// Before version 5 each card told its driver (`Inited  Driver`) in the place of the bus, and the title none.
import type { DeviceProcess } from '../protocol/device.ts';
import type { Measured, ToolReading, Vendor } from './accelerator.ts';
import { pairOf, readBoxLines, readPairs, tokensOf } from './box-table.ts';
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

const TOOL = 'cnmon';
const variables = ['MLU_VISIBLE_DEVICES'];
const mib = { unit: /MiB/, factor: MEBIBYTE };

export const cambricon: Vendor = {
  name: 'cambricon',
  title: 'Cambricon',
  level: 'captures',
  tools: [TOOL],
  async query(tool) {
    const stdout = await askText(tool, []);
    return refuseTwins(TOOL, stdout, parseCnmon(stdout));
  },
  ...indexGrants({ variables, nodePrefix: '/dev/cambricon_dev', controlNodes: ['/dev/cambricon_ctl'] }),
};

export function parseCnmon(text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  const lines = readBoxLines(TOOL, text).filter(({ isFrame }) => !isFrame);
  const [title, one, two, ...rows] = lines.map(({ cells }) => cells);
  const version = /^CNMON\s+\S+(?:\s+Driver\s+v?(\S+))?$/.exec(title?.[0] ?? '');
  const driver = version?.[1] ?? null;
  const isKnown =
    /^Card\s+VF\s+Name\s+Firmware$/.test(one?.[0] ?? '') &&
    (driver === null ? /^Inited\s+Driver$/ : /^Bus-Id$/).test(one?.[1] ?? '') &&
    /^Util\s+Ecc-Error$/.test(one?.[2] ?? '') &&
    /^Fan\s+Temp\s+Pwr:Usage\/Cap$/.test(two?.[0] ?? '') &&
    two?.[1] === 'Memory-Usage';
  if (version === null || !isKnown) throw refuse('its heading');
  const at = rows.findIndex((cells) => /^Processes:$/.test(cells[0] ?? ''));
  const cardRows = at === -1 ? rows : rows.slice(0, at);
  const processes =
    at === -1 ? null : rows.slice(at + 1).flatMap((cells, index) => readProcess(cells, index, refuse));
  return readPairs(cardRows, 'card', (one, two) => readCard(one, two, driver, processes), refuse);
}

type Owned = DeviceProcess & { readonly card: number };

function readCard(
  one: readonly string[] | undefined,
  two: readonly string[] | undefined,
  driver: string | null,
  processes: readonly Owned[] | null,
): ToolReading | null {
  if (one?.length !== 3 || two?.length !== 3) return null;
  const identity = /^(\d{1,9})\s+(\S+)\s+(\S.*?)\s+(v\d\S*)$/.exec(one[0] ?? '');
  const state = /^(\S+)\s+(\S+)\s+(.+)$/.exec(two[0] ?? '');
  const [busy, ecc, ...more] = tokensOf(one[2] ?? '');
  const power = pairOf(state?.[3]);
  const memory = pairOf(two[1]);
  if (identity === null || state === null || power === null || memory === null) return null;
  if (ecc === undefined || more.length > 0) return null;
  const index = Number(identity[1]);
  const bus = driver === null ? null : busIdOf(one[1]);
  const driverVersion = driver ?? /^\S+\s+v?(\S+)$/.exec(one[1] ?? '')?.[1];
  const error: Measured = measure(ecc);
  return {
    ...emptyReading(index, bus ?? `card-${index}`, {
      values: {
        busyRatio: measurePercent(busy, /%/),
        memoryUsedBytes: measure(memory[0], mib),
        memoryTotalBytes: measure(memory[1], mib),
        powerWatts: measure(power[0], { unit: /W/ }),
        powerLimitWatts: measure(power[1], { unit: /W/ }),
        temperatureCelsius: measureCelsius(state[2]),
        fanRatio: measurePercent(state[1], /%/),
        // One number for errors of both kinds: which of them it counts is not told.
        eccUncorrectedTotal: typeof error === 'number' ? 'unsupported' : error,
      },
    }),
    name: wordsOf(identity[3]),
    busId: bus,
    driverVersion: wordsOf(driverVersion, 64),
    firmwareVersion: wordsOf(identity[4], 64),
    nodeNumber: index,
    processes:
      processes?.flatMap(({ card, ...process }) => (card === index ? [process] : [])).slice(0, 256) ?? null,
  };
}

/** `|  0     /   1234    python train.py        512 MiB |` */
function readProcess(cells: readonly string[], index: number, refuse: (detail: string) => Error): Owned[] {
  const [cell = ''] = cells;
  if (index === 0) {
    if (!/^Card\s+(?:MI|VF)\s+PID\s+Command Line\s+MLU Memory Usage$/.test(cell))
      throw refuse('the heading of its processes');
    return [];
  }
  if (/^No running processes? found$/i.test(cell)) return [];
  const match = /^(\d{1,9})\s+(\S+)\s+(\d{1,9})\s+(\S.*?)\s+(\d+ MiB|N\/A)$/.exec(cells.join('|'));
  const pid = countOf(match?.[3]);
  if (match === null || pid === null) throw refuse('a process of the table');
  const bytes = measure(match[5], mib);
  return [
    {
      card: Number(match[1]),
      pid,
      name: wordsOf(match[4], 256),
      memoryBytes: typeof bytes === 'number' ? bytes : null,
    },
  ];
}
