// Helpers to build readings from a tool's text: every parser starts from an empty reading and fills what it found.
import { Fault } from '../base/fault.ts';
import type { ComputeFacts, DeviceNumbers, ToolReading } from './accelerator.ts';

export const unknownFacts: ComputeFacts = {
  computeCapability: null,
  lanes: null,
  units: null,
  maxClockHertz: null,
};

/** A reading that knows nothing but which device it is. */
export function emptyReading(
  index: number,
  id: string,
  numbers: DeviceNumbers = { values: {} },
): ToolReading {
  return {
    index,
    id,
    parentId: null,
    profile: null,
    name: null,
    busId: null,
    serial: null,
    driverVersion: null,
    firmwareVersion: null,
    numaNode: null,
    nodeNumber: null,
    facts: unknownFacts,
    processes: null,
    links: [],
    conditions: [],
    healthKnown: false,
    absent: {},
    problem: null,
    numbers,
  };
}

/** The tool's output has a form that no parser knows: says which tool, and shows how it begins. */
export function layoutFault(tool: string, text: string, detail?: string): Fault {
  const [first = ''] = text.split('\n').filter((each) => each.trim() !== '');
  const shown = first
    .replace(/[^\x20-\x7e]/g, '?')
    .trim()
    .slice(0, 80);
  const what = detail === undefined ? '' : ` (${detail})`;
  return new Fault(
    'DEVICE_OUTPUT_UNKNOWN',
    `the output of ${tool} is not one that this build can read${what}: it begins "${shown}"`,
    { remedy: `send the output of ${tool} with a bug report, or choose another backend with --backend` },
  );
}
