// From what npu-smi told of a chip to its reading. Every number is one that the tool printed, in base units.
import type { DeviceLink, DeviceProcess } from '../../protocol/device.ts';
import type { DeviceNumbers, Measured, ToolReading } from '../accelerator.ts';
import { emptyReading } from '../reading.ts';
import {
  busIdOf,
  MEBIBYTE,
  MEGAHERTZ,
  measure,
  measureCelsius,
  measurePercent,
  wordsOf,
} from '../tool-text.ts';
import type { FieldBlock } from './fields.ts';
import { codesOf, judgeAscend, levelOfWord } from './health.ts';
import type { Vnpu } from './lists.ts';
import type { ChipDetails, Survey } from './survey.ts';
import type { ChipRow, ProcessRow } from './table.ts';

/** The numbers of `used/total` in MiB. */
function memoryOf(row: ChipRow): { used: Measured; total: Measured; kind: 'HBM' | 'DDR' } {
  const pair = (heading: string) => {
    const [used, total, ...more] = (row.cells.get(heading) ?? '').split('/');
    const quantity = { factor: MEBIBYTE };
    return more.length > 0 || total === undefined
      ? { used: 'error' as const, total: 'error' as const }
      : { used: measure(used, quantity), total: measure(total, quantity) };
  };
  const hbm = row.cells.has('HBM-Usage(MB)') ? pair('HBM-Usage(MB)') : null;
  // Chips with high-bandwidth memory compute in it; their DDR belongs to the control cores.
  return hbm !== null && hbm.total !== 0
    ? { ...hbm, kind: 'HBM' }
    : { ...pair('Memory-Usage(MB)'), kind: 'DDR' };
}

/** Of the AI cores where that is told, as the peak is theirs; else of the NPU as a whole. */
function busyOf(row: ChipRow, cores: Measured): Measured {
  const told = row.cells.get('AICore(%)');
  if (told !== undefined) return measurePercent(told);
  return typeof cores === 'number' ? cores : measurePercent(row.cells.get('NPU-Util(%)'));
}

function numbersOf(row: ChipRow, details: ChipDetails): DeviceNumbers {
  const { used, total, kind } = memoryOf(row);
  type Source = 'usages' | 'common' | 'ecc' | 'memory';
  /** A value of a form; `now`: only of this query. Late where there was no time for the form. */
  const field = (form: Source, now: boolean, labels: readonly string[], read: (text: string) => Measured) => {
    const answer = details.answers.get(form);
    if (answer === undefined || (now && answer.age > 0))
      return details.late.has(form) ? 'late' : 'unsupported';
    const label = labels.find((each) => answer.block.fields.has(each));
    return label === undefined ? 'unsupported' : read(answer.block.fields.get(label) ?? '');
  };
  const percent = (labels: readonly string[]) =>
    field('usages', true, labels, (text) => measurePercent(text));
  const hertz = (text: string): Measured => measure(text, { factor: MEGAHERTZ });
  const engines: [string, Measured][] = [
    ['vector', percent(['Aivector Usage Rate(%)'])],
    ['cube', percent(['Aicube Usage Rate(%)'])],
    ['aicpu', percent(['Aicpu Usage Rate(%)'])],
    ['controlCpu', percent(['Ctrlcpu Usage Rate(%)'])],
    ['overall', percent(['NPU Utilization(%)'])],
  ];
  return {
    values: {
      busyRatio: busyOf(row, percent(['Aicore Usage Rate(%)'])),
      memoryBusyRatio: percent([`${kind} Bandwidth Usage Rate(%)`]),
      memoryTotalBytes: total,
      memoryUsedBytes: used,
      powerWatts: measure(row.cells.get('Power(W)')),
      temperatureCelsius: measureCelsius(row.cells.get('Temp(C)')),
      memoryTemperatureCelsius: field(
        'memory',
        true,
        [`${kind} Temperature (C)`, `${kind} Temperature(C)`],
        (text) => measureCelsius(text),
      ),
      clockHertz: field('common', true, ['Aicore curFreq(MHZ)'], hertz),
      memoryClockHertz: field('memory', true, [`${kind} Clock Speed(MHz)`], hertz),
      eccCorrectedTotal: field('ecc', false, [`${kind} Single Bit Aggregate Total Err Cnt`], measure),
      eccUncorrectedTotal: field('ecc', false, [`${kind} Double Bit Aggregate Total Err Cnt`], measure),
    },
    engineBusyRatio: Object.fromEntries(engines.filter(([, value]) => value !== 'unsupported')),
  };
}

function factsOf(common: FieldBlock | undefined): ToolReading['facts'] {
  const number = (label: string, factor: number): number | null => {
    const value = measure(common?.fields.get(label), { factor });
    return typeof value === 'number' && value > 0 ? value : null;
  };
  return {
    computeCapability: null,
    lanes: null,
    units: number('Aicore Count', 1),
    maxClockHertz: number('Aicore Freq(MHZ)', MEGAHERTZ),
  };
}

/** Five words of the die (`DDie ID` on the 950), or what else tells this chip from all others. */
export function chipId(row: ChipRow, board: FieldBlock | undefined): string {
  const told = board?.fields.get('VDie ID') ?? board?.fields.get('DDie ID');
  const die = /^(?:[0-9A-F]{1,8} ){4}[0-9A-F]{1,8}$/i.exec(told?.trim() ?? '');
  if (die !== null && /[1-9A-F]/i.test(die[0])) return die[0].toUpperCase().replaceAll(' ', '-');
  return row.busId === null ? `npu-${row.npu}-${row.chip}` : `npu-${row.busId}`;
}

export function processesOf(rows: readonly Omit<ProcessRow, 'npu' | 'chip'>[]): DeviceProcess[] {
  return rows.slice(0, 256).map(({ pid, name, memory }) => {
    const bytes = measure(memory, { factor: MEBIBYTE });
    return { pid, name, memoryBytes: typeof bytes === 'number' ? bytes : null };
  });
}

export interface ChipContext {
  readonly survey: Survey;
  readonly place: number;
  readonly id: string;
  /** Id of the chip that the topology gives this number. */
  readonly idOf: (number: number) => string | null;
}

/** The chip, and the parts that it is divided into. */
export function readChip(row: ChipRow, { survey, place, id, idOf }: ChipContext): ToolReading[] {
  const details = survey.details(row);
  const mapped = survey.places.find(({ npu, chip }) => npu === row.npu && chip === row.chip);
  const board = details.answers.get('board')?.block;
  const level = levelOfWord(row.health);
  const health = details.answers.get('health');
  const told = survey.table.processes;
  const processes =
    told !== null
      ? processesOf(told.filter(({ npu, chip }) => npu === row.npu && chip === row.chip))
      : details.answers.get('proc-mem')?.age === 0
        ? processesOf(details.answers.get('proc-mem')?.block.processes ?? [])
        : null;
  const physical = row.device?.heading === 'Phy-ID' ? row.device.number : (mapped?.physicalId ?? null);
  const index = mapped?.logicId ?? row.device?.number ?? place;
  const reading: ToolReading = {
    ...emptyReading(index, id, numbersOf(row, details)),
    name: row.name,
    busId: row.busId ?? busIdOf(board?.fields.get('PCIe Bus Info')),
    serial: wordsOf(details.card?.fields.get('Serial Number')),
    driverVersion: survey.table.driverVersion,
    firmwareVersion: wordsOf(
      board?.fields.get('Firmware Version') ?? details.card?.fields.get('Firmware Version'),
      64,
    ),
    // On a host the driver counts nodes as it counts chips. A place in the list alone is no proof of a node.
    nodeNumber: physical ?? mapped?.logicId ?? row.device?.number ?? null,
    facts: factsOf(details.answers.get('common')?.block),
    processes,
    links: linksOf(survey, row, place, idOf),
    conditions: judgeAscend({
      level,
      codes: level === 0 || health?.age !== 0 ? [] : codesOf(health.block.fields.get('Error Code') ?? ''),
    }),
    healthKnown: level !== null,
    absent: processes === null ? { processes: details.late.has('proc-mem') ? 'late' : 'unsupported' } : {},
  };
  return [reading, ...details.vnpus.map((vnpu, at) => partOf(reading, vnpu, at))];
}

function linksOf(survey: Survey, row: ChipRow, place: number, idOf: ChipContext['idOf']): DeviceLink[] {
  const { topology, table } = survey;
  if (topology === null) return [];
  // A/B: with one chip a card its numbers are NPU ids; with several they are those of the chips in order.
  const isByCard = table.chips.every(
    ({ npu }, at) => table.chips.findIndex((each) => each.npu === npu) === at,
  );
  const own = isByCard ? row.npu : (row.device?.number ?? place);
  return topology.links
    .filter(({ from }) => from === own)
    .slice(0, 256)
    .map(({ to, kind }) => ({
      kind: /^(?:HCCS|SIO|UB)/.test(kind) ? kind.toLowerCase() : kind,
      peer: idOf(to),
      count: 1,
      up: null,
    }));
}

/** A vNPU tells nothing of its own from the host: what it is, and how large. */
function partOf(
  chip: ToolReading,
  { number, template, cores, memoryGibibytes }: Vnpu,
  at: number,
): ToolReading {
  const values = memoryGibibytes === null ? {} : { memoryTotalBytes: memoryGibibytes * 1024 * MEBIBYTE };
  return {
    ...emptyReading(at, `${chip.id}/vnpu-${number}`.slice(0, 96), { values }),
    parentId: chip.id,
    profile: template,
    name: chip.name,
    driverVersion: chip.driverVersion,
    nodeNumber: number,
    facts: { ...chip.facts, units: cores },
    conditions: chip.conditions,
    healthKnown: chip.healthKnown,
  };
}
