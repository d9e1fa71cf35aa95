// What a job is given of the host's accelerators: exactly its own, and of every other vendor that is here none.
import type { DeviceGrant, Vendor } from './accelerator.ts';
import type { Member } from './roster.ts';

/** `members`: the devices that the job holds. `present`: vendors that this host has or may have. */
export function grantOf(
  members: readonly Pick<Member, 'vendor' | 'reading'>[],
  present: readonly Vendor[],
): DeviceGrant {
  const environment: Record<string, string> = {};
  const deviceNodes = new Set<string>();
  const hostCounted = new Set<string>();
  /** Null once a device has none. */
  let cdiNames: (readonly string[])[] | null = [];
  // First what hides: two vendors may use one variable, and then the grant of the one must stand.
  for (const { hidden } of present) Object.assign(environment, hidden);
  for (const vendor of new Set(members.map((each) => each.vendor))) {
    const readings = members
      .filter((each) => each.vendor === vendor)
      .map(({ reading }) => reading)
      .sort((a, b) => a.index - b.index);
    const grant = vendor.grant(readings);
    Object.assign(environment, grant.environment);
    for (const node of grant.deviceNodes) deviceNodes.add(node);
    for (const name of grant.hostCounted ?? []) hostCounted.add(name);
    cdiNames = grant.cdiNames === undefined ? null : (cdiNames?.concat(grant.cdiNames) ?? null);
  }
  const nodesUnknown = members.some(({ reading }) => reading.nodeNumber === null);
  return {
    environment,
    deviceNodes: [...deviceNodes],
    ...(nodesUnknown ? { nodesUnknown } : {}),
    ...(cdiNames === null || cdiNames.length === 0 ? {} : { cdiNames }),
    ...(hostCounted.size === 0 ? {} : { hostCounted: [...hostCounted] }),
  };
}
