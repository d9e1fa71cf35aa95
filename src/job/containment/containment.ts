// How one job is walled in and limited: from its order, the operator's rules and what the host can do to the data
// that the shim carries out, or to a refusal. Pure, but for the groups of device nodes, which are handed in.
import type { StartOrder } from '../../protocol/control.ts';
import type { Refusal } from '../admission.ts';
import type { Containment } from '../executor/executor.ts';
import { bubblewrapArguments } from './bubblewrap.ts';
import type { HostFacts, JobRules } from './host.ts';
import { missingLimits, planLimits } from './limits.ts';

export interface Contained {
  readonly order: StartOrder;
  readonly workspace: string;
  readonly meter: string;
  readonly deviceNodes: readonly string[];
  /** A device was granted whose node is not known: the job sees all nodes, or it could not use that device. */
  readonly nodesUnknown: boolean;
  /** Groups that may open those. */
  readonly deviceGroups: readonly number[];
  /** The attempt's own user; null for the agent's. */
  readonly userId: number | null;
}

/** Why no job may run here by the operator's own rules, in words with the remedy; none for a node that keeps them. */
export function missingWalls(rules: JobRules, host: HostFacts): Refusal[] {
  const found: Refusal[] = [];
  if (rules.sandbox === 'require' && 'problem' in host.sandbox)
    found.push({
      code: 'JOB_SANDBOX_MISSING',
      message: `this node requires a sandbox for jobs (jobs.sandbox) and has none: ${host.sandbox.problem}`,
    });
  const limits = rules.limits === 'require' ? missingLimits(null, host.cgroups, host.disk) : null;
  if (limits !== null)
    found.push({
      code: 'JOB_LIMITS_MISSING',
      message: `${limits}, and requires it (jobs.limits); run the agent as root, or beside flopd-groups.service (systemd/README.md)`,
    });
  return found;
}

/** Null lets the job in, as far as walls go. */
export function refuseContainment({ spec }: StartOrder, rules: JobRules, host: HostFacts): Refusal | null {
  // A container has walls and limits of its own; but for the disk.
  if (spec.executor !== 'process') {
    const { diskReadBytesPerSecond, diskWriteBytesPerSecond } = spec.resources;
    if (rules.limits === 'auto' || (diskReadBytesPerSecond ?? diskWriteBytesPerSecond) === null) return null;
    const message = 'containers have no limit of disk throughput, and this node requires it (jobs.limits)';
    return { code: 'JOB_LIMITS_MISSING', message };
  }
  const [missing] = missingWalls(rules, host);
  if (missing !== undefined) return missing;
  const limits = rules.limits === 'require' ? missingLimits(spec.resources, host.cgroups, host.disk) : null;
  if (limits !== null)
    return { code: 'JOB_LIMITS_MISSING', message: `${limits}, and requires it (jobs.limits)` };
  // A working directory that its sandbox does not show is told by the start that fails, not held against the node.
  if ('problem' in host.sandbox && spec.network === 'none')
    return {
      code: 'JOB_NETWORK_WALL_MISSING',
      message: `the job must have no network, and this node has no sandbox to keep it from it: ${host.sandbox.problem}`,
    };
  return null;
}

export function decideContainment(job: Contained, rules: JobRules, host: HostFacts): Containment {
  const { order, userId } = job;
  const { spec } = order;
  const { sandbox } = host;
  const plan = planLimits({
    name: `flopd.${order.jobId}.${order.epoch}`,
    resources: spec.resources,
    processes: rules.processes,
    cgroups: host.cgroups,
    disk: host.disk,
    ownUser: userId !== null,
  });
  const wrap =
    'problem' in sandbox
      ? []
      : bubblewrapArguments({
          ...sandbox,
          changesUser: userId !== null,
          own: { workspace: job.workspace, meter: job.meter },
          deviceNodes: job.nodesUnknown ? 'all' : job.deviceNodes,
          network: spec.network,
        });
  return {
    user: userId === null ? null : { uid: userId, gid: userId, groups: [...job.deviceGroups] },
    wrap,
    filtered: !('problem' in sandbox) && host.filterProblem === null,
    ...plan,
    isolation: describeIsolation(job, host),
  };
}

function describeIsolation(
  { order, userId, deviceNodes, nodesUnknown }: Contained,
  host: HostFacts,
): Record<string, string> {
  const { sandbox } = host;
  const walled = !('problem' in sandbox);
  const missing = walled ? '' : `none: ${sandbox.problem}`;
  const all: Record<string, string> = {
    sandbox: walled ? 'bubblewrap' : missing,
    user:
      userId === null
        ? `the agent's (uid ${host.uid}): ${host.usersProblem ?? 'no id was free'}`
        : `uid ${userId}`,
    processes: walled ? 'own process namespace' : missing,
    files: walled ? 'read-only system, own /tmp, own workspace' : missing,
    network: order.spec.network === 'none' ? 'none' : "the host's",
    devices: !walled
      ? 'by environment only: no sandbox'
      : nodesUnknown
        ? 'by environment only: the node of a device is not known'
        : describeNodes(deviceNodes),
    privileges: 'no new privileges',
    systemCalls: walled
      ? (host.filterProblem ?? 'no namespaces, mounts, keys, BPF, perf, io_uring')
      : missing,
  };
  return Object.fromEntries(
    Object.entries(all).map(([wall, text]) => [wall, text.slice(0, WALL_CHARACTERS_MAX)]),
  );
}

/** What the protocol takes. */
const WALL_CHARACTERS_MAX = 256;

function describeNodes(nodes: readonly string[]): string {
  return nodes.length === 0 ? 'none' : `granted nodes only: ${nodes.join(' ')}`;
}
