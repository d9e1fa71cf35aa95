// What `flopd doctor` says of the walls and limits that jobs of this host would have: the same look that an agent of
// this user takes at its start, which changes nothing.
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { missingWalls } from '../job/containment/containment.ts';
import { type HostFacts, probeHost } from '../job/containment/host.ts';
import { nativePaths } from '../native.ts';
import type { Context } from './context.ts';
import { failure, note, type Outcome, ok, warning } from './doctor-outcome.ts';
import { PROC_ROOT, SYS_ROOT } from './host-root.ts';

const AS_ROOT = 'run the agent as root, or beside flopd-groups.service (systemd/README.md)';

/** The looks of one doctor: sandbox, users and limits share one. */
export function createWallChecks(): Readonly<
  Record<'sandbox' | 'users' | 'limits', (context: Context, config: Config) => Promise<Outcome>>
> {
  let looking: Promise<HostFacts> | null = null;
  const look = (context: Context, config: Config): Promise<HostFacts> => {
    const build = dirname(nativePaths(context.root).shim);
    looking ??= probeHost({
      rules: config.jobs,
      procRoot: PROC_ROOT,
      sysRoot: SYS_ROOT,
      // One that is still to be made cannot be hidden.
      stateDir: existsSync(config.stateDir) ? config.stateDir : build,
      secrets: [],
      build,
      environment: context.environment,
      clock: context.clock,
      look: true,
    });
    return looking;
  };
  return {
    async sandbox(context, config) {
      const facts = await look(context, config);
      const missing = missingWalls(config.jobs, facts).find(({ code }) => code === 'JOB_SANDBOX_MISSING');
      if (missing !== undefined)
        return failure(missing.message, 'make bubblewrap work, or set jobs.sandbox to auto');
      const { sandbox } = facts;
      if (!('problem' in sandbox))
        return ok(
          `bubblewrap works (${sandbox.program}${facts.uid === 0 ? '' : ', through a user namespace'})`,
        );
      if (config.jobs.sandbox === 'off') return note('off (jobs.sandbox): jobs see all of this host');
      return warning(`jobs run without one: ${sandbox.problem}`, 'apt install bubblewrap, or the like');
    },

    async users(context, config) {
      const { usersProblem } = await look(context, config);
      if (usersProblem === null) return ok('each job is a user of its own');
      return note(`all jobs are the agent's user: ${usersProblem}`);
    },

    async limits(context, config) {
      const facts = await look(context, config);
      const { bases, problems } = facts.cgroups;
      const missing = missingWalls(config.jobs, facts).find(({ code }) => code === 'JOB_LIMITS_MISSING');
      if (missing !== undefined) return failure(missing.message, AS_ROOT);
      const held = [
        ['CPU', 'cpu'],
        ['memory', 'memory'],
        ['processes', 'pids'],
      ].filter(([, controller]) => bases.some(({ controllers }) => controllers.includes(controller ?? '')));
      const why = problems.length === 0 ? '' : `; ${problems.join('; ')}`;
      if (held.length === 0) return note(`no control group limits jobs here${why}`, AS_ROOT);
      const versions = [
        ...new Set(bases.filter(({ controllers }) => controllers.length > 0).map(({ version }) => version)),
      ];
      const finding = `control groups version ${versions.join(' and ')} limit ${held.map(([name]) => name).join(', ')}`;
      return held.length === 3 ? ok(finding) : note(`${finding}${why}`);
    },
  };
}
