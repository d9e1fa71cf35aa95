import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideDependency } from '../../../src/scheduler/dependencies.ts';
import { createWorld, hasEnded, jobsOf, runDry, type World } from './random-world.ts';

const condition = fc.constantFrom('completed' as const, 'failed' as const, 'ended' as const);
const retryable = fc.record({
  times: fc.integer({ min: 0, max: 3 }),
  on: fc.subarray(['failed', 'lost'] as const, { minLength: 1 }),
  delayMs: fc.constantFrom(0, 200, 5000),
});
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('submit' as const),
      /** Places among what was submitted before, from the end. */
      after: fc.array(fc.tuple(fc.nat(5), condition), { maxLength: 2 }),
      array: fc.option(
        fc.record({
          size: fc.integer({ min: 1, max: 6 }),
          maxRunning: fc.option(fc.integer({ min: 1, max: 3 })),
        }),
        { freq: 3 },
      ),
      retry: fc.option(retryable),
      priority: fc.constantFrom(0, 0, 0, 1),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant('end' as const), at: fc.nat(9), fails: fc.boolean() }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.nat(3000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), at: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reboot' as const), at: fc.nat(1) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function take(world: World, one: Step): Promise<void> {
  const { submitted } = world;
  switch (one.kind) {
    case 'submit': {
      const dependencies = one.after.flatMap(([back, how]) => {
        const job = submitted.at(-1 - back);
        return job === undefined ? [] : [{ job, condition: how }];
      });
      const array =
        one.array === null ? null : { first: 5, last: 4 + one.array.size, maxRunning: one.array.maxRunning };
      await world.submit({
        dependencies,
        array,
        priority: one.priority,
        ...(one.retry === null ? {} : { retry: one.retry }),
      });
      return;
    }
    case 'end':
      world.end(one.at, one.fails ? 1 : 0);
      return;
    case 'settle':
      await world.settle();
      return;
    case 'advance':
      await world.advance(one.ms);
      return;
    case 'cancel': {
      const id = submitted[one.at % Math.max(1, submitted.length)];
      if (id !== undefined) world.cancel(id);
      return;
    }
    case 'crash':
      await world.crash();
      return;
    case 'reboot':
      await world.reboot(one.at);
      return;
  }
}

describe('whatever is submitted, ends, is cancelled, forgotten by nodes, and cut off by a crash', () => {
  it('every job ends, none runs twice, none before what it waits for, no array beyond its bound', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
        const world = await createWorld();
        try {
          for (const one of steps) await take(world, one);
          await runDry(world);
          expect(world.faults).toEqual([]);
          const jobs = world.submitted.flatMap((id) => jobsOf(world, id));
          expect(jobs.filter((job) => !hasEnded(job))).toEqual([]);
          for (const job of jobs) {
            expect(job.retries).toBe(job.attempts.length);
            expect(job.epoch).toBeGreaterThanOrEqual(job.attempts.length);
            // What never ran had a reason: somebody's wish, or a dependency that ended otherwise.
            if (job.epoch > 0 || job.cancelBy !== 'scheduler') continue;
            expect(job.spec.dependencies.map((one) => decideDependency(one, world.queue))).toContain('never');
          }
          // Jobs that wait for nothing but their turn start in the order of submission, higher priority first.
          const plain = jobs.filter(
            ({ spec, array }) => spec.dependencies.length === 0 && array === null && spec.priority === 0,
          );
          const place = new Map(plain.map((job, at) => [job.id, at]));
          const starts = world.firstStarts.flatMap((id) => place.get(id) ?? []);
          expect(starts).toEqual([...starts].sort((a, b) => a - b));
        } finally {
          await world.close();
        }
      }),
      { numRuns: Number(process.env.FLOPD_RUNS ?? 30) },
    );
  }, 120_000);
});
