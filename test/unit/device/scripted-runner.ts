// A runner of a tool without a child: answers from a function of the arguments, and counts time per call.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Fault } from '../../../src/base/fault.ts';
import type { ToolOutput, ToolRunner } from '../../../src/device/accelerator.ts';

export interface ScriptedRunner extends ToolRunner {
  readonly calls: string[];
}

/** `null`: the tool does not have it (exit 1 and a complaint). */
export function createScriptedRunner(
  name: string,
  answer: (args: string) => string | Fault | null,
  options: { readonly budgetMs?: number; readonly callMs?: number } = {},
): ScriptedRunner {
  let leftMs = options.budgetMs ?? 10_000;
  const calls: string[] = [];
  async function run(args: readonly string[]): Promise<ToolOutput> {
    const line = args.join(' ');
    calls.push(line);
    leftMs = Math.max(0, leftMs - (options.callMs ?? 1));
    if (leftMs === 0) throw new Fault('DEVICE_TOOL_LATE', `${name}: no answer`);
    const text = answer(line);
    if (text instanceof Fault) throw text;
    return text === null
      ? { stdout: '', stderr: `${name}: unknown option`, exitCode: 1 }
      : { stdout: text, stderr: '', exitCode: 0 };
  }
  return {
    path: `/usr/bin/${name}`,
    name,
    notes: new Map(),
    calls,
    run,
    runScript: (_script, args) => run(args),
    remainingMs: () => leftMs,
  };
}

/** A text of test/fixtures, also for who was bundled to another folder. */
export function fixture(path: string): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return readFileSync(join(folder, 'test', 'fixtures', path), 'utf8');
}
