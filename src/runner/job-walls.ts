// The walls of this host's jobs, opened once at the agent's start; and the agent's own place before its jobs when
// memory runs out.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { makeFolder } from '../base/folder.ts';
import type { Log } from '../base/log.ts';
import { readText } from '../base/text-file.ts';
import type { Config } from '../config/config.ts';
import { type JobRules, probeHost } from '../job/containment/host.ts';
import { createWalls, type Walls } from '../job/containment/walls.ts';

/** What the unit of systemd says too (systemd/flopd-runner.service). */
const OOM_SCORE = '-500';

export interface JobWallsOptions {
  /** The agent's state folder. */
  readonly folder: string;
  readonly stateDir: string;
  readonly config: Pick<Config, 'jobs' | 'tokenFile'>;
  /** Folder of the programs that jobs may be given (native/build). */
  readonly build: string;
  readonly procRoot: string;
  readonly sysRoot: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Never rejects. */
export async function openWalls(options: JobWallsOptions): Promise<Walls> {
  const { config, log, procRoot } = options;
  const rules: JobRules = config.jobs;
  const jobsFolder = join(options.folder, 'jobs');
  makeFolder(jobsFolder);
  stepBack(procRoot);
  const facts = await probeHost({
    rules,
    procRoot,
    sysRoot: options.sysRoot,
    stateDir: options.stateDir,
    secrets: config.tokenFile === null ? [] : [config.tokenFile],
    build: options.build,
    environment: options.environment,
    clock: options.clock,
  });
  const walls = createWalls(rules, facts, jobsFolder);
  const { sandbox, cgroups, usersProblem } = facts;
  log.info(
    {
      sandbox: 'problem' in sandbox ? sandbox.problem : 'bubblewrap',
      users: usersProblem ?? 'own',
      controllers: cgroups.bases.flatMap(({ version, controllers }) =>
        controllers.map((name) => `v${version} ${name}`),
      ),
      problems: cgroups.problems,
    },
    'how jobs are walled in and limited here',
  );
  return walls;
}

/** The agent is the last to go when memory runs out; where it may not say so, its jobs are at least its equals. */
function stepBack(procRoot: string): void {
  const path = join(procRoot, 'self', 'oom_score_adj');
  if (!(Number(readText(path)) >= 0)) return;
  try {
    writeFileSync(path, OOM_SCORE);
  } catch {
    // Only root may.
  }
}
