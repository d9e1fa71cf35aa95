// Control groups of version 2: a group whose children are limited may hold no processes itself, so room has to be
// made before the first job. Decided from facts, then carried out step by step.
//
// Why not simply move the agent into a leaf below its service: before version 254 systemd puts a restarted service
// into its own group, which the kernel refuses once that group limits children; the agent could never be restarted
// while its jobs live. From 254 on the unit says DelegateSubgroup=agent, and the agent begins in such a leaf.
import { basename, dirname } from 'node:path';

/** What is wanted of it, in this order. */
export const UNIFIED_CONTROLLERS = ['cpu', 'memory', 'pids', 'io'] as const;
/** The leaf that the agent itself lives in. */
export const AGENT_LEAF = 'agent';

export interface UnifiedFacts {
  /** The group of this process and the top of the mount that shows it. */
  readonly ownFolder: string;
  readonly topFolder: string;
  /** `cgroup.controllers` of a group, split; empty where it cannot be read. */
  readonly controllers: (folder: string) => readonly string[];
  /** The kernel's own root, which may hold processes and limit children. */
  readonly isRootGroup: (folder: string) => boolean;
  readonly isRoot: boolean;
  /** Started by systemd as a service. */
  readonly isService: boolean;
}

export interface UnifiedPlan {
  /** Where groups of jobs are made. */
  readonly base: string;
  /** Leaf that the agent moves into first; null to stay. */
  readonly leaf: string | null;
  readonly enable: readonly string[];
  /** Why no controller can act, or null. */
  readonly problem: string | null;
}

export function decideUnified(facts: UnifiedFacts): UnifiedPlan {
  const { ownFolder, topFolder, controllers, isRootGroup } = facts;
  const wanted = (folder: string): string[] =>
    UNIFIED_CONTROLLERS.filter((name) => controllers(folder).includes(name));
  const plan = (base: string, leaf: string | null = null): UnifiedPlan => ({
    base,
    leaf,
    enable: wanted(base),
    problem: wanted(base).length === 0 ? 'version 2 has neither cpu nor memory nor pids here' : null,
  });
  // Without controllers nothing is in the way of groups that only gather a job's processes.
  if (wanted(ownFolder).length === 0 && wanted(topFolder).length === 0) return plan(ownFolder);
  if (basename(ownFolder) === AGENT_LEAF && ownFolder !== topFolder) return plan(dirname(ownFolder));
  if (isRootGroup(ownFolder)) return plan(ownFolder);
  if (facts.isRoot && isRootGroup(topFolder)) return plan(topFolder);
  if (facts.isService)
    return {
      base: ownFolder,
      leaf: null,
      enable: [],
      problem: 'systemd before version 254 cannot restart a service whose group limits its jobs',
    };
  return plan(ownFolder, `${ownFolder}/${AGENT_LEAF}`);
}

/** What carrying it out needs; each throws the system's error. */
export interface UnifiedTools {
  makeFolder(folder: string): void;
  write(path: string, text: string): void;
  read(path: string): string;
}

/** Makes room for jobs. Gives the controllers that act in groups below `plan.base`, and what was refused. */
export function prepareUnified(
  plan: UnifiedPlan,
  pid: number,
  tools: UnifiedTools,
): { readonly controllers: readonly string[]; readonly problems: readonly string[] } {
  const problems: string[] = plan.problem === null ? [] : [plan.problem];
  const tried = (what: string, step: () => void): boolean => {
    try {
      step();
      return true;
    } catch (error) {
      problems.push(`${what}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
      return false;
    }
  };
  const { leaf, base } = plan;
  if (leaf !== null && plan.enable.length > 0) {
    tried('own leaf', () => tools.makeFolder(leaf));
    const moved = tried('own leaf', () => tools.write(`${leaf}/cgroup.procs`, String(pid)));
    if (!moved) return { controllers: [], problems };
    tried('own weight', () => tools.write(`${leaf}/cpu.weight`, '1000'));
  }
  for (const name of plan.enable)
    tried(`controller ${name}`, () => tools.write(`${base}/cgroup.subtree_control`, `+${name}`));
  let acting: readonly string[] = [];
  tried('controllers', () => {
    acting = tools.read(`${base}/cgroup.subtree_control`).trim().split(/\s+/);
  });
  return { controllers: UNIFIED_CONTROLLERS.filter((name) => acting.includes(name)), problems };
}
