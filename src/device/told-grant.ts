// Grants from what is told of devices, in a process that reads none of them (the job runner): the same rules of the
// same vendors, over facts that came from the process that does.
import type { DeviceGrant, DeviceReading } from './accelerator.ts';
import { grantOf } from './grant.ts';
import { createVendors } from './vendors.ts';

/** What grants are decided from, by device. */
export interface GrantFacts {
  readonly vendor: string;
  readonly slot: number;
  readonly index: number;
  readonly id: string;
  readonly parentId: string | null;
  readonly nodeNumber: number | null;
}

/** Names of the vendors, and their rules. */
export function createGrantRules(): {
  readonly vendors: readonly string[];
  grant(devices: readonly GrantFacts[], present: readonly string[]): DeviceGrant;
} {
  const vendors = createVendors();
  const byName = new Map(vendors.map((vendor) => [vendor.name, vendor]));
  return {
    vendors: vendors.map(({ name }) => name),
    grant(devices, present) {
      const members = devices.flatMap((facts) => {
        const vendor = byName.get(facts.vendor);
        return vendor === undefined ? [] : [{ vendor, reading: readingOf(facts) }];
      });
      return grantOf(
        members,
        vendors.filter(({ name }) => present.includes(name)),
      );
    },
  };
}

/** Rules for grants look at these facts alone; nothing else is known here. */
function readingOf({ index, id, parentId, nodeNumber }: GrantFacts): DeviceReading {
  return {
    index,
    id,
    parentId,
    nodeNumber,
    profile: null,
    name: null,
    busId: null,
    serial: null,
    driverVersion: null,
    firmwareVersion: null,
    numaNode: null,
    facts: { computeCapability: null, lanes: null, units: null, maxClockHertz: null },
    processes: null,
    links: [],
    conditions: [],
    healthKnown: false,
    absent: {},
    problem: null,
  };
}
