import { describe, expect, test } from 'vitest';
import { CONTACT_PATIENCE_MS } from '../../../src/job/life.ts';
import { settleDown } from './fake-clock.ts';
import { processEnd, startOrder } from './samples.ts';
import { createRoom, openRoom } from './scripted.ts';

const HEARTBEAT_MS = 2000;
const stop = (afterMs: number) => ({
  disconnect: { policy: 'stop' as const, afterMs },
  resources: { cpus: 0.1 },
});

describe('the lease of a job', () => {
  test('counts from when the last round trip began, and is renewed with each', async () => {
    const { jobs, run, clock } = await openRoom(createRoom());
    jobs.contact(clock.monotonicMs(), HEARTBEAT_MS);
    clock.advance(500);
    await jobs.start(startOrder('job-1', 1, stop(20_000)));
    await jobs.start(startOrder('job-2', 1, stop(0)));
    await jobs.start(startOrder('job-3', 1, { resources: { cpus: 0.1 } }));
    expect(run('job-1.1').request).toMatchObject({ leaseMs: 19_500 });
    expect(run('job-2.1').request).toMatchObject({ leaseMs: 5500 });
    expect(run('job-3.1').request).toMatchObject({ leaseMs: null });
    const sentMs = clock.monotonicMs();
    clock.advance(700);
    jobs.contact(sentMs, HEARTBEAT_MS);
    expect(run('job-1.1').renewals).toEqual([19_300]);
    expect(run('job-2.1').renewals).toEqual([5300]);
    expect(run('job-3.1').renewals).toEqual([]);
    // An older echo that was held up says nothing new; one that is over is not revived.
    jobs.contact(sentMs - 100, HEARTBEAT_MS);
    clock.advance(6000);
    jobs.contact(sentMs + 1, HEARTBEAT_MS);
    expect(run('job-2.1').renewals).toHaveLength(1);
  });

  test('that is over before the program runs keeps it from running', async () => {
    const room = createRoom();
    const { jobs, runs, clock } = await openRoom(room);
    jobs.contact(clock.monotonicMs(), HEARTBEAT_MS);
    let openGate = (): void => {};
    room.disk.gate = () =>
      new Promise((resolve) => {
        openGate = resolve;
      });
    const answer = jobs.start(startOrder('job-1', 1, stop(0)));
    await settleDown();
    clock.advance(60_000); // the agent was stopped while the disk worked
    room.disk.gate = null;
    openGate();
    expect(await answer).toMatchObject({ outcome: 'accepted' });
    await settleDown();
    expect(runs).toEqual([]);
    expect(room.results).toMatchObject([
      { state: 'FAILED_TO_START', cause: expect.stringContaining('lease') },
    ]);
  });

  test('ends it with its own kind of end, by the policy that it asked for', async () => {
    const room = createRoom();
    const { jobs, run, clock } = await openRoom(room);
    jobs.contact(clock.monotonicMs(), HEARTBEAT_MS);
    await jobs.start(startOrder('job-1', 1, stop(20_000)));
    run('job-1.1').events.ended(
      processEnd({ kind: 'signalled', exitCode: null, signal: 15, stopped: 'lease' }),
    );
    await settleDown();
    expect(room.results).toMatchObject([{ endKind: 'disconnected', stoppedBy: 'node' }]);
  });

  test('of an earlier agent is not taken for one: nothing starts before the scheduler has had its say', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    first.jobs.contact(first.clock.monotonicMs(), HEARTBEAT_MS);
    await first.jobs.start(startOrder('job-1', 1, stop(20_000)));
    await first.jobs.start(startOrder('job-2', 1, { resources: { cpus: 0.1 } }));
    await first.jobs.close();

    const { jobs, runs, run, clock } = await openRoom(room);
    expect(runs.map(({ name }) => name)).toEqual(['job-2.1']);
    expect(jobs.held().map(({ jobId }) => jobId)).toEqual(['job-1', 'job-2']);
    jobs.contact(clock.monotonicMs(), HEARTBEAT_MS); // the welcome; a stop order would come now
    expect(runs).toHaveLength(1);
    clock.advance(100);
    jobs.contact(clock.monotonicMs(), HEARTBEAT_MS);
    expect(run('job-1.1').request).toMatchObject({ start: { leaseMs: 20_000 } });
    await jobs.close();

    // Without a scheduler it is attached to where it runs, and never begun.
    const third = await openRoom(room);
    third.clock.advance(CONTACT_PATIENCE_MS);
    expect(third.run('job-1.1')).toMatchObject({ how: 'recovered', request: { start: null } });
  });
});

describe('a report', () => {
  test('tells all that is known of an attempt, and an end only when it is on disk', async () => {
    const room = createRoom();
    const { jobs, run } = await openRoom(room);
    const order = { ...startOrder('job-1', 3), seal: '1.abc' };
    await jobs.start(order);
    expect(jobs.report('job-1', 3)).toEqual({
      type: 'jobReport',
      proof: null,
      jobId: 'job-1',
      epoch: 3,
      order,
      phase: 'accepted',
      startedAtMs: null,
      result: null,
    });
    run('job-1.3').events.started(42, 1000);
    expect(jobs.report('job-1', 3)).toMatchObject({ phase: 'running', startedAtMs: 1000, result: null });
    let openGate = (): void => {};
    room.disk.gate = () =>
      new Promise((resolve) => {
        openGate = resolve;
      });
    run('job-1.3').events.ended(processEnd());
    await settleDown();
    expect(jobs.report('job-1', 3)).toMatchObject({ phase: 'running', result: null });
    room.disk.gate = null;
    openGate();
    await settleDown();
    expect(jobs.report('job-1', 3)).toMatchObject({ phase: 'ended', result: room.results[0] });
    expect(jobs.report('job-1', 2)).toBeNull();
    expect(jobs.report('job-2', 1)).toBeNull();
  });
});
