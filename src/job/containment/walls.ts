// What the job room asks of all this: may an order run behind the walls of this node, as which user, and how. Keeps
// which id was given last; everything else is decided anew from the facts of the host.
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  readdirSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { StartOrder } from '../../protocol/control.ts';
import type { Refusal } from '../admission.ts';
import type { Granted } from '../book.ts';
import { type Containment, jobFile } from '../executor/executor.ts';
import { decideContainment, missingWalls, refuseContainment } from './containment.ts';
import type { HostFacts, JobRules } from './host.ts';
import { missingLimits } from './limits.ts';
import { chooseUser } from './user.ts';

export interface Walls {
  readonly outputQuotaBytes: number;
  /** Sentences for the inventory: jobs that cannot run, walls that are missing. */
  limitations(): readonly string[];
  refuse(order: StartOrder): Refusal | null;
  /** A user for an attempt, held by nobody; null where jobs run as the agent's user. */
  chooseUser(held: ReadonlySet<number>): { readonly userId: number | null } | Refusal;
  /** `folder` is that of the attempt. */
  contain(order: StartOrder, folder: string, granted: Granted | null, userId: number | null): Containment;
  /** Puts a process of flopd that is no job where it is in the way of neither jobs nor a restart of its service. */
  place(pid: number): void;
  /** Removes groups of attempts that are over, and old empty ones: their shims were killed before they could. */
  sweep(isOver: (name: string) => boolean): void;
}

/** A shim puts its job into a group at once; one that is empty for so long is nobody's. */
const EMPTY_GROUP_MS = 3_600_000;
const GROUP = /^flopd\.([a-z]+-[0-9a-z]{1,32}\.[1-9]\d{0,14})$/;

/** `random` gives a number from 0 up to 1. */
export function createWalls(
  rules: JobRules,
  found: HostFacts,
  jobsFolder: string,
  random: () => number = Math.random,
): Walls {
  // Not at the first id after each start of the agent: files in jobs.writePaths would soon be another job's.
  const { from, to } = rules.userRange;
  let last = from - 1 + Math.floor(random() * (to - from + 1));
  let facts = found;

  /** The host as it is now: bubblewrap may have been removed since, or the groups. */
  function host(): HostFacts {
    const cgroups = facts.cgroups.renewed();
    if (cgroups !== facts.cgroups) facts = { ...facts, cgroups };
    const { sandbox } = facts;
    if (!('problem' in sandbox) && isProgram(sandbox.program)) return facts;
    const problem =
      'problem' in sandbox ? sandbox.problem : 'bubblewrap is not here any more; install it again';
    // Without a sandbox the job's user has to get to its workspace by itself.
    return { ...facts, sandbox: { problem }, usersProblem: facts.usersProblem ?? openPassage(jobsFolder) };
  }

  return {
    outputQuotaBytes: rules.outputQuotaBytes,

    limitations() {
      const missing = missingWalls(rules, host());
      if (missing.length > 0)
        return missing.map(({ message }) => `no jobs through executor process: ${message}`);
      const { sandbox } = host();
      const lacks: string[] = [];
      if ('problem' in sandbox && rules.sandbox !== 'off')
        lacks.push(`jobs run without a sandbox: ${sandbox.problem}`);
      const unlimited = missingLimits(null, facts.cgroups, facts.disk);
      if (unlimited !== null) lacks.push(unlimited);
      return lacks;
    },

    refuse: (order) => refuseContainment(order, rules, host()),

    chooseUser(held) {
      if (host().usersProblem !== null) return { userId: null };
      const userId = chooseUser(rules.userRange, held, last);
      if (userId === null)
        return {
          code: 'JOB_USERS_BUSY',
          message: `all ${to - from + 1} ids of jobs.userRange are held by jobs`,
        };
      last = userId;
      return { userId };
    },

    contain(order, folder, granted, userId) {
      const deviceNodes = granted?.deviceNodes ?? [];
      return decideContainment(
        {
          order,
          workspace: join(folder, jobFile.workspace),
          meter: join(folder, jobFile.meter),
          deviceNodes,
          nodesUnknown: granted?.nodesUnknown === true,
          deviceGroups: userId === null ? [] : groupsOf(deviceNodes),
          userId,
        },
        rules,
        host(),
      );
    },

    place(pid) {
      const { shimsLeaf } = host().cgroups;
      if (shimsLeaf === null) return;
      try {
        writeFileSync(join(shimsLeaf, 'cgroup.procs'), String(pid));
      } catch {
        // It stays in the group of its service.
      }
    },

    sweep(isOver) {
      for (const { folder } of facts.cgroups.bases)
        for (const entry of listed(folder)) {
          const name = GROUP.exec(entry)?.[1];
          if (name === undefined) continue;
          if (isOver(name) || isOld(join(folder, entry))) removeGroup(join(folder, entry));
        }
    },
  };
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Groups other than root's that may read and write the nodes. */
function groupsOf(nodes: readonly string[]): number[] {
  const groups = new Set<number>();
  for (const node of nodes) {
    const stat = statSync(node, { throwIfNoEntry: false });
    if (stat !== undefined && stat.gid !== 0 && (stat.mode & 0o060) === 0o060) groups.add(stat.gid);
  }
  return [...groups];
}

/** Opens the way down to the attempts' folders, for passing only. Why other users cannot get there, or null. */
function openPassage(jobsFolder: string): string | null {
  // jobs/, agent/ and the state folder are ours.
  for (const folder of [jobsFolder, dirname(jobsFolder), dirname(dirname(jobsFolder))]) {
    const mode = statSync(folder, { throwIfNoEntry: false })?.mode;
    if (mode !== undefined && (mode & 0o111) !== 0o111) chmodSync(folder, (mode & 0o7777) | 0o111);
  }
  for (let at = jobsFolder; at !== dirname(at); at = dirname(at))
    if (existsSync(at) && (statSync(at).mode & 0o001) === 0) return `other users may not pass ${at}`;
  return null;
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Made long ago: if it is empty, whoever made it is gone. */
function isOld(folder: string): boolean {
  const stat = statSync(folder, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > EMPTY_GROUP_MS;
}

/** One with processes in it stays: its shim, or the one that takes over from it, ends them. */
function removeGroup(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Busy, or gone meanwhile.
  }
}
