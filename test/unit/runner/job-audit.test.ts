import { describe, expect, test } from 'vitest';
import type { AuditFacts, AuditRecord } from '../../../src/protocol/audit.ts';
import type { HeldJob } from '../../../src/protocol/control.ts';
import type { ExecOrder } from '../../../src/protocol/exec.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { createJobAudit } from '../../../src/runner/job-audit.ts';

const accepted = { outcome: 'accepted', code: null, message: null } as const;
const refused = { outcome: 'refused', code: 'JOB_X', message: 'its words' } as const;
const start = { type: 'start', orderId: 'order-1', jobId: 'job-1', epoch: 1 };
const stop = { ...start, type: 'stop', orderId: 'order-2' };
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
    audit.answered(start, accepted);
    audit.answered(start, { ...accepted, outcome: 'duplicate' });
    audit.began('job-1', 1, 77);
    audit.answered({ ...stop, type: 'signedStop' }, accepted, 'ann');
    audit.ended(result);
    for (let n = 0; n < 3; n += 1) audit.answered({ ...start, orderId: `order-${n}`, epoch: 2 }, refused);
    expect(kinds()).toEqual([
      'order.accepted',
      'attempt.started',
      'order.stopped',
      'attempt.ended',
      'order.refused',
    ]);
    expect(written[2]?.facts).toEqual({
      order: 'stop',
      orderId: 'order-2',
      jobId: 'job-1',
      epoch: 1,
      by: 'ann',
    });
    expect(written[4]?.facts).toEqual({
      order: 'start',
      orderId: 'order-0',
      jobId: 'job-1',
      epoch: 2,
      code: 'JOB_X',
    });
  });

  test('a command beside a job: run, or refused', () => {
    const { audit, written } = createBed();
    const order = { execId: 'exec-1', jobId: 'job-1', epoch: 1, by: 'ann' } as ExecOrder;
    const end = { exitCode: 0, signal: null, code: null, message: null };
    const silent = { started() {}, output() {}, inputTaken() {}, ended() {} };
    const first = audit.exec(order, silent);
    first.started(5);
    first.ended(end);
    audit.exec({ ...order, execId: 'exec-2' }, silent).ended({ ...end, exitCode: null, code: 'EXEC_X' });
    expect(written.map(({ kind, facts }) => [kind, facts.orderId, facts.code])).toEqual([
      ['order.accepted', 'exec-1', undefined],
      ['order.refused', 'exec-2', 'EXEC_X'],
    ]);
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
