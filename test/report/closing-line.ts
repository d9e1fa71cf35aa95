// A vitest reporter that ends a run with the plain line `N passed, N failed[, N skipped]`. A file that cannot be
// loaded and an error that no test caught count as failures, so that the line never looks better than the run.
// Where FLOPD_TEST_TALLY names a file, the three numbers go there for test/run, which adds them up, and behind them a line
// for each test that failed: its file, a tab, its name.
import { writeFileSync } from 'node:fs';
import type { Reporter } from 'vitest/node';

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Countable {
  /** Of the file, from the root. */
  readonly relativeModuleId: string;
  errors(): readonly unknown[];
  readonly children: {
    allTests(): Iterable<{ readonly fullName: string; result(): { readonly state: string } }>;
  };
}

/** Counts the tests of a run. A test that never finished (`pending`) counts as failed. */
export function tally(modules: readonly Countable[], unhandledErrors: number): Tally {
  let passed = 0;
  let failed = unhandledErrors;
  let skipped = 0;
  for (const module of modules) {
    failed += module.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed') passed += 1;
      else if (state === 'skipped') skipped += 1;
      else failed += 1;
    }
  }
  return { passed, failed, skipped };
}

/** Lines of what failed and can be run again: a file that cannot be loaded has no name of a test. */
export function failures(modules: readonly Countable[]): string[] {
  return modules.flatMap((module) => [
    ...module.errors().map(() => `${module.relativeModuleId}\t`),
    ...[...module.children.allTests()]
      .filter((test) => !['passed', 'skipped'].includes(test.result().state))
      .map((test) => `${module.relativeModuleId}\t${test.fullName.replace(/\s+/g, ' ')}`),
  ]);
}

export function closingLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}

// The one default export of the house: vitest takes a reporter from a file by this name only.
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly Countable[], unhandledErrors: readonly unknown[]): void {
    const counted = tally(modules, unhandledErrors.length);
    const path = process.env.FLOPD_TEST_TALLY;
    if (path !== undefined) {
      const numbers = `${counted.passed} ${counted.failed} ${counted.skipped}`;
      writeFileSync(path, `${[numbers, ...failures(modules)].join('\n')}\n`);
    } else process.stdout.write(`\n${closingLine(counted)}\n`);
  }
}
