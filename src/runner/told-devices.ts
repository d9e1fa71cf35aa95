// The devices of this host as the agent tells them, for the job room in the runner. What a job is given of them is
// decided here, by the vendors' own rules (handed in as a function): the agent says which numbers its devices have, and
// never a path or a variable. Last, each node is looked at: a device node that belongs to root, or nothing.
import { lstatSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import type { DeviceGrant } from '../device/accelerator.ts';
import type { JobDevices } from '../job/device-admission.ts';
import type { ToldDevice } from './protocol.ts';

/** Vendors' rules for grants (device/told-grant.ts). */
export interface GrantRules {
  /** Every vendor that there are rules for. */
  readonly vendors: readonly string[];
  /** What a job with these devices is given, on a host with devices of the vendors `present`. */
  grant(devices: readonly ToldDevice[], present: readonly string[]): DeviceGrant;
}

export interface ToldDevices extends JobDevices {
  /** Throws RUNNER_DEVICES for a list that no host can have. */
  tell(vendors: readonly string[], devices: readonly ToldDevice[]): void;
}

export function createToldDevices(rules: GrantRules, look: (path: string) => NodeKind = lookAt): ToldDevices {
  let known: readonly ToldDevice[] = [];
  // Until the agent has told: whatever could be here is hidden.
  let present: readonly string[] = rules.vendors;

  return {
    tell(vendors, devices) {
      refuseImpossible(rules, vendors, devices);
      present = vendors;
      known = devices;
    },
    records: () => known,
    grant(ids) {
      const devices = ids.map((id) => {
        const device = known.find((one) => one.id === id);
        if (device === undefined) throw new Fault('DEVICE_UNKNOWN', `this host has no accelerator ${id}`);
        return device;
      });
      const granted = rules.grant(devices, present);
      for (const node of granted.deviceNodes)
        if (look(node) === 'other')
          throw new Fault('DEVICE_NODE', `${node} is no device node of root's on this host`);
      return granted;
    },
  };
}

function refuseImpossible(
  rules: GrantRules,
  vendors: readonly string[],
  devices: readonly ToldDevice[],
): void {
  const misfit = (what: string): Fault => new Fault('RUNNER_DEVICES', what, { field: 'devices' });
  const ids = new Set<string>();
  const nodes = new Set<string>();
  for (const name of vendors) if (!rules.vendors.includes(name)) throw misfit('a vendor that nobody knows');
  for (const { vendor, id, parentId, nodeNumber } of devices) {
    if (!rules.vendors.includes(vendor)) throw misfit('a device of a vendor that nobody knows');
    if (ids.has(id)) throw misfit('two devices of one id');
    ids.add(id);
    // Whoever holds one of two devices with one node would hold the other.
    const node = `${vendor} ${nodeNumber}`;
    if (parentId === null && nodeNumber !== null && nodes.has(node))
      throw misfit('two devices with one node');
    if (parentId === null) nodes.add(node);
  }
}

export type NodeKind = 'device' | 'missing' | 'other';

/** A character device, or a folder of such, that is root's. */
function lookAt(path: string): NodeKind {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 'missing';
  return stat.uid === 0 && (stat.isCharacterDevice() || stat.isDirectory()) ? 'device' : 'other';
}
