// The accelerators of this host, whoever reads them: joins what the native reader, the vendors' tools or the
// simulation say into records, columns and grants, and has their health judged. Nothing else knows how a vendor is
// read.
//
// INVARIANT: a device keeps its slot while the process runs, whichever backend reads it.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Native, NativeEvent } from '../native.ts';
import { type Column, statistic, type Window, windowStatistics } from '../protocol/columns.ts';
import type { DeviceFault, DeviceRecord } from '../protocol/device.ts';
import type { DeviceGrant, DeviceReading, Finding, ToolReading, Vendor } from './accelerator.ts';
import { createCensus, type Rate } from './census.ts';
import type { SlowDevice } from './device.ts';
import { grantOf } from './grant.ts';
import type { Ladder } from './health.ts';
import {
  eventOf,
  isSameBus,
  nativeReadings,
  parseNativeDevices,
  parseNativeEvents,
} from './native-readings.ts';
import { type Backend, createRoster, keyOf, type Member } from './roster.ts';
import type { Simulated } from './simulated.ts';
import { toolColumns } from './tool-columns.ts';
import { createToolSource, type ToolSource } from './tool-source.ts';

export type BackendChoice = 'auto' | 'native' | 'cli';

/** Of a tool's period, what its answer may take. */
const BUDGET_SHARE = 0.8;
const SIMULATED_PERIOD_MS = 1000;
const SETTLE_PERIOD_MS = 20;
const LIBRARY_WAIT_MS = 2000;

export interface BankOptions {
  /** Null where the addon is missing: then tools alone. */
  readonly native: Native | null;
  readonly vendors: readonly Vendor[];
  /** Stands in for all devices, for demonstrations. */
  readonly simulated: Simulated | null;
  readonly backend: BackendChoice;
  readonly ladder: Ladder;
  readonly rate: Rate;
  /** See `CensusOptions.ratingRevision`. */
  readonly ratingRevision?: () => number;
  /** Ids of the devices that jobs hold; the simulation is busier there. */
  readonly held: () => ReadonlySet<string>;
  readonly toolPeriodMs: number;
  /** Folder of the built program. */
  readonly scriptFolder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  /** The records are others now. */
  onChange(records: readonly DeviceRecord[]): void;
  /** Jobs on the device must end. */
  onFailed(id: string, fault: DeviceFault): void;
}

export interface Bank {
  /** For the sampler: names of the vendors whose libraries the native reader opens. */
  readonly nativeVendors: readonly string[];
  readonly slowDevices: readonly SlowDevice[];
  /** Slot of a device of the native reader. */
  ownerOf(number: number): number;
  /** The native reader knows something new. */
  refresh(): void;
  /** Hot: every window. */
  window(window: Window): void;
  /** Something that no reading shows makes devices unfit; said again for as long as it stands. */
  unfit(ids: readonly string[], finding: Finding): void;
  records(): readonly DeviceRecord[];
  /** By vendor: how its devices are read, or null where they are not. */
  backends(): Readonly<Record<string, Backend | null>>;
  /** One sentence for each vendor that is here and cannot be read. */
  problems(): readonly string[];
  /** What a job that holds these devices is given. Throws DEVICE_UNKNOWN. */
  grant(ids: readonly string[]): DeviceGrant;
  /** What grants are decided from, for whoever decides them elsewhere (told-grant.ts). */
  grantFacts(): {
    readonly vendors: readonly string[];
    readonly devices: readonly (Pick<DeviceReading, 'id' | 'index' | 'parentId' | 'nodeNumber'> & {
      readonly vendor: string;
    })[];
  };
  /** Resolves when every backend has said what it knows, or after `timeoutMs`. */
  settled(timeoutMs: number): Promise<void>;
  close(): void;
}

/** What is known of one vendor's backends. */
interface Station {
  readonly vendor: Vendor;
  readonly tool: ToolSource | null;
  /** State of its library; null where none is looked for. */
  library: 'opening' | 'missing' | 'open' | 'failed' | null;
  /** The library has worked once: it is waited for, and its tool left alone. */
  wasOpen: boolean;
  toolAnswered: boolean;
  backend: Backend | null;
  problem: string | null;
}

export function createBank(options: BankOptions): Bank {
  const { native, simulated, backend, clock, vendors } = options;
  const roster = createRoster();
  const census = createCensus({ ...options, roster });
  const usesNative = native !== null && simulated === null && backend !== 'cli';
  const stations = vendors.map((vendor): Station => {
    // Without the addon there is nothing else to read with, whatever was chosen.
    const usesTool = simulated === null && (backend !== 'native' || native === null);
    const budgetMs = options.toolPeriodMs * BUDGET_SHARE;
    return {
      vendor,
      tool: usesTool ? createToolSource({ ...options, vendor, budgetMs }) : null,
      library: usesNative && vendor.judgeSignals !== undefined ? 'opening' : null,
      wasOpen: false,
      toolAnswered: false,
      backend: null,
      problem: null,
    };
  });
  let numbers = new Map<number, { readonly vendor: Vendor; readonly id: string }>();
  let memoryColumns: { of: readonly Column[]; places: readonly (readonly [slot: number, at: number])[] } = {
    of: [],
    places: [],
  };
  let closed = false;

  /** Whether the vendor is to be read through its tool now; null: not known yet. */
  function wantsTool({ library, wasOpen, tool }: Station): boolean | null {
    if (tool === null) return false;
    if (library === 'opening') return null;
    return library !== 'open' && !wasOpen;
  }

  function refresh(): void {
    if (native === null || !usesNative || closed) return;
    // Events first: what the devices say after them decides whether they are over.
    const events = parseNativeEvents(native.takeDeviceEvents());
    const state = parseNativeDevices(native.readDevices());
    numbers = new Map();
    for (const { name, state: library, problem } of state.vendors) {
      const station = stations.find((each) => each.vendor.name === name);
      if (station === undefined) continue;
      station.library = library;
      station.wasOpen ||= library === 'open';
      if (!station.wasOpen) {
        if (station.tool === null) station.problem = library === 'failed' ? problem : null;
        continue;
      }
      const { vendor } = station;
      const readings = nativeReadings(state, vendor);
      for (const { number, id } of readings) numbers.set(number, { vendor, id });
      roster.told(
        vendor,
        'native',
        readings.map((reading) => ({ reading, unread: reading.unread })),
      );
      station.backend = 'native';
      station.problem = library === 'failed' ? (problem ?? 'its driver is gone') : null;
      if (station.problem !== null) roster.untold(vendor, 'lost', station.problem);
    }
    for (const event of events) tell(event);
    for (const { vendor, wasOpen } of stations) if (wasOpen) census.judge(vendor);
    census.publish();
  }

  function tell(event: NativeEvent): void {
    const known = event.number === null ? undefined : numbers.get(event.number);
    const member =
      known === undefined
        ? roster.members().find(({ reading }) => isSameBus(reading.busId, event.busId))
        : roster.ofVendor(known.vendor).find(({ reading }) => reading.id === known.id);
    if (member !== undefined) census.happened(member, eventOf(event));
  }

  /** Waits a little for the library's answer: a tool that is needed should not come a whole period later. */
  async function libraryKnown(station: Station): Promise<void> {
    const endMs = clock.monotonicMs() + LIBRARY_WAIT_MS;
    while (!closed && wantsTool(station) === null && clock.monotonicMs() < endMs) {
      await new Promise<void>((resolve) => clock.after(SETTLE_PERIOD_MS, resolve));
      refresh();
    }
  }

  async function askTool(station: Station): Promise<void> {
    if (wantsTool(station) !== true || station.tool === null) return;
    const { vendor } = station;
    const answer = await station.tool.ask();
    if (closed || wantsTool(station) !== true) return;
    station.toolAnswered = true;
    if (answer === null) return;
    if ('readings' in answer) {
      roster.told(
        vendor,
        'cli',
        answer.readings.map((reading) => ({ reading, unread: isLost(reading) ? 'lost' : null })),
      );
      station.backend = 'cli';
      station.problem = null;
    } else {
      roster.untold(vendor, answer.reason, answer.problem);
      station.problem = answer.problem;
    }
    census.judge(vendor);
    census.publish();
  }

  function simulate({ read }: Simulated): void {
    const readings = read(clock.wallMs(), options.held());
    for (const station of stations) {
      const { vendor } = station;
      const own = readings.filter((each) => each.vendor === vendor.name);
      if (own.length === 0) continue;
      roster.told(
        vendor,
        'simulated',
        own.map(({ vendor: _, ...reading }) => ({ reading, unread: null })),
      );
      station.backend = 'simulated';
      census.judge(vendor);
    }
    census.publish();
  }

  const slowDevices: SlowDevice[] =
    simulated !== null
      ? [
          {
            name: 'simulated',
            periodMs: SIMULATED_PERIOD_MS,
            async read() {
              simulate(simulated);
              return toolColumns(roster.members());
            },
          },
        ]
      : stations
          .filter(({ tool }) => tool !== null)
          .map((station) => ({
            name: station.vendor.name,
            periodMs: options.toolPeriodMs,
            async read() {
              await libraryKnown(station);
              await askTool(station);
              return wantsTool(station) === true ? toolColumns(roster.ofVendor(station.vendor)) : [];
            },
          }));

  function isSettled(): boolean {
    if (simulated !== null) return roster.members().length > 0;
    return stations.every((station) => {
      const wants = wantsTool(station);
      return wants === true ? station.toolAnswered : wants === false && station.library !== 'opening';
    });
  }

  /** Vendors that this host has, or whose tool or library says that it may. */
  function present(): Vendor[] {
    return stations
      .filter(
        ({ vendor, tool, library }) =>
          roster.ofVendor(vendor).length > 0 ||
          library === 'open' ||
          library === 'failed' ||
          (tool !== null && tool.find() !== null),
      )
      .map(({ vendor }) => vendor);
  }

  return {
    nativeVendors: stations.filter(({ library }) => library !== null).map(({ vendor }) => vendor.name),
    slowDevices,
    ownerOf(number) {
      if (!numbers.has(number)) refresh();
      const known = numbers.get(number);
      // One that the reader does not tell of has columns that nobody shows.
      return roster.slotFor(known === undefined ? `number/${number}` : keyOf(known.vendor, known.id));
    },
    refresh,
    window(window) {
      if (window.columns !== memoryColumns.of)
        memoryColumns = { of: window.columns, places: memoryPlaces(window.columns) };
      for (const [slot, at] of memoryColumns.places) {
        const bytes = window.values[at * windowStatistics + statistic.last];
        if (window.reasons[at] === 0 && bytes !== undefined) census.memory(slot, bytes);
      }
      census.tick();
    },
    unfit(ids, finding) {
      for (const { key, reading } of roster.members())
        if (ids.includes(reading.id)) options.ladder.happened(key, finding, 1);
      census.publish();
    },
    records: () => census.records(),
    backends: () => Object.fromEntries(stations.map((each) => [each.vendor.name, each.backend])),
    problems: () =>
      stations.flatMap(({ vendor, problem }) => (problem === null ? [] : [`${vendor.title}: ${problem}`])),
    grant(ids) {
      const members = ids.map((id): Member => {
        const member = roster.members().find(({ reading }) => reading.id === id);
        if (member === undefined)
          throw new Fault('DEVICE_UNKNOWN', `this host has no accelerator ${id}`, {
            remedy: 'see "flopd devices" on the host',
          });
        return member;
      });
      return grantOf(members, present());
    },
    grantFacts: () => ({
      vendors: present().map(({ name }) => name),
      devices: roster.members().map(({ vendor, reading: { id, index, parentId, nodeNumber } }) => ({
        vendor: vendor.name,
        id,
        index,
        parentId,
        nodeNumber,
      })),
    }),
    async settled(timeoutMs) {
      const endMs = clock.monotonicMs() + timeoutMs;
      refresh();
      while (!isSettled() && clock.monotonicMs() < endMs) {
        await new Promise<void>((resolve) => clock.after(SETTLE_PERIOD_MS, resolve));
        refresh();
      }
    },
    close() {
      closed = true;
      for (const { tool } of stations) tool?.close();
    },
  };
}

function memoryPlaces(columns: readonly Column[]): (readonly [number, number])[] {
  return columns.flatMap(({ family, owner }, at) =>
    family === 'accelerator.memoryTotalBytes' && owner !== 'host' ? [[owner, at] as const] : [],
  );
}

/** The tool still lists the device, and has nothing to tell of it. */
function isLost({ numbers }: ToolReading): boolean {
  const values = Object.values(numbers.values);
  return values.length > 0 && values.every((value) => value === 'lost');
}
