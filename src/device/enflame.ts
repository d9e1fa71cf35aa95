// Enflame: the table of efsmi, two lines a card. Its cell Mem holds the size alone, and DUsed is the load.
//
//   | DEV    NAME                | FW VER          | BUS-ID      ECC           |
//   | TEMP   Dpm   Pwr(Usage/Cap)| Mem     GCU Virt| DUsed       SN            |
//
// From 1.7 on: `EFSMI: 1.7.2`, `Boot FW VER`, `Lpm`, and a slash between the two powers.
import type { ToolReading, Vendor } from './accelerator.ts';
import { readBoxLines, readPairs } from './box-table.ts';
import { emptyReading, layoutFault, refuseTwins } from './reading.ts';
import { askText, busIdOf, MEBIBYTE, measure, measureCelsius, measurePercent, wordsOf } from './tool-text.ts';
import { indexGrants } from './vendor-grant.ts';

const TOOL = 'efsmi';
const variables = ['TOPS_VISIBLE_DEVICES', 'ENFLAME_VISIBLE_DEVICES'];

export const enflame: Vendor = {
  name: 'enflame',
  title: 'Enflame',
  level: 'captures',
  tools: [TOOL],
  async query(tool) {
    const stdout = await askText(tool, []);
    return refuseTwins(TOOL, stdout, parseEfsmi(stdout));
  },
  ...indexGrants({ variables, nodePrefix: '/dev/gcu', controlNodes: ['/dev/gcuctl'] }),
};

export function parseEfsmi(text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(TOOL, text, detail);
  const lines = readBoxLines(TOOL, text).filter(({ isFrame }) => !isFrame);
  const [title, one, two, ...rows] = lines.map(({ cells }) => cells);
  const version = /^EFSMI:?\s+\S+\s+Driver Ver:\s*(\S+)$/.exec(title?.[0] ?? '')?.[1];
  const isKnown =
    /^DEV\s+NAME$/.test(one?.[0] ?? '') &&
    /^(?:Boot )?FW VER$/.test(one?.[1] ?? '') &&
    /^BUS-ID\s+ECC$/.test(one?.[2] ?? '') &&
    /^TEMP\s+[DL]pm\s+Pwr\(Usage\/Cap\)$/.test(two?.[0] ?? '') &&
    /^Mem\s+GCU Virt$/.test(two?.[1] ?? '') &&
    /^DUsed\s+SN$/.test(two?.[2] ?? '');
  if (version === undefined || !isKnown) throw refuse('its heading');
  return readPairs(rows, 'card', (one, two) => readCard(one, two, version), refuse);
}

function readCard(
  one: readonly string[] | undefined,
  two: readonly string[] | undefined,
  driverVersion: string,
): ToolReading | null {
  if (one?.length !== 3 || two?.length !== 3) return null;
  const identity = /^(\d{1,9})\s+(\S.*)$/.exec(one[0] ?? '');
  const bus = /^(\S+)\s+(\S+)$/.exec(one[2] ?? '');
  // `39 C   Sleep    105W  300W`, `35℃    LP1      68W / 300W`
  const state = /^(\S+(?:\s+C)?)\s+([A-Za-z]\S*)\s+([^\s/]+)(?:\s*\/\s*|\s+)([^\s/]+)$/.exec(two[0] ?? '');
  const memory = /^(\S+)\s+(\S+)$/.exec(two[1] ?? '');
  const load = /^(\S+)(?:\s+(\S+))?$/.exec(two[2] ?? '');
  if (identity === null || bus === null || state === null || memory === null || load === null) return null;
  const index = Number(identity[1]);
  const serial = wordsOf(load[2]);
  const busId = busIdOf(bus[1]);
  return {
    ...emptyReading(index, serial ?? busId ?? `card-${index}`, {
      values: {
        busyRatio: measurePercent(load[1], /%/),
        memoryTotalBytes: measure(memory[1], { unit: /MiB/, factor: MEBIBYTE }),
        powerWatts: measure(state[3], { unit: /W/ }),
        powerLimitWatts: measure(state[4], { unit: /W/ }),
        temperatureCelsius: measureCelsius(state[1]),
      },
    }),
    name: wordsOf(identity[2]),
    busId,
    serial,
    driverVersion: wordsOf(driverVersion, 64),
    firmwareVersion: wordsOf(one[1], 64),
    nodeNumber: index,
  };
}
