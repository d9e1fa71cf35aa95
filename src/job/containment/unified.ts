// Control groups of version 2: a group whose children are limited may hold no processes itself, so room has to be
// made before the first job. Decided from facts, then carried out step by step.
//
// Why a service neither moves into a leaf of its own group nor limits jobs below it: systemd before version 254 puts a
// restarted service into its own group, which the kernel refuses once that group limits children; the agent could never
// be restarted while its jobs live. So the groups of jobs lie below a unit beside it that is delegated to flopd and
// holds nothing but a sleeping process, since a unit without one is taken away (systemd/flopd-groups.service).
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../../base/fault.ts';

/** What is wanted of it, in this order. */
export const UNIFIED_CONTROLLERS = ['cpu', 'memory', 'pids', 'io'] as const;
/** The leaf that the agent itself lives in, where systemd began it there (DelegateSubgroup) or no unit holds groups. */
export const AGENT_LEAF = 'agent';
/** The unit whose group is there for groups of jobs, in the slice of the service that starts them. */
export const GROUPS_UNIT = 'flopd-groups.service';
/** Its leaf for whatever is no job: what systemd started in it, and shims. */
export const SHIMS_LEAF = 'shims';
/** Below the top, for root without such a unit. Not the top itself: systemd would take controllers away from there. */
export const TOP_GROUP = 'flopd';

export interface UnifiedFacts {
  /** The group of this process and the top of the mount that shows it. */
  readonly ownFolder: string;
  readonly topFolder: string;
  /** `cgroup.controllers` of a group, split; empty where it cannot be read. */
  readonly controllers: (folder: string) => readonly string[];
  /** The kernel's own root, which may hold processes and limit children. */
  readonly isRootGroup: (folder: string) => boolean;
  /** It limits children already, so that it holds no processes. */
  readonly isInner: (folder: string) => boolean;
  /** It is there, and this process may limit children of it. */
  readonly isOurs: (folder: string) => boolean;
  readonly isRoot: boolean;
  /** Started by systemd as a service. */
  readonly isService: boolean;
}

export interface UnifiedPlan {
  /** Where groups of jobs are made. */
  readonly base: string;
  /** `base` has to be made, and these controllers be enabled above it first. */
  readonly isNew: boolean;
  /** Leaf that makes `base` free of processes; null to leave them where they are. */
  readonly leaf: string | null;
  /** Who moves there: this process, or all that are in `base`. */
  readonly moves: 'self' | 'all';
  readonly enable: readonly string[];
  /** Why no controller can act, or null. */
  readonly problem: string | null;
}

export function decideUnified(facts: UnifiedFacts): UnifiedPlan {
  const { ownFolder, topFolder, controllers, isRootGroup } = facts;
  const wanted = (folder: string): string[] =>
    UNIFIED_CONTROLLERS.filter((name) => controllers(folder).includes(name));
  const plan = (base: string, change: Partial<UnifiedPlan> = {}): UnifiedPlan => {
    const enable = wanted(change.isNew === true ? dirname(base) : base);
    const problem = enable.length === 0 ? 'version 2 has neither cpu nor memory nor pids here' : null;
    return { base, isNew: false, leaf: null, moves: 'self', enable, problem, ...change };
  };
  // Without controllers nothing is in the way of groups that only gather a job's processes.
  if (wanted(ownFolder).length === 0 && wanted(topFolder).length === 0) return plan(ownFolder);
  if (basename(ownFolder) === AGENT_LEAF && ownFolder !== topFolder) return plan(dirname(ownFolder));
  const unit = join(dirname(ownFolder), GROUPS_UNIT);
  if (facts.isService && ownFolder !== topFolder && facts.isOurs(unit))
    return plan(unit, { leaf: join(unit, SHIMS_LEAF), moves: 'all' });
  if (isRootGroup(ownFolder)) return plan(join(ownFolder, TOP_GROUP), { isNew: true });
  if (facts.isRoot && (isRootGroup(topFolder) || facts.isInner(topFolder)))
    return plan(join(topFolder, TOP_GROUP), { isNew: true });
  if (facts.isService)
    return plan(ownFolder, {
      enable: [],
      problem: `no ${GROUPS_UNIT} lends its control group to the agent (systemd/README.md)`,
    });
  return plan(ownFolder, { leaf: join(ownFolder, AGENT_LEAF) });
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
      problems.push(`${what}: ${errnoOf(error) ?? String(error)}`);
      return false;
    }
  };
  const words = (path: string): string[] =>
    tools
      .read(path)
      .split(/\s+/)
      .filter((word) => word !== '');
  const enableBelow = (folder: string): void => {
    for (const name of plan.enable)
      tried(`controller ${name}`, () => tools.write(`${folder}/cgroup.subtree_control`, `+${name}`));
  };
  const { leaf, base } = plan;
  if (plan.isNew) {
    enableBelow(dirname(base));
    if (!tried('own group', () => tools.makeFolder(base))) return { controllers: [], problems };
  }
  if (leaf !== null && plan.enable.length > 0) {
    const moved = tried('own leaf', () => {
      tools.makeFolder(leaf);
      const pids = plan.moves === 'self' ? [String(pid)] : words(`${base}/cgroup.procs`);
      for (const one of pids) moveInto(leaf, one, tools);
    });
    if (!moved) return { controllers: [], problems };
  }
  enableBelow(base);
  let acting: readonly string[] = [];
  tried('controllers', () => {
    acting = words(`${base}/cgroup.subtree_control`);
  });
  // After the controllers: before, the leaf has no weight.
  if (leaf !== null && acting.includes('cpu'))
    tried('own weight', () => tools.write(`${leaf}/cpu.weight`, '1000'));
  return { controllers: UNIFIED_CONTROLLERS.filter((name) => acting.includes(name)), problems };
}

/** One that has ended meanwhile is no problem. */
function moveInto(leaf: string, pid: string, tools: UnifiedTools): void {
  try {
    tools.write(`${leaf}/cgroup.procs`, pid);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
