// One vendor through its command-line tool: finds it, asks it, and tells the roster. Never rejects and never has two
// children: an answer that does not come makes the vendor's devices absent as late, and they return with the next one.
import { existsSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { describeError, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { AbsentReason } from '../protocol/columns.ts';
import type { ToolReading, Vendor } from './accelerator.ts';
import { createTool, findProgram, type Tool } from './tool.ts';

/** Without persistence a driver may need seconds to wake its devices, once. */
const FIRST_BUDGET_MS = 10_000;
/** How often a tool that is not installed is looked for. */
const SEARCH_MS = 60_000;

export interface ToolSource {
  readonly vendor: Vendor;
  /** Path of the tool that is here, or null. */
  find(): string | null;
  /** Asks once; the readings, or why there are none. Null where there is no tool. */
  ask(): Promise<ToolAnswer | null>;
  close(): void;
}

export type ToolAnswer =
  | { readonly readings: readonly ToolReading[] }
  | { readonly reason: AbsentReason; readonly problem: string };

export interface ToolSourceOptions {
  readonly vendor: Vendor;
  readonly budgetMs: number;
  readonly scriptFolder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
}

export function createToolSource(options: ToolSourceOptions): ToolSource {
  const { vendor, clock, environment, scriptFolder, log } = options;
  let tool: Tool | null = null;
  let searchedMs = Number.NEGATIVE_INFINITY;
  let hasAnswered = false;
  let lastProblem: string | null = null;

  function find(): Tool | null {
    // A tool that was here once is still asked for: that it is gone is an answer.
    if (tool !== null && existsSync(tool.path)) return tool;
    const nowMs = clock.monotonicMs();
    if (tool === null && nowMs - searchedMs < SEARCH_MS) return null;
    searchedMs = nowMs;
    for (const name of vendor.tools) {
      const path = findProgram(name, environment);
      if (path === null) continue;
      if (path !== tool?.path) {
        tool?.close();
        tool = createTool({ path, name, scriptFolder, environment, clock });
      }
      return tool;
    }
    return tool;
  }

  return {
    vendor,
    find: () => find()?.path ?? null,
    async ask() {
      const present = find();
      if (present === null) return null;
      try {
        const budgetMs = hasAnswered ? options.budgetMs : Math.max(options.budgetMs, FIRST_BUDGET_MS);
        const readings = await present.query(budgetMs, (runner) => vendor.query(runner));
        hasAnswered = true;
        if (lastProblem !== null) log.info({ vendor: vendor.name }, `${present.name} answers again`);
        lastProblem = null;
        return { readings };
      } catch (error) {
        hasAnswered = true;
        const problem = describeError(error);
        // Told when it changes, not every few seconds.
        if (problem !== lastProblem) log.warn({ vendor: vendor.name }, problem);
        lastProblem = problem;
        return { reason: reasonOf(error), problem };
      }
    },
    close: () => tool?.close(),
  };
}

function reasonOf(error: unknown): AbsentReason {
  if (!isFault(error)) return 'error';
  switch (error.code) {
    case 'DEVICE_TOOL_LATE':
      return 'late';
    case 'DEVICE_TOOL_DENIED':
    case 'DEVICE_DENIED':
      return 'denied';
    case 'DEVICE_DRIVER_LOST':
      return 'lost';
    default:
      return 'error';
  }
}
