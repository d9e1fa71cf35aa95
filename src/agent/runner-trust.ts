// `flopd join` for an agent with a runner: one answer of the scheduler, told to both. What lies in the agent's folder is
// written with the rights of the agent's user, whatever links lie there; what the runner believes comes from the answer,
// never from a file that the agent could write.
import { lchownSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import { prepareStateFolder } from '../daemon/state-folder.ts';
import { KEYS_FILE, writeSchedulerKeys } from '../job/trust.ts';
import type { Signed } from '../protocol/signed.ts';
import { findUser, type SocketUser } from '../runner/listener.ts';
import { writeMembership } from '../runner/membership.ts';
import { type Enrolment, type EnrolOptions, enrol } from './enrolment.ts';

export interface RunnerMembership {
  /** State directory of the runner. */
  readonly stateDir: string;
  /** Name or number of the agent's user; null: the user of this process. */
  readonly agentUser: string | null;
}

/** Throws as `enrol`, and RUNNER_STATE_DIR, RUNNER_USER, or RUNNER_RIGHTS where this user may not act for the agent's. */
export async function enrolWithRunner(options: EnrolOptions, runner: RunnerMembership): Promise<Enrolment> {
  const user = runner.agentUser === null ? null : findUser(runner.agentUser);
  makeFolder(runner.stateDir);
  const folder = prepareStateFolder(runner.stateDir, 'runner');
  let keys: readonly Signed[] = [];
  const learned = (told: readonly Signed[]): void => {
    keys = told;
  };
  const enrolment = await asUser(user, options.stateDir, () =>
    enrol({ ...options, learned, withRunner: true }),
  );
  writeSchedulerKeys(join(folder, KEYS_FILE), enrolment.schedulerId, keys);
  writeMembership(folder, enrolment);
  return enrolment;
}

async function asUser<T>(user: SocketUser | null, stateDir: string, work: () => Promise<T>): Promise<T> {
  const { geteuid, getegid, getgroups, seteuid, setegid, setgroups } = process;
  const own = geteuid?.() ?? -1;
  if (user === null || user.uid === own) return work();
  if (own !== 0 || !seteuid || !setegid || !setgroups || !getegid || !getgroups)
    throw new Fault('RUNNER_RIGHTS', 'this user may not write files of the agent as the agent', {
      field: 'runner.user',
      remedy: 'run "flopd join" as root',
    });
  lchownSync(stateDir, user.uid, user.gid);
  giveAway(join(stateDir, 'agent'), user);
  const [group, groups] = [getegid(), getgroups()];
  setgroups([]);
  setegid(user.gid);
  seteuid(user.uid);
  try {
    return await work();
  } finally {
    seteuid(own);
    setegid(group);
    setgroups(groups);
  }
}

/** What an agent that was root has left: its folder and the files in it. A folder that is not root's is left alone. */
function giveAway(folder: string, { uid, gid }: SocketUser): void {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isDirectory() || stat.uid !== 0) return;
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isFile()) lchownSync(join(folder, entry.name), uid, gid);
  lchownSync(folder, uid, gid);
}
