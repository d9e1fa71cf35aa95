import { expect, test } from 'vitest';
import { jobResultSchema } from '../../../../src/protocol/result.ts';
import { createRowParser } from '../../../../src/scheduler/queue/job-row.ts';

/** As the first version of flopd stored it. */
const result = {
  version: 1,
  jobId: 'job-1',
  epoch: 1,
  nodeId: 'node-1',
  state: 'FAILED',
  endKind: 'exited',
  exitCode: 2,
  signal: null,
  stoppedBy: null,
  cause: 'exited with code 2',
  startedAtMs: 1,
  endedAtMs: 2,
  usage: {
    durationMs: 1,
    cpuUserSeconds: 0,
    cpuSystemSeconds: 0,
    maxResidentBytes: 1,
    energyJoules: null,
    flop: null,
    achievedFlops: null,
    flopMethod: null,
    absent: {},
  },
  limits: { cpus: 'none' },
  stdoutBytes: 0,
  stderrBytes: 0,
};
const record = {
  state: 'FAILED',
  submittedAtMs: 1,
  epoch: 1,
  nodeId: 'node-1',
  startedAtMs: 1,
  endedAtMs: 2,
  cancelBy: null,
  result,
  reason: null,
};
const read = (changed: object) =>
  createRowParser(() => null)({
    sequence: 1,
    id: 'job-1',
    record: JSON.stringify({ ...record, ...changed }),
    spec: JSON.stringify({ version: 1, command: ['true'] }),
    submission: null,
  }).job;

test('what an older flopd stored of the end of a job has all fields, as if it came over the link', () => {
  expect(read({}).result).toEqual(jobResultSchema.parse(result));
});

test('what a newer one stored of it is kept', () => {
  expect(read({ result: { ...result, later: 1, gaps: [1] } }).result).toMatchObject({ later: 1, gaps: [1] });
  expect(read({ result: null }).result).toBeNull();
});
