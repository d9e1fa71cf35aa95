// Which control groups this agent may make for its jobs, found out once at its start by making one. Only what was
// seen in such a trial group is relied on: hybrid hosts show controllers that are not there.
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf } from '../../base/fault.ts';
import { readText } from '../../base/text-file.ts';
import { findOwnGroups, type OwnGroup } from './cgroup-mounts.ts';
import { decideUnified, prepareUnified, type UnifiedTools } from './unified.ts';

/** A group below which groups of jobs can be made. */
export interface CgroupBase {
  readonly folder: string;
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
  /** Files that a group made there has. */
  readonly files: ReadonlySet<string>;
}

export interface CgroupFacts {
  readonly bases: readonly CgroupBase[];
  /** What is missing and why, short, for people. */
  readonly problems: readonly string[];
}

export interface CgroupHost extends CgroupFacts {
  /** Of version 2, where processes of flopd that are no jobs belong; null to leave them. */
  readonly shimsLeaf: string | null;
  /** Itself while its groups stand, or opened anew: the unit that holds them may have been started again. */
  readonly renewed: () => CgroupHost;
}

/** Controllers of version 1 that limit or count something of a job. */
const USED = ['memory', 'cpu', 'cpuacct', 'pids', 'blkio'];

export interface CgroupProbe {
  readonly procRoot: string;
  readonly sysRoot: string;
  readonly pid: number;
  readonly isRoot: boolean;
  readonly isService: boolean;
  /** Makes a group, tells its files and removes it; throws the system's error. */
  readonly trial?: (folder: string) => readonly string[];
  readonly tools?: UnifiedTools;
}

/**
 * Reads and, of version 2, makes room for jobs (moves this process, enables controllers) unless `look` says to change
 * nothing but the trial. Never throws.
 */
export function openCgroups(probe: CgroupProbe, look = false): CgroupHost {
  const mountinfo = readText(join(probe.procRoot, 'self', 'mountinfo')) ?? '';
  const cgroup = readText(join(probe.procRoot, 'self', 'cgroup')) ?? '';
  const bases: CgroupBase[] = [];
  const problems: string[] = [];
  const refused = new Map<string, string[]>();
  let shimsLeaf: string | null = null;
  for (const own of findOwnGroups(mountinfo, cgroup, probe.sysRoot)) {
    if (own.version === 1 && !own.controllers.some((name) => USED.includes(name))) continue;
    const found = own.version === 2 ? openUnified(own, probe, look, problems) : { ...own, shimsLeaf: null };
    shimsLeaf ??= found.shimsLeaf;
    try {
      const files = (probe.trial ?? trialGroup)(join(found.folder, `flopd.trial.${probe.pid}`));
      const { folder, controllers } = found;
      bases.push({ folder, controllers, version: own.version, files: new Set(files) });
    } catch (error) {
      const errno = errnoOf(error) ?? String(error);
      const names = own.version === 2 ? ['version 2'] : own.controllers;
      refused.set(errno, [...(refused.get(errno) ?? []), ...names]);
    }
  }
  for (const [errno, names] of refused)
    problems.push(`no groups can be made of ${names.join(', ')} (${errno})`);
  if (bases.length === 0 && problems.length === 0) problems.push('no control groups are mounted');
  const host: CgroupHost = {
    bases,
    problems,
    shimsLeaf,
    renewed: () => (shimsLeaf === null || existsSync(shimsLeaf) ? host : openCgroups(probe)),
  };
  return host;
}

function openUnified(
  own: OwnGroup,
  probe: CgroupProbe,
  look: boolean,
  problems: string[],
): Pick<CgroupBase, 'folder' | 'controllers'> & Pick<CgroupHost, 'shimsLeaf'> {
  const words = (path: string): string[] => (readText(path) ?? '').split(/\s+/).filter((word) => word !== '');
  const plan = decideUnified({
    ownFolder: own.folder,
    topFolder: own.mountPoint,
    controllers: (folder) => words(join(folder, 'cgroup.controllers')),
    isRootGroup: (folder) =>
      existsSync(join(folder, 'cgroup.procs')) && !existsSync(join(folder, 'cgroup.type')),
    isInner: (folder) => words(join(folder, 'cgroup.subtree_control')).length > 0,
    isOurs: (folder) => isWritable(join(folder, 'cgroup.subtree_control')),
    isRoot: probe.isRoot,
    isService: probe.isService,
  });
  if (look) {
    if (plan.problem !== null) problems.push(plan.problem);
    const folder = existsSync(plan.base) ? plan.base : dirname(plan.base);
    return { folder, controllers: plan.problem === null ? plan.enable : [], shimsLeaf: null };
  }
  const made = prepareUnified(plan, probe.pid, probe.tools ?? tools);
  problems.push(...made.problems);
  const shimsLeaf = plan.moves === 'all' && made.controllers.length > 0 ? plan.leaf : null;
  return { folder: plan.base, controllers: made.controllers, shimsLeaf };
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const tools: UnifiedTools = {
  makeFolder: (folder) => {
    if (!existsSync(folder)) mkdirSync(folder);
  },
  write: (path, text) => writeFileSync(path, text),
  read: (path) => readFileSync(path, 'utf8'),
};

function trialGroup(folder: string): readonly string[] {
  mkdirSync(folder);
  try {
    return readdirSync(folder);
  } finally {
    rmdirSync(folder);
  }
}
