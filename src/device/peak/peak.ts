// The peak of a device by precision: what the operator says, else the table of products, else the formula of its
// vendor, else absent, and in words where it comes from. Dense; FP64 and FP32 are those of the vector units, the
// narrower ones those of the matrix units. A partition has its share by units.
import {
  type DeviceRecord,
  type FlopsByPrecision,
  type Precision,
  precisions,
} from '../../protocol/device.ts';
import type { ComputeFacts } from '../accelerator.ts';
import { peakVendor } from './catalogue.ts';
import { findRow, type PeakRow } from './table.ts';
import type { FormulaPeak, PeakVendor } from './vendor.ts';

export type PeakOverride = Readonly<Partial<Record<Precision, number>>>;

export interface PeakQuery {
  readonly vendor: string;
  /** As the vendor's tool prints it; of a partition, that of its device. */
  readonly name: string | null;
  /** Of a partition, its own units. */
  readonly facts: ComputeFacts;
  readonly memoryTotalBytes: number | null;
  /** Kind of partition; null for a whole device. */
  readonly profile: string | null;
  /** What the operator says of the whole device, by precision. */
  readonly override: PeakOverride | null;
  /** Of a partition: the facts of its device, where they are known. */
  readonly wholeFacts?: ComputeFacts | null;
  /** Of a partition: the memory of its device. */
  readonly wholeMemoryBytes?: number | null;
}

/** Parts of the peak that the achieved rate is made from; null where unknown. Of a partition, its share. */
export interface PeakDetail {
  /** FP64 of the tensor units. */
  readonly fp64Tensor: number | null;
  readonly fp16Vector: number | null;
  /** FP16 of the matrix units alone, where the peak has the vector units in it. */
  readonly cube: number | null;
  /** Clocks that the peaks stand for. */
  readonly vectorClockHertz: number | null;
  readonly tensorClockHertz: number | null;
}

export interface Peak extends PeakDetail {
  readonly peakFlops: FlopsByPrecision;
  readonly method: DeviceRecord['peakMethod'];
  readonly source: string;
}

const MAX_NAME = 128;
const MAX_SOURCE = 512;
const TERA = 1e12;
const ADVICE = 'set node.peakFlops if you know it';

export const noFlops: FlopsByPrecision = Object.freeze(
  Object.fromEntries(precisions.map((each) => [each, null])) as FlopsByPrecision,
);

export function findPeak(query: PeakQuery): Peak {
  const whole = findWhole(query);
  const told = query.override === null ? whole : overridden(whole, query.override, 'the device');
  const peak = query.profile === null || told.method === null ? told : shareOf(told, query);
  const { units: _, computeCapability: __, ...rest } = peak;
  return { ...rest, source: rest.source.slice(0, MAX_SOURCE) };
}

/** The same peak with what the operator says of exactly this device or partition. */
export function overridden<P extends Peak>(peak: P, override: PeakOverride, of: string): P {
  const given = precisions.filter((each) => override[each] !== undefined);
  if (given.length === 0) return peak;
  const peakFlops = { ...peak.peakFlops };
  for (const each of given) peakFlops[each] = override[each] ?? null;
  const rest =
    given.length === precisions.length || peak.method === null ? '' : `; the others: ${peak.source}`;
  const source = `node.peakFlops of ${of} for ${given.join(', ')}${rest}`.slice(0, MAX_SOURCE);
  // What the operator says of a matrix precision also holds for the matrix units alone.
  const matrix = override.bf16 ?? override.fp16;
  return { ...peak, peakFlops, method: 'override', source, cube: matrix ?? peak.cube };
}

interface Whole extends Peak {
  /** Units of the whole device. */
  readonly units: number | null;
  readonly computeCapability: string | null;
}

function absent(source: string): Whole {
  return {
    peakFlops: noFlops,
    method: null,
    source: `unknown: ${source}; ${ADVICE}`,
    fp64Tensor: null,
    fp16Vector: null,
    cube: null,
    vectorClockHertz: null,
    tensorClockHertz: null,
    units: null,
    computeCapability: null,
  };
}

function findWhole(query: PeakQuery): Whole {
  const vendor = peakVendor(query.vendor);
  if (vendor === null) return absent('there is no table for this vendor');
  const facts = query.profile === null ? query.facts : (query.wholeFacts ?? null);
  if (query.name === null) {
    const result =
      facts === null ? 'the device has no name' : (vendor.formula?.('', facts) ?? 'it has no name');
    return typeof result === 'string' ? absent(result) : byFormula(result, 'a product without a name');
  }
  const plainName = vendor.plainName(query.name.slice(0, MAX_NAME)).trim().replace(/\s+/g, ' ');
  const memoryBytes = query.profile === null ? query.memoryTotalBytes : (query.wholeMemoryBytes ?? null);
  const shown = `"${printable(plainName)}"`;
  const refusal = vendor.refusal?.(plainName) ?? null;
  if (refusal !== null) return absent(`${shown}: ${refusal}`);
  const row = findRow(vendor.table, plainName, {
    memoryTotalBytes: memoryBytes,
    units: facts?.units ?? null,
  });
  if (row !== null && typeof row !== 'string') return byTable(row);
  const why = row === null ? null : `${shown} in the table has ${row}`;
  const result = facts === null ? null : (vendor.formula?.(plainName, facts) ?? null);
  if (result === null || typeof result === 'string')
    return absent(why ?? (result === null ? `${shown} is in no table` : `${shown}: ${result}`));
  return byFormula(result, why ?? `${shown} is in no table`);
}

function byTable(row: PeakRow): Whole {
  const known = precisions.filter((each) => row.teraFlops[each] !== undefined);
  if (known.length === 0) return absent(`${row.name}: ${row.source}`);
  const computed = row.computed === undefined ? '' : `; ${row.computed.join(', ')} computed`;
  const clock = row.clockMhz === undefined ? null : row.clockMhz * 1e6;
  return {
    peakFlops: fromTera(row.teraFlops),
    method: 'table',
    source: `${row.name}: ${row.source}${computed} (confidence ${row.confidence})`,
    fp64Tensor: row.fp64Tensor === undefined ? null : row.fp64Tensor * TERA,
    fp16Vector: row.fp16Vector === undefined ? null : row.fp16Vector * TERA,
    cube: row.cube === undefined ? null : row.cube * TERA,
    vectorClockHertz: clock,
    tensorClockHertz: row.tensorClockMhz === undefined ? clock : row.tensorClockMhz * 1e6,
    units: row.units ?? null,
    computeCapability: row.computeCapability ?? null,
  };
}

function byFormula(formula: FormulaPeak, why: string): Whole {
  return {
    peakFlops: { ...noFlops, ...formula.flops },
    method: 'formula',
    source: `estimated: ${why}; ${formula.text}`,
    fp64Tensor: formula.fp64Tensor ?? null,
    fp16Vector: formula.fp16Vector ?? null,
    cube: formula.cube ?? null,
    vectorClockHertz: formula.vectorClockHertz,
    tensorClockHertz: formula.tensorClockHertz,
    units: formula.units,
    computeCapability: null,
  };
}

/** A partition's share of its device, by units. */
function shareOf(whole: Whole, query: PeakQuery): Whole {
  const vendor = peakVendor(query.vendor);
  const wholeUnits = query.wholeFacts?.units ?? whole.units;
  const units = query.facts.units ?? unitsByProfile(vendor, query, wholeUnits, whole.computeCapability);
  if (wholeUnits === null || units === null || !(units > 0) || units > wholeUnits)
    return absent(`the share of this partition (${printable(query.profile ?? '')}) is not known`);
  const share = units / wholeUnits;
  const times = (value: number | null): number | null => (value === null ? null : value * share);
  const peakFlops = { ...noFlops };
  for (const each of precisions) peakFlops[each] = times(whole.peakFlops[each]);
  const derived = query.facts.units === null ? ', by its profile' : '';
  const word = vendor?.unitsWord ?? 'units';
  return {
    ...whole,
    peakFlops,
    source: `share ${units}/${wholeUnits} ${word}${derived} of ${whole.source}`,
    fp64Tensor: times(whole.fp64Tensor),
    fp16Vector: times(whole.fp16Vector),
    cube: times(whole.cube),
  };
}

function unitsByProfile(
  vendor: PeakVendor | null,
  { profile, facts, wholeFacts }: PeakQuery,
  wholeUnits: number | null,
  ofTable: string | null,
): number | null {
  if (profile === null || wholeUnits === null) return null;
  const capability = facts.computeCapability ?? wholeFacts?.computeCapability ?? ofTable;
  return vendor?.partitionUnits?.(profile, capability, wholeUnits) ?? null;
}

function fromTera(teraFlops: PeakRow['teraFlops']): FlopsByPrecision {
  const flops = { ...noFlops };
  for (const each of precisions) flops[each] = scaled(teraFlops[each]);
  return flops;
}

/** 989.4 × 10^12 is not to become 989399999999999.9. */
function scaled(tera: number | undefined): number | null {
  return tera === undefined ? null : Math.round(tera * 1e6) * 1e6;
}

function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?').slice(0, 64);
}
