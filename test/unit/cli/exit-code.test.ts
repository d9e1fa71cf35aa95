import { expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { errorExitCode, jobExitCode, signalExitCode } from '../../../src/cli/exit-code.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { sampleResult } from '../../fakes/api.ts';

const ended = (state: JobResult['state'], part: Partial<JobResult>) =>
  jobExitCode({ state, result: sampleResult({ state, ...part }, 'job-x') });

it.each([
  ['COMPLETED', { exitCode: 0 }, 0],
  ['FAILED', { exitCode: 7 }, 7],
  ['FAILED', { exitCode: 255 }, 255],
  ['FAILED', { signal: 9 }, 137],
  ['FAILED', {}, 1],
  ['OUT_OF_MEMORY', { signal: 9 }, 137],
  ['OUT_OF_MEMORY', {}, 137],
  ['TIMEOUT', { signal: 15 }, 143],
  ['TIMEOUT', { signal: 9 }, 137],
  ['TIMEOUT', { exitCode: 0 }, 124],
  ['TIMEOUT', { exitCode: 3 }, 3],
  ['CANCELLED', { signal: 15 }, 143],
  ['CANCELLED', { exitCode: 0 }, 143],
  ['LOST', {}, 125],
  ['LOST', { exitCode: 0 }, 125],
  ['FAILED_TO_START', { cause: 'failed to start: "x": no such file or directory (ENOENT)' }, 127],
  ['FAILED_TO_START', { cause: 'failed to start: "a\\"b": no such file or directory (ENOENT)' }, 127],
  ['FAILED_TO_START', { cause: 'failed to start: "x": permission denied, or not executable (EACCES)' }, 126],
  [
    'FAILED_TO_START',
    { cause: 'failed to start: "x": the interpreter that it names is missing (ENOENT)' },
    126,
  ],
  [
    'FAILED_TO_START',
    { cause: 'failed to start: working directory "/x": no such file or directory (ENOENT)' },
    126,
  ],
  ['FAILED_TO_START', { endKind: 'refused', cause: 'refused: JOB_EXECUTOR_MISSING' }, 125],
] as const)('%s with %j exits with %i', (state, part, code) => {
  expect(ended(state, part)).toBe(code);
});

it('never shows a job without a result as a success', () => {
  for (const state of [
    'FAILED',
    'CANCELLED',
    'TIMEOUT',
    'OUT_OF_MEMORY',
    'LOST',
    'FAILED_TO_START',
  ] as const) {
    expect(jobExitCode({ state, result: null })).toBeGreaterThan(0);
  }
});

it.each([
  [new Fault('USAGE', ''), 2],
  [new Fault('CONFIG_KEY_UNKNOWN', ''), 2],
  [new Fault('SCHEDULER_UNREACHABLE', ''), 1],
  [new Fault('OUTPUT_CLOSED', ''), 141],
  [new Error('bug'), 1],
])('maps an error to its code', (error, code) => {
  expect(errorExitCode(error)).toBe(code);
});

it('maps signals as a shell does', () => {
  expect([signalExitCode('SIGINT'), signalExitCode('SIGTERM')]).toEqual([130, 143]);
});
