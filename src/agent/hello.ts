// Builds the hello: who this node is, what it can do, which jobs it holds.
import type { AuditHead } from '../protocol/audit.ts';
import type { Challenge, HeldJob, Hello, Inventory } from '../protocol/control.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import { ownVersions, type VersionRange } from '../protocol/version.ts';
import type { Identity } from './identity.ts';

/** So that neither the hello nor the welcome that answers it outgrows a frame. */
export const MAX_HELLO_JOBS = 8000;
const importance: Readonly<Record<HeldJob['phase'], number>> = { running: 0, accepted: 1, ended: 2 };

export interface HelloParts {
  readonly identity: Pick<
    Identity,
    'nodeId' | 'bootId' | 'generation' | 'instance' | 'prove' | 'credential' | 'signedCredential'
  >;
  readonly name: string;
  readonly version: string;
  /** Of the log that has the jobs. */
  readonly audit: AuditHead | null;
  /** Of the agent's own: the same one where the jobs are in its process. */
  readonly agentAudit?: AuditHead | null;
  readonly inventory: Inventory;
  readonly devices: readonly DeviceRecord[];
  readonly jobs: readonly HeldJob[];
  /** That are spoken; without it, all that this build knows. */
  readonly versions?: VersionRange;
}

export function buildHello(
  {
    identity,
    name,
    version,
    audit,
    agentAudit,
    inventory,
    devices,
    jobs,
    versions = ownVersions,
  }: HelloParts,
  challenge: Challenge,
  binding: string,
): Hello {
  // What has ended comes as a result anyway; what runs must be named, or the scheduler takes it for lost.
  const held =
    jobs.length <= MAX_HELLO_JOBS
      ? [...jobs]
      : [...jobs].sort((a, b) => importance[a.phase] - importance[b.phase]).slice(0, MAX_HELLO_JOBS);
  return {
    type: 'hello',
    versions: { ...versions },
    nodeId: identity.nodeId,
    name,
    agentVersion: version,
    bootId: identity.bootId,
    generation: identity.generation,
    instance: identity.instance,
    proof: identity.prove(challenge, binding),
    credential: identity.credential(),
    signedCredential: identity.signedCredential(),
    audit,
    ...(agentAudit && agentAudit.keyId !== audit?.keyId ? { agentAudit } : {}),
    inventory,
    devices: [...devices],
    jobs: held,
  };
}
