import { describe, expect, test } from 'vitest';
import type { AuditFacts, AuditRecord } from '../../../src/protocol/audit.ts';
import type { HeldJob } from '../../../src/protocol/control.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { createJobAudit } from '../../../src/runner/job-audit.ts';

const at = { jobId: 'job-1', epoch: 1 };
const result = {
  jobId: 'job-1',
  epoch: 1,
  state: 'FAILED',
  endKind: 'exit',
  exitCode: 3,
  signal: null,
  stoppedBy: null,
} as unknown as JobResult;

function createBed(tail: readonly AuditRecord[] = [], isClean = true) {
  const written: { kind: string; facts: AuditFacts }[] = [];
  const audit = createJobAudit({ takeTail: () => tail, isClean }, (kind, facts) =>
    written.push({ kind, facts }),
  );
  return { audit, written, kinds: () => written.map(({ kind }) => kind) };
}

const record = (kind: string, facts: AuditFacts): AuditRecord => ({
  sequence: 1,
  at: '',
  kind,
  facts,
  previous: '',
});

describe('the audit of a job room', () => {
  test('one record for an order, whatever is sent again, and for the beginning and end of its attempt', () => {
    const { audit, written, kinds } = createBed();
    audit.noted('order.accepted', { order: 'start', orderId: 'order-1', ...at, repeated: false });
    audit.noted('order.accepted', { order: 'start', orderId: 'order-2', ...at, repeated: true });
    audit.began('job-1', 1, 77);
    audit.noted('order.stopped', { order: 'stop', orderId: 'order-3', ...at, repeated: false });
    audit.ended(result);
    for (let n = 0; n < 3; n += 1)
      audit.noted('order.refused', { order: 'start', orderId: `order-${n}`, ...at, epoch: 2, code: 'JOB_X' });
    for (let n = 0; n < 2; n += 1)
      audit.noted('order.accepted', { order: 'exec', execId: `exec-${n}`, ...at });
    expect(kinds()).toEqual([
      'order.accepted',
      'attempt.started',
      'order.stopped',
      'attempt.ended',
      'order.refused',
      'order.accepted',
      'order.accepted',
    ]);
    expect(written[0]?.facts).toEqual({ order: 'start', orderId: 'order-1', ...at });
    expect(written[4]?.facts).toEqual({ order: 'start', orderId: 'order-0', ...at, epoch: 2, code: 'JOB_X' });
  });

  test('after a crash, what is held and stands nowhere is recorded as late, and nothing twice', () => {
    const held: HeldJob[] = [
      { jobId: 'job-1', epoch: 1, phase: 'ended', devices: [] },
      { jobId: 'job-2', epoch: 1, phase: 'running', devices: [] },
      { jobId: 'job-3', epoch: 1, phase: 'accepted', devices: [] },
    ];
    const jobs = { held: () => held, unsettled: () => [result] };
    const tail = [
      record('opened', {}),
      record('order.accepted', { order: 'start', jobId: 'job-1', epoch: 1 }),
      record('order.accepted', { order: 'start', jobId: 'job-2', epoch: 1 }),
      record('attempt.started', { jobId: 'job-2', epoch: 1, pid: 5 }),
    ];
    const { audit, written } = createBed(tail, false);
    audit.takeUp(jobs);
    // The journal had lost it.
    audit.began('job-2', 1, 5);
    expect(written.map(({ kind, facts }) => [kind, facts.jobId, facts.late])).toEqual([
      ['order.accepted', 'job-3', true],
      ['attempt.ended', 'job-1', true],
    ]);
    const clean = createBed(tail, true);
    clean.audit.takeUp(jobs);
    expect(clean.written).toEqual([]);
  });
});
