import { describe, expect, it } from 'vitest';
import type { Demand, PlacementNode } from '../../../src/scheduler/demand.ts';
import { createPlacement } from '../../../src/scheduler/placement.ts';
import { createSubmitterRules, MAX_BARRED_MS } from '../../../src/scheduler/submitter-rules.ts';
import { decideRefusal } from '../../../src/scheduler/verdict.ts';
import { createHandClock } from '../link/parts.ts';
import { jobRecord } from './records.ts';

const signedBy = (publicKey: string) => ({
  submission: { text: '{}', publicKey, signedAtMs: 0, signature: 'S' },
});
const alice = signedBy('key-of-alice');
const bob = signedBy('key-of-bob');
const a = { id: 'node-a' };

describe('what a node refused for its submitter', () => {
  it('counts for that node and that submitter, for longer with each refusal in a row', async () => {
    const clock = createHandClock();
    let over = 0;
    const rules = createSubmitterRules(clock, () => {
      over += 1;
    });
    rules.refused('node-a', alice, 'not you');
    // Of an order that went together with the first.
    rules.refused('node-a', alice, 'not you either');
    expect(rules.demand(alice).refuse(a)).toBe('not you');
    expect(rules.demand(alice).refuse({ id: 'node-b' })).toBeNull();
    expect(rules.demand(bob).refuse(a)).toBeNull();
    expect(rules.demand({ submission: null }).refuse(a)).toBeNull();
    await clock.advance(5000);
    expect([over, rules.demand(alice).refuse(a)]).toEqual([1, null]);
    rules.refused('node-a', alice, 'still not');
    await clock.advance(9000);
    expect(rules.demand(alice).refuse(a)).toBe('still not');
    for (let times = 0; times < 20; times += 1) {
      await clock.advance(MAX_BARRED_MS);
      expect(rules.demand(alice).refuse(a)).toBeNull();
      rules.refused('node-a', alice, 'never');
    }
    // A job of theirs that was started, or a node that has come back: all is forgotten.
    rules.taken('node-a', alice);
    expect(rules.demand(alice).refuse(a)).toBeNull();
    rules.refused('node-a', alice, 'never');
    rules.forget('node-a');
    expect([rules.demand(alice).refuse(a), clock.pending()]).toEqual([null, 0]);
  });

  it('ceases to count, and that is told, when a job of theirs was started meanwhile, or the node has come back', () => {
    let over = 0;
    const rules = createSubmitterRules(createHandClock(), () => {
      over += 1;
    });
    // Ordered before the refusal, and slow to start.
    rules.refused('node-a', alice, 'not you');
    rules.taken('node-a', alice);
    expect([over, rules.demand(alice).refuse(a)]).toEqual([1, null]);
    rules.taken('node-a', alice);
    expect(over).toBe(1);
    rules.refused('node-a', alice, 'not you');
    rules.refused('node-a', bob, 'nor you');
    rules.forget('node-a');
    expect(over).toBe(2);
    // The oldest of more than are remembered.
    for (let at = 0; at <= 1024; at += 1) rules.refused('node-a', signedBy(`key-${at}`), 'nobody');
    expect([over, rules.demand(signedBy('key-0')).refuse(a)]).toEqual([3, null]);
  });

  it('never ends the job', () => {
    const job = jobRecord({ state: 'STARTING', epoch: 500, nodeId: 'node-a' });
    expect(decideRefusal(job, 'start', 'ORDER_SUBMITTER')).toBe('retry');
  });
});

describe('a job that one node does not take from its submitter', () => {
  const node = (id: string, change: Partial<PlacementNode> = {}): PlacementNode => ({
    id,
    name: `host-${id}`,
    cpuHundredths: 400,
    memoryBytes: 1e9,
    executors: ['process'],
    devices: [],
    available: true,
    drained: null,
    ...change,
  });
  const rules = () => createSubmitterRules(createHandClock(), () => {});

  it('goes to another; where there is none it waits with what was said, and does not hold up the others', () => {
    const submitters = rules();
    const placement = createPlacement();
    placement.setNode(node('a'));
    const demand = (of: typeof alice): Demand => ({
      cpuHundredths: 100,
      memoryBytes: 0,
      accelerators: null,
      executor: 'process',
      submitter: submitters.demand(of),
    });
    submitters.refused('a', alice, 'the key is not one of those; have the operator add it');
    placement.add({ id: 'job-1', priority: 5, sequence: 1, demand: demand(alice) });
    placement.add({ id: 'job-2', priority: 0, sequence: 2, demand: demand(bob) });
    expect(placement.decide()).toEqual([{ jobId: 'job-2', nodeId: 'a', devices: [] }]);
    expect(placement.reason('job-1')).toBe(
      'waiting: host-a could take it, but not from its submitter: the key is not one of those; have the operator add it',
    );
    placement.setNode(node('b', { available: false, drained: 'alice' }));
    expect(placement.reason('job-1')).toContain('host-b could take it but is drained');
    placement.setNode(node('b', { cpuHundredths: 50 }));
    expect(placement.reason('job-1')).toContain('but not from its submitter');
    placement.setNode(node('b'));
    expect(placement.decide()).toEqual([{ jobId: 'job-1', nodeId: 'b', devices: [] }]);
  });

  it('stands in no line once all have refused it, and again when that has ceased to count', () => {
    const submitters = rules();
    const placement = createPlacement();
    placement.setNode(node('a'));
    const plain = { cpuHundredths: 100, memoryBytes: 0, accelerators: null, executor: 'process' };
    for (let at = 0; at < 200; at += 1)
      placement.add({
        id: `job-${at}`,
        priority: 1,
        sequence: at,
        demand: { ...plain, submitter: submitters.demand(alice) },
      });
    placement.add({ id: 'job-last', priority: 0, sequence: 999, demand: plain });
    submitters.refused('a', alice, 'no');
    placement.review();
    expect(placement.decide()).toEqual([{ jobId: 'job-last', nodeId: 'a', devices: [] }]);
    submitters.forget('a');
    placement.review();
    expect(placement.decide()).toHaveLength(3);
  });
});

describe('a node that takes no orders', () => {
  it('is given none, and the job that waits for it says why', () => {
    const placement = createPlacement();
    const plain = { cpuHundredths: 100, memoryBytes: 0, accelerators: null, executor: 'process' };
    const closed: PlacementNode = {
      id: 'a',
      name: 'host-a',
      cpuHundredths: 400,
      memoryBytes: 1e9,
      executors: ['process'],
      devices: [],
      available: false,
      drained: null,
      refusing: 'no durable space: the disk is full',
    };
    placement.setNode(closed);
    placement.add({ id: 'job-1', priority: 0, sequence: 1, demand: plain });
    expect(placement.decide()).toEqual([]);
    expect(placement.reason('job-1')).toBe(
      'waiting: host-a could take it, but takes no orders at present: no durable space: the disk is full',
    );
    // In safe mode it offers no executors either.
    placement.setNode({ ...closed, executors: [], refusing: 'safe mode' });
    expect(placement.reason('job-1')).toContain('takes no orders at present: safe mode');
    // What is too large for it would not be taken either way.
    placement.add({ id: 'job-2', priority: 0, sequence: 2, demand: { ...plain, cpuHundredths: 800 } });
    for (const executors of [['process'], []]) {
      placement.setNode({ ...closed, executors });
      expect(placement.reason('job-2')).toBe('waiting: needs 8 CPUs, the largest connected node has 4');
    }
    placement.setNode({ ...closed, available: true, refusing: null });
    expect(placement.decide()).toHaveLength(1);
  });
});
