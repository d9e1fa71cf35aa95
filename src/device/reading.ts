// Helpers to build readings from a tool's text: every parser starts from an empty reading and fills what it found.
import { Fault } from '../base/fault.ts';
import type { ComputeFacts, DeviceNumbers, DeviceReading, ToolReading } from './accelerator.ts';

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

/** Longest text of a tool that is looked at; the largest capture has a tenth of it. */
const MAX_TEXT = 1024 * 1024;

/** Refuses a text that no tool prints, before any pattern is tried on it. */
export function refuseFlood(tool: string, text: string): void {
  if (text.length > MAX_TEXT) throw layoutFault(tool, text, 'far too long');
}

/** Refuses devices that cannot be told apart, as only a garbled text has them. */
export function refuseTwins<Reading extends DeviceReading>(
  tool: string,
  text: string,
  readings: readonly Reading[],
): readonly Reading[] {
  if (new Set(readings.map(({ id }) => id)).size !== readings.length)
    throw layoutFault(tool, text, 'two devices with one id');
  return readings;
}

/** The tool's output has a form that no parser knows: says which tool, and shows how it begins. */
export function layoutFault(tool: string, text: string, detail?: string): Fault {
  // The beginning is enough: the text may be as long as a tool can print.
  const [first = ''] = text
    .slice(0, 4096)
    .split('\n')
    .filter((each) => each.trim() !== '');
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
