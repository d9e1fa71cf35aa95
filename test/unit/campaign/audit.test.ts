import { expect, test } from 'vitest';
import { checkLogs, type LoggedDecision } from '../../campaign/audit.ts';

const at = { jobId: 'job-1', epoch: 1 };
const scheduler: readonly LoggedDecision[] = [
  { kind: 'job.submitted', facts: { jobId: 'job-1' } },
  { kind: 'job.ordered', facts: { ...at, nodeId: 'node-1' } },
  { kind: 'job.ended', facts: { ...at, state: 'COMPLETED', final: true } },
];
const node: readonly LoggedDecision[] = [
  { kind: 'order.accepted', facts: { ...at, order: 'start' } },
  { kind: 'attempt.started', facts: { ...at, pid: 7 } },
  { kind: 'attempt.ended', facts: { ...at, state: 'COMPLETED' } },
];
const jobs = [{ id: 'job-1', epoch: 1, state: 'COMPLETED' }] as const;
const check = (own: readonly LoggedDecision[], ofNode: readonly LoggedDecision[]) =>
  checkLogs({ scheduler: own, nodes: new Map([['node-1', ofNode]]) }, jobs, new Set(['job-1.1'])).map(
    ({ what }) => what,
  );

test('logs in which every decision stands once are good', () => {
  expect(check(scheduler, node)).toEqual([]);
});

test('each record that is missing, doubled or of something that nobody did is found', () => {
  for (const [index] of scheduler.entries()) {
    expect(
      check(
        scheduler.filter((_, other) => other !== index),
        node,
      ).length,
    ).toBeGreaterThan(0);
    expect(check([...scheduler, scheduler[index] as LoggedDecision], node).length).toBeGreaterThan(0);
  }
  for (const [index, { kind }] of node.entries()) {
    const without = check(
      scheduler,
      node.filter((_, other) => other !== index),
    );
    // An attempt that ended before its agent saw it run.
    if (kind === 'attempt.started') expect(without).toEqual([]);
    else expect(without.length).toBeGreaterThan(0);
    expect(check(scheduler, [...node, node[index] as LoggedDecision]).length).toBeGreaterThan(0);
  }
  expect(
    checkLogs({ scheduler, nodes: new Map([['node-2', node]]) }, jobs, new Set(['job-1.1'])),
  ).toMatchObject([{ invariant: 'I12', what: expect.stringContaining('did not give to it') }]);
  const stranger = { kind: 'attempt.started', facts: { jobId: 'job-9', epoch: 1 } };
  expect(check(scheduler, [...node, stranger])).toEqual([expect.stringContaining('without its order')]);
});
