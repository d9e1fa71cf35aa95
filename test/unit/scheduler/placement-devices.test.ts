// Jobs that ask for accelerators, from the line to concrete devices.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import { type AcceleratorRequest, acceleratorRequestSchema } from '../../../src/protocol/spec.ts';
import type { Demand, PlacementNode } from '../../../src/scheduler/demand.ts';
import { cordonsOf, placementDevices } from '../../../src/scheduler/node-devices.ts';
import { createPlacement, SCAN_LIMIT } from '../../../src/scheduler/placement.ts';
import { ascendRecord, deviceRecord, faultyRecord, GIB, partitionRecord } from '../../fakes/device.ts';

const NOW_MS = 1000;
const node = (
  id: string,
  records: readonly DeviceRecord[],
  change: Partial<PlacementNode> = {},
): PlacementNode => ({
  id,
  name: id,
  cpuHundredths: 1600,
  memoryBytes: 64 * GIB,
  executors: ['process'],
  devices: placementDevices(records, cordonsOf(null, NOW_MS), NOW_MS),
  available: true,
  drained: null,
  ...change,
});
const asks = (request: object | null, cpus = 1): Demand => ({
  cpuHundredths: cpus * 100,
  memoryBytes: 0,
  accelerators: request === null ? null : acceleratorRequestSchema.parse({ count: 1, ...request }),
  executor: 'process',
});
const gpus = (count: number, from = 0): DeviceRecord[] =>
  Array.from({ length: count }, (_, n) => deviceRecord(from + n));

function bed(...nodes: PlacementNode[]) {
  const placement = createPlacement();
  for (const one of nodes) placement.setNode(one);
  let sequence = 0;
  return {
    placement,
    add(id: string, demand: Demand, priority = 0) {
      sequence += 1;
      placement.add({ id, priority, sequence, demand });
    },
    decide: () => Object.fromEntries(placement.decide().map((one) => [one.jobId, one.devices])),
  };
}

describe('placement with devices', () => {
  it('gives each job its own, and frees them with it', () => {
    const { placement, add, decide } = bed(node('gpu-a', [...gpus(2), ascendRecord(2), ascendRecord(3)]));
    add('job-a', asks({ count: 2, match: 'ascend' }));
    add('job-b', asks({ count: 1 }));
    add('job-c', asks({ count: 2, match: 'nvidia' }));
    expect(decide()).toEqual({ 'job-a': ['NPU-2', 'NPU-3'], 'job-b': ['GPU-0'] });
    expect(placement.load('gpu-a')?.devices.holders('NPU-2')).toEqual(['job-a']);
    placement.release('job-b');
    expect(decide()).toEqual({ 'job-c': ['GPU-0', 'GPU-1'] });
  });

  it('puts a job where the least memory fits, and one without devices where there are none', () => {
    const small = [deviceRecord(0, { id: 'GPU-small', name: 'NVIDIA T4', memoryTotalBytes: 16 * GIB })];
    const { add, placement } = bed(node('gpu-large', gpus(8)), node('gpu-small', small), node('plain', []));
    add('job-a', asks({ memoryBytes: 8 * GIB }));
    add('job-b', asks(null));
    add('job-c', asks({ memoryBytes: 40 * GIB }));
    expect(placement.decide().map(({ jobId, nodeId }) => `${jobId} ${nodeId}`)).toEqual([
      'job-a gpu-small',
      'job-b plain',
      'job-c gpu-large',
    ]);
  });

  it('keeps devices for a job that waits for all of them, while the rest of the node works on', () => {
    const { placement, add, decide } = bed(node('gpu-a', [...gpus(2), ascendRecord(2)]));
    add('job-1', asks({ match: 'nvidia' }));
    decide();
    add('job-wide', asks({ count: 2, match: 'nvidia' }, 4));
    add('job-narrow', asks({ match: 'nvidia' }));
    add('job-other', asks({ match: 'ascend' }));
    add('job-plain', asks(null, 10));
    add('job-too-much', asks(null, 1));
    // 16 CPUs: 1 held, 4 kept, 1 + 10 given.
    expect(decide()).toEqual({ 'job-other': ['NPU-2'], 'job-plain': [] });
    expect(placement.reason('job-narrow')).toMatch(/gpu-a is kept free for job-wide/);
    placement.release('job-1');
    expect(decide()).toEqual({ 'job-wide': ['GPU-0', 'GPU-1'] });
  });

  it('lets no number of jobs that wait for devices hold up those that ask for none', () => {
    const { add, decide } = bed(node('gpu-a', gpus(1)));
    add('job-1', asks({}));
    decide();
    for (let n = 0; n < 3 * SCAN_LIMIT; n += 1) add(`job-waiting-${n}`, asks({ memoryBytes: n + 1 }));
    add('job-plain', asks(null));
    expect(decide()).toEqual({ 'job-plain': [] });
  });

  it('keeps a device that is held through its absence and return', () => {
    const { placement, add, decide } = bed(node('gpu-a', gpus(1)));
    add('job-a', asks({}));
    decide();
    placement.setNode(node('gpu-a', []));
    placement.setNode(node('gpu-a', gpus(1)));
    add('job-b', asks({}));
    expect(decide()).toEqual({});
    placement.release('job-a');
    expect(decide()).toEqual({ 'job-b': ['GPU-0'] });
  });

  it('holds what a restarted scheduler read from its store before the node is known', () => {
    const { placement, add, decide } = bed();
    placement.hold('job-old', 'gpu-a', asks({}), ['MIG-1']);
    placement.setNode(node('gpu-a', [deviceRecord(0), partitionRecord(1, 0), partitionRecord(2, 0)]));
    add('job-whole', asks({}));
    add('job-slice', asks({ partition: 'any' }));
    expect(decide()).toEqual({});
    expect(placement.reason('job-whole')).toMatch(
      /0 of 1 accelerators of gpu-a are free, 1 is held by job-old/,
    );
    placement.release('job-old');
    expect(decide()).toEqual({ 'job-whole': ['GPU-0'] });
  });
});

describe('the sentence why a job waits for devices', () => {
  const cordon = { by: 'alice', reason: 'fan', sinceMs: 0, untilMs: null };
  it.each<[string, object, DeviceRecord[], string]>([
    [
      'none at all',
      { count: 2, match: 'ascend' },
      [],
      'no node has accelerators (asked for 2 × ascend); join one that has',
    ],
    [
      'another name',
      { match: 'h900' },
      gpus(2),
      'no accelerator is called "h900" (there are 2 × NVIDIA H100 80GB HBM3); ask for one of those',
    ],
    [
      'too little memory',
      { memoryBytes: 96 * GIB },
      gpus(2),
      'none of 2 × NVIDIA H100 80GB HBM3 has 96 GiB of memory, the most is 80 GiB; ask for less',
    ],
    [
      'no partitions',
      { partition: 'any' },
      gpus(1),
      'no accelerator is cut into partitions; cut one, or ask for whole ones',
    ],
    [
      'another kind',
      { partition: '2g.20gb' },
      [deviceRecord(0), partitionRecord(1, 0)],
      'no accelerator has a partition "2g.20gb" (there are 1 × 1g.10gb); ask for one of those',
    ],
    [
      'too few',
      { count: 4, match: 'h100' },
      gpus(3),
      'needs 4 × h100, the most on one connected node is 3 on gpu-a; ask for fewer',
    ],
    [
      'a cordon',
      {},
      [deviceRecord(0, { cordon })],
      'needs 1 × any accelerator, but 1 of 1 accelerators of gpu-a take no jobs: 1 is cordoned (alice: fan); bring it back with "flopd resume gpu-a/GPU-0"',
    ],
    [
      'a fault',
      { count: 2 },
      [deviceRecord(0), faultyRecord(deviceRecord(1), 'resetNeeded')],
      'needs 2 × any accelerator, but 1 of 2 accelerators of gpu-a take no jobs: 1 is faulty (xid-79); see "flopd node gpu-a"',
    ],
  ])('%s', (_, request, records, sentence) => {
    const { placement, add } = bed(node('gpu-a', records));
    add('job-a', asks(request));
    expect(placement.decide()).toEqual([]);
    expect(placement.reason('job-a')).toBe(`waiting: ${sentence}`);
  });

  it('counts what is free, held and closed', () => {
    const records = [...gpus(6), deviceRecord(6, { cordon }), faultyRecord(deviceRecord(7), 'noNewJobs')];
    const { placement, add } = bed(node('gpu-a', records));
    add('job-1', asks({ count: 2 }));
    add('job-2', asks({ count: 1 }));
    placement.decide();
    add('job-3', asks({ count: 5 }));
    placement.decide();
    expect(placement.reason('job-3')).toBe(
      'waiting: needs 1 CPU and 5 × any accelerator; 3 of 8 accelerators of gpu-a are free, 3 are held by job-1 and job-2, 1 is cordoned (alice: fan), 1 is faulty (xid-79), bring it back with "flopd resume gpu-a/GPU-6"; no job is ahead',
    );
  });

  it('names who has drained the node, and how to bring it back', () => {
    const { placement, add } = bed(node('gpu-a', gpus(1), { available: false, drained: 'user: new driver' }));
    add('job-a', asks({}));
    expect(placement.reason('job-a')).toBe(
      'waiting: gpu-a could take it but is drained (user: new driver); bring it back with "flopd resume gpu-a"',
    );
  });
});

const request = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  match: fc.constantFrom(null, 'nvidia', 'ascend', 'h100'),
  memoryBytes: fc.constantFrom(null, 8 * GIB, 30 * GIB),
  partition: fc.constantFrom(null, null, 'any', '1g.10gb'),
  shared: fc.boolean(),
});
const event = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('add' as const), request, plain: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('end' as const), pick: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('node' as const),
      which: fc.nat({ max: 1 }),
      up: fc.boolean(),
      ill: fc.nat({ max: 12 }),
      gone: fc.nat({ max: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
);

interface Running {
  readonly id: string;
  readonly nodeId: string;
  readonly demand: Demand;
  readonly devices: readonly string[];
}

describe('whatever is submitted, ends, goes, returns and restarts', () => {
  const host = (which: number): DeviceRecord[] => {
    const at = which * 100;
    const own = (record: DeviceRecord): DeviceRecord => ({ ...record, id: `${record.id}-of-${which}` });
    return [
      ...gpus(3),
      partitionRecord(3, 0),
      partitionRecord(4, 0),
      partitionRecord(5, 1, '2g.20gb'),
      ascendRecord(6),
      ascendRecord(7),
    ].map((record) =>
      own({
        ...record,
        slot: record.slot + at,
        parentSlot: record.parentSlot === null ? null : record.parentSlot + at,
      }),
    );
  };
  const parents = new Map(
    [0, 1].flatMap((which) => {
      const records = host(which);
      return records.flatMap((one) => {
        const parent = records.find(({ slot }) => slot === one.parentSlot);
        return parent === undefined ? [] : [[one.id, parent.id] as const];
      });
    }),
  );

  function check(running: readonly Running[]): void {
    const holders = new Map<string, Running[]>();
    for (const job of running)
      for (const id of job.devices) holders.set(id, [...(holders.get(id) ?? []), job]);
    for (const [id, jobs] of holders) {
      if (jobs.length > 1) expect(jobs.every(({ demand }) => demand.accelerators?.shared)).toBe(true);
      // A device and a partition of it are never held together.
      expect(holders.has(parents.get(id) ?? '')).toBe(false);
    }
  }

  function fits(asked: AcceleratorRequest, records: readonly DeviceRecord[], ids: readonly string[]): void {
    const given = ids.map((id) => records.find((one) => one.id === id));
    expect(new Set(ids).size).toBe(asked.count);
    expect(new Set(given.map((one) => one?.vendor)).size).toBe(1);
    for (const one of given) {
      expect(one?.rung).toBe('ok');
      expect(one?.parentSlot === null).toBe(asked.partition === null);
      expect(one?.memoryTotalBytes ?? 0).toBeGreaterThanOrEqual(asked.memoryBytes ?? 0);
      if (asked.match === 'ascend') expect(one?.vendor).toBe('ascend');
      if (asked.match === 'nvidia' || asked.match === 'h100') expect(one?.vendor).toBe('nvidia');
    }
  }

  it('no two jobs hold one device unless both asked to share, and each has exactly what it asked for', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), (events) => {
        let placement = createPlacement();
        const states = [0, 1].map((which) => node(`node-${which}`, host(which)));
        const told = [0, 1].map(host);
        for (const one of states) placement.setNode(one);
        const waiting = new Map<string, { demand: Demand; sequence: number }>();
        let running: Running[] = [];
        let sequence = 0;
        const enter = (id: string, { demand, sequence }: { demand: Demand; sequence: number }) =>
          placement.add({ id, priority: 0, sequence, demand });
        for (const one of events) {
          if (one.kind === 'add') {
            sequence += 1;
            const job = { demand: asks(one.plain ? null : one.request), sequence };
            waiting.set(`job-${sequence}`, job);
            enter(`job-${sequence}`, job);
          } else if (one.kind === 'end' && running.length > 0) {
            const [ended] = running.splice(one.pick % running.length, 1);
            placement.release(ended?.id ?? '');
          } else if (one.kind === 'node') {
            const records = host(one.which)
              .filter((_, n) => n !== one.gone)
              .map((record, n) => (n === one.ill ? faultyRecord(record, 'noNewJobs') : record));
            told[one.which] = records;
            states[one.which] = node(`node-${one.which}`, records, { available: one.up });
            placement.setNode(states[one.which] ?? node('none', []));
          } else if (one.kind === 'restart') {
            // As a dispatcher does from its store: what is active first, before any node is known.
            placement = createPlacement();
            for (const job of running) placement.hold(job.id, job.nodeId, job.demand, job.devices);
            for (const [id, job] of waiting) enter(id, job);
            for (const state of states) placement.setNode(state);
          }
          for (const { jobId, nodeId, devices } of placement.decide()) {
            const demand = waiting.get(jobId)?.demand ?? asks(null);
            expect(waiting.delete(jobId)).toBe(true);
            running = [...running, { id: jobId, nodeId, demand, devices }];
            if (demand.accelerators === null) expect(devices).toEqual([]);
            else fits(demand.accelerators, told[nodeId === 'node-0' ? 0 : 1] ?? [], devices);
          }
          check(running);
          for (const id of waiting.keys()) expect(placement.reason(id)).toMatch(/^waiting: ./);
          expect(placement.decide()).toEqual([]);
        }
      }),
      { seed: 20_261_125, numRuns: 300 },
    );
  });
});
