// Orders and ends to start from.

import type { ProcessEnd } from '../../../src/job/executor/executor.ts';
import type { StartOrder, StopOrder } from '../../../src/protocol/control.ts';
import { type JobSpecInput, jobSpecSchema } from '../../../src/protocol/spec.ts';

export function startOrder(jobId: string, epoch = 1, spec: Partial<JobSpecInput> = {}): StartOrder {
  return {
    type: 'start',
    orderId: 'order-1',
    jobId,
    epoch,
    spec: jobSpecSchema.parse({ version: 1, command: ['true'], ...spec }),
    array: null,
    devices: [],
    seal: null,
  };
}

export function stopOrder(jobId: string, epoch = 1, by = 'alice', reason = 'enough'): StopOrder {
  return { type: 'stop', orderId: 'order-2', jobId, epoch, by, reason };
}

export function processEnd(change: Partial<ProcessEnd> = {}): ProcessEnd {
  return {
    kind: 'exited',
    exitCode: 0,
    signal: null,
    stopped: null,
    killed: false,
    failedStep: null,
    errno: null,
    startedAtMs: 1000,
    endedAtMs: 3000,
    durationMs: 2000,
    cpuUserSeconds: 0.5,
    cpuSystemSeconds: 0.25,
    maxResidentBytes: 1_000_000,
    stdoutBytes: 0,
    stderrBytes: 0,
    detail: null,
    memoryPeakBytes: null,
    processesPeak: null,
    outOfMemory: null,
    refusedLimits: [],
    survivors: null,
    checkpointAtMs: null,
    gaps: [],
    ...change,
  };
}
