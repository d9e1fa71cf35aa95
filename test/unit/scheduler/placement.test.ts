import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { acceleratorRequestSchema } from '../../../src/protocol/spec.ts';
import type { Demand, PlacementNode } from '../../../src/scheduler/demand.ts';
import { createPlacement, type Placement, SCAN_LIMIT } from '../../../src/scheduler/placement.ts';

const GIB = 1024 ** 3;
const node = (id: string, cpus: number, change: Partial<PlacementNode> = {}): PlacementNode => ({
  id,
  name: id,
  cpuHundredths: cpus * 100,
  memoryBytes: 8 * GIB,
  executors: ['process'],
  devices: [],
  available: true,
  drained: null,
  ...change,
});
const asks = (cpus: number, change: Partial<Demand> = {}): Demand => ({
  cpuHundredths: Math.round(cpus * 100),
  memoryBytes: 0,
  accelerators: null,
  executor: 'process',
  ...change,
});

function bed(...nodes: PlacementNode[]): {
  placement: Placement;
  add(id: string, demand: Demand, priority?: number): void;
} {
  const placement = createPlacement();
  for (const one of nodes) placement.setNode(one);
  let sequence = 0;
  return {
    placement,
    add(id, demand, priority = 0) {
      sequence += 1;
      placement.add({ id, priority, sequence, demand });
    },
  };
}

describe('placement', () => {
  it('fills a node exactly, also with hundredths of a core', () => {
    const { placement, add } = bed(node('node-a', 1));
    for (let n = 0; n < 11; n += 1) add(`job-${n}`, asks(0.1));
    expect(placement.decide()).toHaveLength(10);
    expect(placement.load('node-a')?.heldCpuHundredths).toBe(100);
    placement.release('job-3');
    expect(placement.decide()).toEqual([{ jobId: 'job-10', nodeId: 'node-a', devices: [] }]);
  });

  it('takes high priority first, then the order of submission, also for a job that comes back', () => {
    const { placement, add } = bed();
    add('job-a', asks(1));
    add('job-b', asks(1), 5);
    add('job-c', asks(1));
    placement.add({ id: 'job-early', priority: 0, sequence: 0.5, demand: asks(1) });
    placement.setNode(node('node-a', 4));
    expect(placement.decide().map((one) => one.jobId)).toEqual(['job-b', 'job-early', 'job-a', 'job-c']);
  });

  it('puts a job where the least stays free', () => {
    const { placement, add } = bed(node('node-large', 16), node('node-small', 2));
    add('job-a', asks(2));
    expect(placement.decide()).toEqual([{ jobId: 'job-a', nodeId: 'node-small', devices: [] }]);
  });

  it('takes a job to another node than the one to avoid, where one fits, and else to that one', () => {
    const { placement } = bed(node('node-bad', 2), node('node-large', 16));
    const again = (id: string, sequence: number) =>
      placement.add({ id, priority: 0, sequence, demand: asks(2), avoid: 'node-bad' });
    again('job-a', 1);
    expect(placement.decide()).toMatchObject([{ jobId: 'job-a', nodeId: 'node-large' }]);
    placement.setNode(node('node-large', 16, { available: false }));
    again('job-b', 2);
    expect(placement.decide()).toMatchObject([{ jobId: 'job-b', nodeId: 'node-bad' }]);
  });

  it('says that a node is not asked for a moment because it refused', () => {
    const { placement, add } = bed(node('node-a', 2, { available: false, paused: true }));
    add('job-a', asks(1));
    expect(placement.reason('job-a')).toBe(
      'waiting: node-a could take it, but refused the last order and is given none for a moment',
    );
  });

  it('names the nodes that have not come back since the scheduler started', () => {
    const { placement, add } = bed(node('node-a', 0, { available: false, unseen: true, executors: [] }));
    add('job-a', asks(1));
    expect(placement.reason('job-a')).toBe(
      'waiting: no node is connected (needs 1 CPU); not seen since this scheduler started: node-a',
    );
  });

  it('counts memory as well as CPUs', () => {
    const { placement, add } = bed(node('node-a', 8));
    add('job-a', asks(1, { memoryBytes: 6 * GIB }));
    add('job-b', asks(1, { memoryBytes: 6 * GIB }));
    expect(placement.decide()).toHaveLength(1);
    expect(placement.reason('job-b')).toBe(
      'waiting: needs 1 CPU and 6 GiB of memory; 6 GiB of 8 GiB of memory on node-a is held by job-a; no job is ahead',
    );
  });

  it('keeps a node for a blocked large job while small ones go elsewhere', () => {
    const { placement, add } = bed(node('node-a', 4), node('node-b', 4));
    add('job-1', asks(3));
    add('job-2', asks(3));
    expect(placement.decide()).toHaveLength(2);
    add('job-large', asks(4));
    add('job-small-1', asks(1));
    add('job-small-2', asks(1));
    const [first] = placement.decide();
    expect(first?.jobId).toBe('job-small-1');
    expect(placement.reason('job-small-2')).toMatch(/is kept free for job-large; 1 job is ahead$/);
    const kept = first?.nodeId === 'node-a' ? 'job-2' : 'job-1';
    placement.release(kept);
    expect(placement.decide().map((one) => one.jobId)).toEqual(['job-large']);
  });

  it.each([
    [
      asks(64),
      'waiting: needs 64 CPUs, the largest connected node has 2; node-far could take it but is not connected',
    ],
    [asks(128), 'waiting: needs 128 CPUs, the largest connected node has 2'],
    [
      asks(1, { memoryBytes: 9 * GIB }),
      'waiting: needs 9 GiB of memory, the largest connected node has 8 GiB',
    ],
    [
      asks(1, { accelerators: acceleratorRequestSchema.parse({ count: 2, match: 'nvidia' }) }),
      'waiting: no node has accelerators (asked for 2 × nvidia); join one that has',
    ],
    [asks(1, { executor: 'container' }), 'waiting: no connected node offers the executor "container"'],
  ])('says what is missing for %j', (demand, sentence) => {
    const { placement, add } = bed(node('node-a', 2), node('node-far', 64, { available: false }));
    add('job-a', demand);
    expect(placement.decide()).toEqual([]);
    expect(placement.reason('job-a')).toBe(sentence);
  });

  it('says that nothing is connected, and starts when something comes', () => {
    const { placement, add } = bed(node('node-a', 2, { available: false }));
    add('job-a', asks(1));
    expect(placement.reason('job-a')).toBe(
      'waiting: no node is connected; node-a could take it when it comes back',
    );
    placement.setNode(node('node-a', 2));
    expect(placement.decide()).toHaveLength(1);
    expect(placement.reason('job-a')).toBeNull();
  });

  it('lets jobs that no node could take stand aside, in any number', () => {
    const { placement, add } = bed(node('node-a', 2));
    for (let n = 0; n < 3 * SCAN_LIMIT; n += 1) add(`job-huge-${n}`, asks(100 + n));
    add('job-small', asks(1));
    expect(placement.decide()).toEqual([{ jobId: 'job-small', nodeId: 'node-a', devices: [] }]);
  });

  it('costs the same per event with many waiting as with few', () => {
    const { placement, add } = bed(node('node-a', 1));
    for (let n = 0; n < 20_000; n += 1) add(`job-${n}`, asks(1));
    const before = process.cpuUsage();
    for (let n = 0; n < 19_999; n += 1) {
      const [assigned] = placement.decide();
      expect(assigned?.jobId).toBe(`job-${n}`);
      placement.release(`job-${n}`);
    }
    // Quadratic work would take minutes.
    expect(process.cpuUsage(before).user).toBeLessThan(5000_000);
  });

  const event = fc.oneof(
    fc.record({
      kind: fc.constant('add' as const),
      cpus: fc.integer({ min: 1, max: 12 }),
      priority: fc.integer({ min: 0, max: 2 }),
    }),
    fc.record({ kind: fc.constant('end' as const), pick: fc.nat() }),
    fc.record({ kind: fc.constant('cancel' as const), pick: fc.nat() }),
    fc.record({
      kind: fc.constant('node' as const),
      which: fc.integer({ min: 0, max: 3 }),
      up: fc.boolean(),
    }),
  );

  it('never over-commits, always has a reason, and leaves nothing to decide', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (events) => {
        const placement = createPlacement();
        const sizes = [1, 4, 8, 8];
        for (const [which, cpus] of sizes.entries()) placement.setNode(node(`node-${which}`, cpus));
        const waiting = new Set<string>();
        const running: string[] = [];
        let sequence = 0;
        for (const one of events) {
          if (one.kind === 'add') {
            sequence += 1;
            waiting.add(`job-${sequence}`);
            placement.add({
              id: `job-${sequence}`,
              priority: one.priority,
              sequence,
              demand: asks(one.cpus),
            });
          } else if (one.kind === 'node') {
            placement.setNode(node(`node-${one.which}`, sizes[one.which] ?? 1, { available: one.up }));
          } else if (one.kind === 'end' && running.length > 0) {
            const [ended] = running.splice(one.pick % running.length, 1);
            placement.release(ended ?? '');
          } else if (one.kind === 'cancel' && waiting.size > 0) {
            const cancelled = [...waiting][one.pick % waiting.size] ?? '';
            waiting.delete(cancelled);
            placement.remove(cancelled);
          }
          for (const { jobId, nodeId } of placement.decide()) {
            expect(waiting.delete(jobId)).toBe(true);
            expect(placement.load(nodeId)?.node.available).toBe(true);
            running.push(jobId);
          }
          for (let which = 0; which < sizes.length; which += 1) {
            const load = placement.load(`node-${which}`);
            expect(load?.heldCpuHundredths).toBeLessThanOrEqual((sizes[which] ?? 0) * 100);
            expect(load?.heldCpuHundredths).toBeGreaterThanOrEqual(0);
          }
          for (const id of waiting) expect(placement.reason(id)).toMatch(/^waiting: ./);
          expect(placement.decide()).toEqual([]);
          expect(placement.waiting).toBe(waiting.size);
        }
      }),
      { seed: 20_261_123, numRuns: 150 },
    );
  });

  it('never starves a large job: it starts after what ran before it, whatever small ones keep coming', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 60 }), (smalls) => {
        const { placement, add } = bed(node('node-a', 4), node('node-b', 4));
        const running: string[] = [];
        const decide = () => {
          for (const { jobId } of placement.decide()) running.push(jobId);
        };
        for (const [n, cpus] of smalls.entries()) add(`job-first-${n}`, asks(cpus));
        add('job-large', asks(4));
        decide();
        for (let turn = 0; turn < smalls.length + 4 && !running.includes('job-large'); turn += 1) {
          add(`job-late-${turn}`, asks(1));
          decide();
          placement.release(running.shift() ?? '');
          decide();
        }
        expect(placement.reason('job-large')).toBeNull();
      }),
      { seed: 7, numRuns: 100 },
    );
  });
});
