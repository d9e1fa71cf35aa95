// Containers of this node that nobody holds any more: of an earlier boot, of an attempt that has ended, or of one whose
// folder is gone. Removed once, when the runtime is first seen to work: while an agent lives, each attempt ends its own.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../base/log.ts';
import type { ContainerClient } from './container-client.ts';
import { label, removeArguments } from './container-command.ts';
import { shimFile } from './shim-files.ts';

const LIST_TIMEOUT_MS = 20_000;
const REMOVE_TIMEOUT_MS = 60_000;

export interface StrayOptions {
  readonly client: ContainerClient;
  readonly nodeId: string;
  readonly bootId: string;
  readonly log: Log;
}

/** Never rejects. */
export async function removeStrayContainers({ client, nodeId, bootId, log }: StrayOptions): Promise<void> {
  const listed = await client.call(listArguments(nodeId), LIST_TIMEOUT_MS).result;
  const ids = listed.stdout.split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line));
  const found = client.found();
  if (ids.length === 0 || found === null) return;
  const described = await client.call(describeArguments(ids), LIST_TIMEOUT_MS).result;
  for (const line of described.stdout.split('\n')) {
    const stray = parseDescription(line);
    if (stray === null || !isStray(stray.labels, bootId)) continue;
    const { exitCode } = await client.call(removeArguments(found.runtime, stray.id), REMOVE_TIMEOUT_MS)
      .result;
    const job = stray.labels[label.job];
    if (exitCode === 0) log.warn({ job, container: stray.id }, 'a container that nobody held is removed');
    else log.warn({ job, container: stray.id }, 'a container that nobody holds cannot be removed');
  }
}

/** All containers of a node, by their whole ids. */
export function listArguments(nodeId: string): string[] {
  return [
    '--log-level=error',
    'ps',
    '--all',
    '--quiet',
    '--no-trunc',
    `--filter=label=${label.node}=${nodeId}`,
  ];
}

function describeArguments(ids: readonly string[]): string[] {
  return [
    '--log-level=error',
    'inspect',
    '--type=container',
    '--format={{.Id}} {{json .Config.Labels}}',
    ...ids,
  ];
}

interface Description {
  readonly id: string;
  readonly labels: Readonly<Record<string, unknown>>;
}

export function parseDescription(line: string): Description | null {
  const match = /^([0-9a-f]{64}) (\{.*\})$/.exec(line);
  if (match === null) return null;
  try {
    const labels: unknown = JSON.parse(match[2] ?? '');
    if (typeof labels !== 'object' || labels === null) return null;
    return { id: match[1] ?? '', labels: labels as Readonly<Record<string, unknown>> };
  } catch {
    return null;
  }
}

/** Without our labels it is none of ours. */
export function isStray(labels: Readonly<Record<string, unknown>>, bootId: string): boolean {
  const folder = labels[label.folder];
  const boot = labels[label.boot];
  if (typeof folder !== 'string' || typeof boot !== 'string') return false;
  return boot !== bootId || !existsSync(folder) || existsSync(join(folder, shimFile.end));
}
