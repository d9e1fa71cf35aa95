// A scheduler and agents with state directories of their own, on one machine.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Bed, type Daemon, type StartOptions, until } from './bed.ts';

export interface Apart {
  readonly daemon: Daemon;
  /** To start it again on the same state. */
  readonly options: StartOptions & { readonly environment: Record<string, string> };
  readonly name: string;
}

export async function joinToken(bed: Bed): Promise<string> {
  return readFileSync(join(bed.stateDir, 'scheduler', 'join-token'), 'utf8').trim();
}

/** Enrols and starts an agent named `name`, and waits until the scheduler may place jobs there. */
export async function startAgent(
  bed: Bed,
  scheduler: Daemon,
  name: string,
  program?: string,
): Promise<Apart> {
  const environment = {
    FLOPD_STATE_DIR: join(bed.folder, `state-${name}`),
    FLOPD_NODE_NAME: name,
  };
  const options = { environment, ...(program === undefined ? {} : { program }) };
  const tokenFile = join(bed.stateDir, 'scheduler', 'join-token');
  const joined = await bed.run(['join', scheduler.endpoint.url, '--token-file', tokenFile], options);
  expect(joined.code, joined.stderr).toBe(0);
  const daemon = await bed.start(['agent'], options);
  await untilReady(bed, name);
  return { daemon, options, name };
}

export async function untilReady(bed: Bed, name: string): Promise<void> {
  await until(`node ${name}`, async () => {
    const { stdout } = await bed.run(['nodes', '-o', 'json']);
    const { nodes } = JSON.parse(stdout || '{"nodes":[]}') as { nodes: { name: string; state: string }[] };
    return nodes.some((node) => node.name === name && node.state === 'ready');
  });
}

export async function killed(daemon: Daemon): Promise<void> {
  daemon.kill('SIGKILL');
  await daemon.finished();
}
