// One door for everything that npu-smi prints: recognises the form of a text and parses it.
//
// table     `info`, in six layouts: DDR or HBM memory, with or without huge pages, with a column Device or Phy-ID, and
//           that of the 950 with the name in a column of its own
// fields    `info -t …` and `info -l`: lines of `label : value`
// map       `info -m`: which chip has which logic id
// topology  `info -t topo`: how chips are linked
// vnpus     `info -t info-vnpu`: how a chip is divided
import { Fault } from '../../base/fault.ts';
import { layoutFault, refuseFlood } from '../reading.ts';
import { driverErrors } from './error-codes.ts';
import { type FieldBlock, parseFields } from './fields.ts';
import {
  type ChipPlace,
  parseChipMap,
  parseTopology,
  parseVnpus,
  type Topology,
  type Vnpu,
} from './lists.ts';
import { type ChipTable, parseChipTable } from './table.ts';

export const TOOL = 'npu-smi';

export type NpuSmiOutput =
  | ({ readonly kind: 'table' } & ChipTable)
  | { readonly kind: 'fields'; readonly blocks: readonly FieldBlock[] }
  | { readonly kind: 'map'; readonly places: readonly ChipPlace[] }
  | ({ readonly kind: 'topology' } & Topology)
  | { readonly kind: 'vnpus'; readonly vnpus: readonly Vnpu[] };

// Blanks are `[ \t]`, not `\s`: over many empty lines that would be tried from each of them to the end of all.

/** Throws a Fault: DEVICE_OUTPUT_UNKNOWN for a text of another form, DEVICE_… for an error that the tool reports. */
export function parseNpuSmi(text: string): NpuSmiOutput {
  refuseFlood(TOOL, text);
  const failure = /\bret(?:urn value)? is (-\d{4,5})\b/.exec(text);
  if (failure !== null && !/^[ \t]*\|/m.test(text)) throw driverFault(Number(failure[1]));
  if (/^\|[ \t]*npu-smi\s/m.test(text)) return { kind: 'table', ...parseChipTable(TOOL, text) };
  if (/Total number of vnpu/.test(text)) return { kind: 'vnpus', vnpus: parseVnpus(TOOL, text) };
  if (/^[ \t]*NPU ID[ \t]+(?:Slot ID[ \t]+)?Chip ID\s/m.test(text))
    return { kind: 'map', places: parseChipMap(TOOL, text) };
  if (/^[ \t]*(?:NPU|Phy-ID)\d*[ \t].*CPU Affinity/m.test(text))
    return { kind: 'topology', ...parseTopology(TOOL, text) };
  if (/^[ \t]*[A-Za-z][^:|]{0,60}:/m.test(text)) return { kind: 'fields', blocks: parseFields(TOOL, text) };
  throw layoutFault(TOOL, text);
}

/** What the driver's interface answered, as the tool reports it. */
function driverFault(code: number): Fault {
  const { meaning, fault } = driverErrors[code] ?? { meaning: 'unknown error', fault: 'DEVICE_TOOL_FAILED' };
  return new Fault(fault, `${TOOL} reached no device: the driver answers ${code} (${meaning})`, {
    remedy: 'see "npu-smi info" as the user of the agent; the user must be in the group of the driver',
  });
}
