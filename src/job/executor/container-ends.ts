// From the end of a runtime's client to the end of the job: reads what the shim's after-commands and the first process
// left in the attempt's folder. A container that could not be removed then (its runtime did not answer) is removed
// here, before the end is told, for a bounded time: it may still run, and hold devices.
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { errnoOf } from '../../base/fault.ts';
import type { ContainerClient } from './container-client.ts';
import {
  containerName,
  inspectArguments,
  inspectedFile,
  removeArguments,
  removedFile,
} from './container-command.ts';
import { decideContainerEnd, type Inspected, parseInspected } from './container-end.ts';
import { hasRun, readLacks, readReport } from './container-order.ts';
import { jobFile, type ProcessEnd } from './executor.ts';
import { readRecord } from './shim-files.ts';

const REMOVALS_MAX = 4;
const REMOVE_TIMEOUT_MS = 30_000;
const INSPECT_TIMEOUT_MS = 10_000;
const REMOVE_AGAIN_MS = 5000;

export interface AttemptName {
  readonly folder: string;
  readonly jobId: string;
  readonly epoch: number;
}

export interface ContainerEnds {
  /** Calls `tell` once with the end of the job, at once where everything is known. Never throws. */
  correct(attempt: AttemptName, end: ProcessEnd, tell: (end: ProcessEnd) => void): void;
  /** Nothing is told any more. */
  close(): void;
}

export interface ContainerEndsOptions {
  readonly client: ContainerClient;
  readonly nodeId: string;
  readonly clock: Clock;
}

export function createContainerEnds({ client, nodeId, clock }: ContainerEndsOptions): ContainerEnds {
  let closed = false;

  /** Ends and removes it, also where nobody knows whether it is there. */
  async function remove(name: string): Promise<{ inspected: Inspected | null; removed: boolean }> {
    let inspected: Inspected | null = null;
    for (let attempt = 0; attempt < REMOVALS_MAX && !closed; attempt++) {
      await client.looked();
      const found = client.found();
      if (found === null) return { inspected, removed: false };
      const asked = await client.call(inspectArguments(name), INSPECT_TIMEOUT_MS).result;
      if (asked.exitCode === 0) inspected ??= parseInspected(asked.stdout);
      else if (isUnknown(asked.stderr)) return { inspected, removed: true };
      const { exitCode, stderr } = await client.call(removeArguments(found.runtime, name), REMOVE_TIMEOUT_MS)
        .result;
      if (exitCode === 0 || isUnknown(stderr)) return { inspected, removed: true };
      client.doubt();
      await new Promise<void>((resolve) => clock.after(REMOVE_AGAIN_MS, resolve));
    }
    return { inspected, removed: false };
  }

  async function settle({ folder, jobId, epoch }: AttemptName, end: ProcessEnd): Promise<ProcessEnd> {
    const runtime = client.found()?.runtime ?? 'the container runtime';
    const own = {
      end: { ...end, refusedLimits: [...end.refusedLimits, ...readLacks(folder)] },
      runtime,
      report: readReport(folder),
      hasRun: hasRun(folder),
      words: tailOf(join(folder, jobFile.stderr)),
    };
    const text = readRecord(join(folder, inspectedFile));
    const told = text === null ? null : parseInspected(text);
    // Nothing was ever made where the shim did not run its client.
    const never = end.kind === 'failedToStart';
    const gone = never || (readRecord(join(folder, removedFile)) ?? '').trim() !== '';
    if (gone) return decideContainerEnd({ ...own, inspected: told, removed: true });
    const late = await remove(containerName(nodeId, jobId, epoch));
    return decideContainerEnd({ ...own, inspected: told ?? late.inspected, removed: late.removed });
  }

  return {
    correct(attempt, end, tell) {
      settle(attempt, end)
        .catch((error: unknown): ProcessEnd => {
          if (errnoOf(error) === null) throw error;
          return { ...end, detail: `the traces of its container cannot be read (${errnoOf(error)})` };
        })
        .then((corrected) => {
          if (!closed) tell(corrected);
        });
    },
    close() {
      closed = true;
    },
  };
}

/** What podman and docker say of a container that they do not have. */
function isUnknown(stderr: string): boolean {
  return /no such (?:container|object)|no container with name or id/i.test(stderr);
}

/** The first words are as good as the last: a client that failed writes a line or two. */
function tailOf(path: string): string {
  return readRecord(path) ?? '';
}
