// Which scheduler this host belongs to when its agent starts: what `flopd join` wrote, or what the token that this
// process was given makes of it.
import { join } from 'node:path';
import { Fault } from '../base/fault.ts';
import type { AgentOptions } from './agent.ts';
import { type Enrolment, enrol, readEnrolment } from './enrolment.ts';

/** Throws AGENT_NOT_ENROLLED where there is neither. */
export async function takeEnrolment(
  {
    stateDir,
    scheduler,
    joinToken,
    caFile,
    config,
  }: Pick<AgentOptions, 'stateDir' | 'scheduler' | 'joinToken' | 'caFile' | 'config'>,
  name: string,
): Promise<Enrolment> {
  const known = await readEnrolment(stateDir);
  if (known?.withRunner === true && config.runner.socket === null)
    throw new Fault(
      'CONFIG_RUNNER_MISSING',
      'this host joined with a job runner, and the agent is told of none: it would start jobs itself, as its own user',
      {
        field: 'runner.socket',
        remedy:
          'name the socket of "flopd runner" with --runner PATH, or join again without --runner-state-dir',
      },
    );
  if (known !== null) return known;
  if (scheduler !== null && joinToken !== null)
    return enrol({ url: scheduler, token: joinToken, stateDir, name, caFile: caFile ?? null });
  throw new Fault(
    'AGENT_NOT_ENROLLED',
    `this host has not joined a scheduler (no ${join(stateDir, 'agent', 'node.json')})`,
    {
      field: 'scheduler',
      remedy: 'run "flopd join URL --token-file FILE" first',
    },
  );
}
