// What a backend knows of one accelerator at one time, before anybody judges it: identity, facts for the peak, what
// is wrong with it, and (from tools) its numbers. Native readers give the numbers as columns instead. `bank.ts` turns
// readings into records, columns and grants; nothing else needs to know how a vendor is read.
import type { AbsentReason } from '../protocol/columns.ts';
import type { DeviceLink, DeviceProcess, Rung } from '../protocol/device.ts';

/** A value, or why there is none. */
export type Measured = number | AbsentReason;

/** Numbers that every device has, as a value or a reason: names of the families `accelerator.*` without a label. */
export const deviceNumbers = [
  'busyRatio',
  'memoryBusyRatio',
  'memoryTotalBytes',
  'memoryUsedBytes',
  'powerWatts',
  'powerLimitWatts',
  'energyCounterJoules',
  'temperatureCelsius',
  'memoryTemperatureCelsius',
  'clockHertz',
  'memoryClockHertz',
  'eccCorrectedTotal',
  'eccUncorrectedTotal',
] as const;
export type DeviceNumber = (typeof deviceNumbers)[number];

/** Numbers that only some have: absent altogether where a device has none of them. */
export type ExtraNumber =
  | 'fanRatio'
  | 'pcieReplaysTotal'
  | 'pcieReceiveBytesPerSecond'
  | 'pcieTransmitBytesPerSecond'
  | 'linkReceiveBytesTotal'
  | 'linkTransmitBytesTotal';

export interface DeviceNumbers {
  /** A number that is not named is unsupported. Base units: bytes, hertz, watts, ratios from 0 to 1. */
  readonly values: Readonly<Partial<Record<DeviceNumber | ExtraNumber, Measured>>>;
  /** By engine: `encoder`, `decoder`, `jpeg`, `ofa`, `aicpu`, `controlCpu`, `vector`, `cube`, `overall`. */
  readonly engineBusyRatio?: Readonly<Record<string, Measured>>;
  /** By reason: `powerCap`, `hwSlowdown`, `swThermal`, `hwThermal`, `powerBrake`, `syncBoost`; 0 or 1. */
  readonly throttledRatio?: Readonly<Record<string, Measured>>;
}

/** What peaks and achieved rates are computed from; null where unknown. */
export interface ComputeFacts {
  /** CUDA-style compute capability, e.g. `9.0`. */
  readonly computeCapability: string | null;
  /** FP32 lanes of the whole device. */
  readonly lanes: number | null;
  /** Streaming multiprocessors, AI cores or compute units; of a partition, its own. */
  readonly units: number | null;
  /** Highest clock of the compute units; for AI cores, the rated one. */
  readonly maxClockHertz: number | null;
}

/** Something that is (condition) or was (event) wrong, in the vendor's terms and already judged by its catalogue. */
export interface Finding {
  /** See `DeviceFault.code`. */
  readonly code: string;
  readonly rung: Rung;
  readonly text: string;
}

export interface DeviceReading {
  /** See `DeviceRecord` for the fields of the same name. */
  readonly index: number;
  readonly id: string;
  /** Id of the device that this partition is cut from. */
  readonly parentId: string | null;
  readonly profile: string | null;
  readonly name: string | null;
  readonly busId: string | null;
  readonly serial: string | null;
  readonly driverVersion: string | null;
  readonly firmwareVersion: string | null;
  readonly numaNode: number | null;
  /** N of the device's node in /dev (`/dev/nvidiaN`, `/dev/davinciN`), where it has one. */
  readonly nodeNumber: number | null;
  readonly facts: ComputeFacts;
  /** Null: not told, see `absent.processes`. */
  readonly processes: readonly DeviceProcess[] | null;
  readonly links: readonly DeviceLink[];
  /** What is wrong now; gone when it no longer stands here. */
  readonly conditions: readonly Finding[];
  /** The backend could tell that the device is well (or not): false leaves its health unknown. */
  readonly healthKnown: boolean;
  /** Why fields of this reading are absent, by field of `DeviceRecord`. */
  readonly absent: Readonly<Record<string, AbsentReason>>;
  /** Why the device as a whole could not be read, in words; null when it could. */
  readonly problem: string | null;
}

/** As a command-line tool tells it: with its numbers. */
export interface ToolReading extends DeviceReading {
  readonly numbers: DeviceNumbers;
}

/** What a job needs to see its devices and no others. */
export interface DeviceGrant {
  readonly environment: Readonly<Record<string, string>>;
  /** Absolute paths of device nodes, control nodes included. */
  readonly deviceNodes: readonly string[];
  /**
   * For each device the names by which descriptions of the host for containers (CDI) may know it, best first; absent
   * where this vendor has none.
   */
  readonly cdiNames?: readonly (readonly string[])[];
  /** Variables that count devices as the host does: wrong in a container, which has the job's nodes alone. */
  readonly hostCounted?: readonly string[];
  /** The node of some device is not known, so that these are not all that the job needs. */
  readonly nodesUnknown?: boolean;
}

export type Level = 'hardware' | 'captures' | 'bestEffort';

/** One vendor's file: everything about it that is not a number read natively. */
export interface Vendor {
  /** Its one lowercase spelling. */
  readonly name: string;
  /** As people write it. */
  readonly title: string;
  readonly level: Level;
  /** Command-line tools, best first; found on PATH. */
  readonly tools: readonly string[];
  /** Asks the tool and reads its answer; rejects with a Fault `DEVICE_*` (see tool.ts) and never hangs. */
  query(tool: ToolRunner): Promise<readonly ToolReading[]>;
  /**
   * What jobs are given for these devices (all of this vendor, none twice). `order` is by ascending index.
   * Called with readings of the present.
   */
  grant(devices: readonly DeviceReading[]): DeviceGrant;
  /** Environment that hides every device of this vendor from a job that was granted none. */
  readonly hidden: Readonly<Record<string, string>>;
  /** Judges a native event or a kernel message; null for one that is no fault. */
  judgeEvent?(event: DeviceEvent): Finding | null;
  /** Findings from the raw signals of the native reader (native/vendor/vendor.h), by name. */
  judgeSignals?(signals: Readonly<Record<string, number>>, codes: readonly number[]): readonly Finding[];
}

/** Something that happened on a device, as the native reader or the kernel's log told it. */
export interface DeviceEvent {
  readonly kind: 'xid' | 'ecc' | 'fault' | 'lost' | 'returned';
  /** Number in the vendor's catalogue (Xid, error code); 0 where there is none. */
  readonly code: number;
  /** How many came together. */
  readonly count: number;
  readonly detail: string | null;
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Runs one vendor's tool: one child at a time, in a process group that is killed at the deadline, output bounded. */
export interface ToolRunner {
  /** Absolute path of the tool that was found. */
  readonly path: string;
  /** Which of the vendor's tools it is, e.g. `rocm-smi`. */
  readonly name: string;
  /**
   * Rejects with a Fault: DEVICE_TOOL_LATE (deadline), DEVICE_TOOL_MISSING (it went away), DEVICE_TOOL_DENIED,
   * DEVICE_TOOL_OUTPUT_TOO_LONG, DEVICE_TOOL_FAILED (killed by a signal). A non-zero exit is an answer.
   */
  run(args: readonly string[]): Promise<ToolOutput>;
  /** As `run`, for a program of Node's own in the package (a path below dist/), with the tool's folder first in PATH. */
  runScript(script: string, args: readonly string[]): Promise<ToolOutput>;
  /** What the vendor's file remembers from one query of this tool to the next; empty at first. */
  readonly notes: Map<string, unknown>;
  /** Time left of this query's budget, ms; a vendor's file leaves out what no longer fits. */
  remainingMs(): number;
}
