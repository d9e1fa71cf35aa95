// The accelerators that this process knows, whoever reads them: who is there, under which slot, and whether it can be
// read. A device that is no longer told is lost, not forgotten; a partition that its device no longer has is gone.
import type { AbsentReason } from '../protocol/columns.ts';
import type { DeviceReading, Finding, Vendor } from './accelerator.ts';

export type Backend = 'native' | 'cli' | 'simulated';

export interface Member<Reading extends DeviceReading = DeviceReading> {
  readonly slot: number;
  /** Unique over all vendors; health and energy are kept by it. */
  readonly key: string;
  readonly vendor: Vendor;
  readonly backend: Backend;
  /** The last one that could be read. */
  readonly reading: Reading;
  /** Why it cannot be read now; null when it can. */
  readonly unread: Unread | null;
}

export interface Unread {
  readonly reason: AbsentReason;
  readonly problem: string | null;
  /** Whether only this device or all of its vendor's cannot be read. */
  readonly scope: 'device' | 'vendor';
}

export interface Roster {
  /** What a backend reads now of a vendor's devices. Those that it no longer tells of are lost. */
  told(vendor: Vendor, backend: Backend, readings: readonly ReadingNow[]): void;
  /** None of the vendor's devices can be read. */
  untold(vendor: Vendor, reason: AbsentReason, problem: string): void;
  /** By vendor, index and parents before their partitions. */
  members(): readonly Member[];
  ofVendor(vendor: Vendor): readonly Member[];
  /** The slot of a key, given now if it has none. */
  slotFor(key: string): number;
}

export interface ReadingNow {
  readonly reading: DeviceReading;
  readonly unread: AbsentReason | null;
}

export function createRoster(): Roster {
  const members = new Map<string, Member>();
  const slots = new Map<string, number>();
  let sorted: readonly Member[] | null = null;

  function slotFor(key: string): number {
    let slot = slots.get(key);
    if (slot === undefined) {
      slot = slots.size;
      slots.set(key, slot);
    }
    return slot;
  }

  function keep(member: Member): void {
    members.set(member.key, member);
    sorted = null;
  }

  function drop(key: string): void {
    members.delete(key);
    sorted = null;
  }

  const ofVendor = (vendor: Vendor): Member[] =>
    [...members.values()].filter((member) => member.vendor === vendor);

  return {
    told(vendor, backend, readings) {
      const seen = new Set<string>();
      const readable = new Set<string>();
      for (const { reading, unread } of readings) {
        const key = keyOf(vendor, reading.id);
        seen.add(key);
        if (unread === null) readable.add(reading.id);
        keep({
          slot: slotFor(key),
          key,
          vendor,
          backend,
          reading,
          unread: unread === null ? null : { reason: unread, problem: reading.problem, scope: 'device' },
        });
      }
      for (const member of ofVendor(vendor)) {
        const { parentId } = member.reading;
        const isLost = member.unread?.reason === 'lost';
        const isTold = seen.has(member.key) && !isLost;
        if (isTold) continue;
        // Its device is well and has no such partition: it was taken apart.
        if (parentId !== null && readable.has(parentId)) drop(member.key);
        else if (!seen.has(member.key))
          keep({
            ...member,
            backend,
            unread: { reason: 'lost', problem: 'its driver no longer lists the device', scope: 'device' },
          });
      }
    },
    untold(vendor, reason, problem) {
      for (const member of ofVendor(vendor))
        keep({ ...member, unread: { reason, problem, scope: 'vendor' } });
    },
    members() {
      sorted ??= [...members.values()].sort(
        (a, b) =>
          a.vendor.name.localeCompare(b.vendor.name) ||
          Number(a.reading.parentId !== null) - Number(b.reading.parentId !== null) ||
          a.reading.index - b.reading.index ||
          a.slot - b.slot,
      );
      return sorted;
    },
    ofVendor: (vendor) => ofVendor(vendor),
    slotFor,
  };
}

export function keyOf(vendor: Vendor, id: string): string {
  return `${vendor.name}/${id}`;
}

/** Of a device that is gone, whoever found that out. */
export const deviceLost: Finding = {
  code: 'device-lost',
  rung: 'resetNeeded',
  text: 'The device fell off the bus or its driver no longer lists it; reset it or boot the host',
};

/** What being unreadable means for jobs; null where it means nothing by itself. */
export function findingOf({ reason, problem, scope }: Unread): Finding | null {
  if (reason === 'lost' && scope === 'vendor')
    // Nothing says that the devices themselves are at fault.
    return {
      code: 'driver-lost',
      rung: 'noNewJobs',
      text: 'The driver of the device is not loaded or was replaced; load it again, or boot the host',
    };
  if (reason === 'lost') return deviceLost;
  if (reason === 'late')
    return {
      code: 'device-late',
      rung: 'noNewJobs',
      text: 'Reading the device hangs; its driver may need a reset if this lasts',
    };
  if (reason === 'error') {
    const detail = problem === null ? '' : `: ${problem}`;
    return { code: 'device-unreadable', rung: 'noNewJobs', text: `The device cannot be read${detail}` };
  }
  return null;
}
