// The table that amd-smi prints without options, two lines a GPU, then the processes. For a version, or a wrapper, that
// does not print JSON; it tells no clocks, no energy and no unique ids. Written from public examples of 26.0 to 26.2.
//
//   | BDF                        GPU-Name | Mem-Uti   Temp   UEC       Power-Usage |
//   | GPU  HIP-ID  OAM-ID  Partition-Mode | GFX-Uti    Fan               Mem-Usage |
import type { DeviceProcess } from '../../protocol/device.ts';
import type { ToolReading } from '../accelerator.ts';
import { pairOf, readBoxLines, readPairs } from '../box-table.ts';
import { emptyReading, layoutFault } from '../reading.ts';
import { busIdOf, MEBIBYTE, measure, measureCelsius, measurePercent, wordsOf } from '../tool-text.ts';

type Cells = readonly string[] | undefined;
type Owned = DeviceProcess & { readonly gpu: number };

/** Throws DEVICE_OUTPUT_UNKNOWN. */
export function parseAmdSmiTable(tool: string, text: string): ToolReading[] {
  const refuse = (detail: string) => layoutFault(tool, text, detail);
  const rows = readBoxLines(tool, text).flatMap(({ cells, isFrame }) => (isFrame ? [] : [cells]));
  const start = rows.findIndex((cells) => /^BDF\s+GPU-Name$/.test(cells[0] ?? ''));
  const isKnown =
    /^Mem-Uti\s+Temp\s+UEC\s+Power-Usage$/.test(rows[start]?.[1] ?? '') &&
    /^GPU\s+HIP-ID\s+OAM-ID\s+Partition-Mode$/.test(rows[start + 1]?.[0] ?? '') &&
    /^GFX-Uti\s+Fan\s+Mem-Usage$/.test(rows[start + 1]?.[1] ?? '');
  const title = rows[0]?.[0] ?? '';
  if (start < 1 || !isKnown || !/^AMD-SMI\s/.test(title)) throw refuse('its heading');
  // `Linuxver`: the driver is that of the kernel and has no version of its own.
  const driver = /amdgpu version:\s*(\d\S*)/.exec(title)?.[1] ?? null;
  const body = rows.slice(start + 2);
  const at = body.findIndex((cells) => /^Processes:$/.test(cells[0] ?? ''));
  const processes =
    at === -1 ? null : body.slice(at + 1).flatMap((cells, index) => readProcess(cells, index, refuse));
  const read = (one: Cells, two: Cells) => readGpu(one, two, driver, processes);
  return readPairs(at === -1 ? body : body.slice(0, at), 'GPU', read, refuse);
}

const utilisation = String.raw`(N\/A|[\d.]{1,6} ?%)`;
const firstCells = new RegExp(
  `^${utilisation}\\s+(N\\/A|-?[\\d.]{1,6} ?[^\\w\\s]{0,4}C)\\s+(\\S+)\\s+(\\S.*)$`,
);
const secondCells = new RegExp(`^${utilisation}\\s+${utilisation}\\s+(\\S.*)$`);

function readGpu(
  one: Cells,
  two: Cells,
  driver: string | null,
  processes: readonly Owned[] | null,
): ToolReading | null {
  if (one?.length !== 2 || two?.length !== 2) return null;
  const identity = /^(\S+)\s+(\S.*)$/.exec(one[0] ?? '');
  const index = /^(\d{1,6})\s+\S+\s+\S+\s+\S+$/.exec(two[0] ?? '')?.[1];
  const first = firstCells.exec(one[1] ?? '');
  const second = secondCells.exec(two[1] ?? '');
  const memory = pairOf(/^(.+) MB$/.exec(second?.[3] ?? '')?.[1]);
  const busId = busIdOf(identity?.[1]);
  if (identity === null || index === undefined || first === null || second === null) return null;
  if (memory === null || busId === null) return null;
  // `16/304 W`, `N/A/0 W`, or N/A for both; a limit of nothing is none.
  const power = pairOf(first[4]?.replace(/ W$/, ''));
  const limit = measure(power?.[1]);
  return {
    ...emptyReading(Number(index), busId, {
      values: {
        busyRatio: measurePercent(second[1], /%/),
        memoryBusyRatio: measurePercent(first[1], /%/),
        memoryUsedBytes: measure(memory[0], { factor: MEBIBYTE }),
        memoryTotalBytes: measure(memory[1], { factor: MEBIBYTE }),
        powerWatts: measure(power?.[0]),
        powerLimitWatts: limit === 0 ? 'unsupported' : limit,
        temperatureCelsius: measureCelsius(first[2]),
        fanRatio: measurePercent(second[2], /%/),
        eccUncorrectedTotal: measure(first[3]),
      },
    }),
    name: wordsOf(identity[2]),
    busId,
    driverVersion: wordsOf(driver, 64),
    processes:
      processes?.flatMap(({ gpu, ...process }) => (gpu === Number(index) ? [process] : [])).slice(0, 256) ??
      null,
  };
}

/** `|    0       1234  python3       2.0 MB   1.5 GB   1.6 GB   12.0 |`; its sizes are rounded and left. */
function readProcess(cells: readonly string[], index: number, refuse: (detail: string) => Error): Owned[] {
  const [cell = ''] = cells;
  if (index === 0 && /^GPU\s+PID\s+Process Name\s+GTT_MEM\s/.test(cell)) return [];
  if (/^No running processes? found$/i.test(cell)) return [];
  const match =
    /^(\d{1,6})\s+(\d{1,9})\s+(\S.*?)(?:\s+(?:N\/A|[\d.]{1,12} ?[KMGT]?B|[\d.]{1,8}(?: ?%)?)){2,4}$/.exec(
      cells.join('|'),
    );
  if (index === 0 || match === null) throw refuse('a process of the table');
  return [{ gpu: Number(match[1]), pid: Number(match[2]), name: wordsOf(match[3], 256), memoryBytes: null }];
}
