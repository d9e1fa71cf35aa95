// The grants that most vendors share: visible devices by index, and one node per device beside the control nodes.
import type { DeviceGrant, DeviceReading, Vendor } from './accelerator.ts';

export interface GrantRule {
  /** Variables that take indexes, parted by commas. */
  readonly variables: readonly string[];
  /** What stands before N in the path of device N's node. */
  readonly nodePrefix: string;
  /** Nodes that every job needs beside them. */
  readonly controlNodes?: readonly string[];
}

/** What a vendor of this kind gives and hides. */
export function indexGrants(rule: GrantRule): Pick<Vendor, 'grant' | 'hidden'> {
  return { grant: (devices) => grantByIndex(devices, rule), hidden: hiddenBy(rule.variables) };
}

function grantByIndex(devices: readonly DeviceReading[], rule: GrantRule): DeviceGrant {
  const indexes = devices.map(({ index }) => index).join(',');
  // A device whose number is not known has no node to name.
  const nodes = devices.flatMap(({ nodeNumber }) =>
    nodeNumber === null ? [] : [`${rule.nodePrefix}${nodeNumber}`],
  );
  return {
    environment: Object.fromEntries(
      rule.variables.map((name) => [name, devices.length === 0 ? '-1' : indexes]),
    ),
    ...(devices.length === 0 ? {} : { hostCounted: rule.variables }),
    // Without a device there is nothing to control.
    deviceNodes: devices.length === 0 ? [] : [...nodes, ...(rule.controlNodes ?? [])],
  };
}

/** Hides all devices: no device has the index -1. */
export function hiddenBy(variables: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(variables.map((name) => [name, '-1']));
}

/** Makes ids that tell each device from the others, where what a tool prints as unique may be printed twice. */
export function distinctIds(candidates: readonly (readonly (string | null)[])[]): string[] {
  return candidates.map((own, at) => {
    const good = own.findIndex(
      (each, rank) =>
        each !== null && !candidates.some((others, other) => other !== at && others[rank] === each),
    );
    return (own[good] ?? `device-${at}`).slice(0, 96);
  });
}
