// What `flopd doctor` says of containers: which runtime would run jobs with an image, asked as the user who asks.
import { createSilentLog } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { createContainerClient } from '../job/executor/container-client.ts';
import type { Context } from './context.ts';
import type { Outcome } from './doctor-outcome.ts';

export async function checkContainers(
  { environment, clock }: Pick<Context, 'environment' | 'clock'>,
  { jobs }: Pick<Config, 'jobs'>,
): Promise<Outcome> {
  const client = createContainerClient({
    choice: jobs.containerRuntime,
    environment,
    onChange: () => {},
    clock,
    log: createSilentLog(),
  });
  try {
    await client.looked();
    const [problem, found] = [client.problem(), client.found()];
    if (problem === null && found !== null)
      return { status: 'ok', finding: `${found.runtime} works (${found.path})`, remedy: null };
    // The runtime's sentence ends with the remedy.
    const [, finding = problem ?? '', remedy = null] = /^(.*); ([^;]*)$/s.exec(problem ?? '') ?? [];
    // A host without one is no worse for it.
    return { status: found === null ? 'note' : 'warning', finding, remedy };
  } finally {
    client.close();
  }
}
