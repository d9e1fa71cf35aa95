// From the roster to records: has the health of each device judged, rates it, and tells when the records are others.
import type { Clock } from '../base/clock.ts';
import type { DeviceFault, DeviceRecord } from '../protocol/device.ts';
import { isRungAtLeast, rungs } from '../protocol/device.ts';
import type { DeviceEvent, Vendor } from './accelerator.ts';
import type { DeviceHealth, Ladder } from './health.ts';
import { type Rating, recordOf } from './record.ts';
import { findingOf, type Member, type Roster } from './roster.ts';

/** A device as far as its peaks go, with the device that it is cut from. */
export interface Rated {
  readonly member: Member;
  readonly memoryTotalBytes: number | null;
  readonly parent: Member | null;
  readonly parentMemoryBytes: number | null;
}

/** Peaks and methods of a device; asked when its identity or its memory changes. */
export type Rate = (rated: Rated) => Rating;

/** Counts of events and the memory of processes change all the time; they alone are told this often. */
const QUIET_MS = 10_000;

export interface CensusOptions {
  readonly roster: Roster;
  readonly ladder: Ladder;
  readonly rate: Rate;
  readonly clock: Clock;
  onChange(records: readonly DeviceRecord[]): void;
  onFailed(id: string, fault: DeviceFault): void;
}

export interface Census {
  /** The roster has new readings of the vendor's devices. */
  judge(vendor: Vendor): void;
  happened(member: Member, event: DeviceEvent): void;
  /** Device memory, as telemetry has it. */
  memory(slot: number, bytes: number): void;
  /** Makes the records anew where something changed, and tells. */
  publish(): void;
  /** As time passes: ends re-tests and cordons, tells what was held back. */
  tick(): void;
  records(): readonly DeviceRecord[];
}

export function createCensus(options: CensusOptions): Census {
  const { roster, ladder, rate, clock, onChange, onFailed } = options;
  const memory = new Map<number, number>();
  const ratings = new Map<number, { of: string; rating: Rating }>();
  /** Keys of devices that were lost and have not been read since. */
  const lost = new Set<string>();
  /** Keys of devices whose jobs were told to end. */
  const failing = new Set<string>();
  let records: readonly DeviceRecord[] = [];
  let loud = '[]';
  let quiet = '[]';
  let toldMs = Number.NEGATIVE_INFINITY;
  let isDirty = false;
  let ladderRevision = ladder.revision();

  function ratingOf(rated: Rated): Rating {
    const { member, parent, memoryTotalBytes, parentMemoryBytes } = rated;
    const { slot, backend, reading } = member;
    const { id, name, profile, facts } = reading;
    const whole = parent === null ? null : [parent.reading.name, parent.reading.facts, parentMemoryBytes];
    const of = JSON.stringify([backend, id, name, profile, facts, memoryTotalBytes, whole]);
    const known = ratings.get(slot);
    if (known?.of === of) return known.rating;
    const rating = rate(rated);
    ratings.set(slot, { of, rating });
    return rating;
  }

  function parentOf({ vendor, reading }: Member): Member | null {
    if (reading.parentId === null) return null;
    return roster.ofVendor(vendor).find((each) => each.reading.id === reading.parentId) ?? null;
  }

  /** A partition is no better off than the device that it is cut from. */
  function healthOf(member: Member): DeviceHealth {
    const own = ladder.of(member.key);
    const parent = parentOf(member);
    if (parent === null) return own;
    const above = ladder.of(parent.key);
    if (above.rung === 'ok' && above.cordon === null) return own;
    const codes = new Set(own.faults.map(({ code }) => code));
    const faults = [...own.faults, ...above.faults.filter(({ code }) => !codes.has(code))];
    faults.sort((a, b) => rungs.indexOf(b.rung) - rungs.indexOf(a.rung));
    return { rung: faults[0]?.rung ?? 'ok', faults, cordon: own.cordon ?? above.cordon };
  }

  function rebuild(): void {
    records = roster.members().map((member) => {
      const memoryTotalBytes = memory.get(member.slot) ?? null;
      const parent = parentOf(member);
      const parentMemoryBytes = parent === null ? null : (memory.get(parent.slot) ?? null);
      const rating = ratingOf({ member, memoryTotalBytes, parent, parentMemoryBytes });
      return recordOf({
        member,
        parentSlot: parent?.slot ?? null,
        health: healthOf(member),
        rating,
        memoryTotalBytes,
      });
    });
  }

  function tellFailures(): void {
    for (const member of roster.members()) {
      const { rung, faults } = healthOf(member);
      if (!isRungAtLeast(rung, 'stopJobs')) failing.delete(member.key);
      else if (!failing.has(member.key)) {
        failing.add(member.key);
        const [worst] = faults;
        if (worst !== undefined) onFailed(member.reading.id, worst);
      }
    }
  }

  function publish(): void {
    if (ladder.revision() !== ladderRevision) {
      ladderRevision = ladder.revision();
      isDirty = true;
    }
    if (!isDirty) return;
    isDirty = false;
    rebuild();
    const nowLoud = JSON.stringify(records.map(withoutNoise));
    const nowQuiet = JSON.stringify(records);
    if (nowQuiet === quiet) return;
    if (nowLoud === loud && clock.monotonicMs() - toldMs < QUIET_MS) {
      // Told by a later tick.
      isDirty = true;
      return;
    }
    const isLoud = nowLoud !== loud;
    loud = nowLoud;
    quiet = nowQuiet;
    toldMs = clock.monotonicMs();
    if (isLoud) tellFailures();
    onChange(records);
  }

  return {
    judge(vendor) {
      isDirty = true;
      for (const { key, reading, unread } of roster.ofVendor(vendor)) {
        if (unread === null) {
          if (lost.delete(key)) ladder.wasReset(key);
          ladder.observe(key, reading.conditions, true);
          continue;
        }
        if (unread.reason === 'lost') lost.add(key);
        const finding = findingOf(unread);
        ladder.observe(key, finding === null ? [] : [finding], false);
      }
    },
    happened({ vendor, key }, event) {
      const finding = vendor.judgeEvent?.(event) ?? null;
      if (finding !== null) ladder.happened(key, finding, event.count);
    },
    memory(slot, bytes) {
      if (memory.get(slot) === bytes) return;
      memory.set(slot, bytes);
      isDirty = true;
    },
    publish,
    tick() {
      ladder.tick();
      publish();
    },
    records: () => records,
  };
}

/** A record as far as a change of it is news. */
function withoutNoise(record: DeviceRecord): unknown {
  const faults = record.faults.map(({ code, rung, active, firstAtMs }) => [code, rung, active, firstAtMs]);
  return { ...record, faults, processes: record.processes.map(({ pid }) => pid) };
}
