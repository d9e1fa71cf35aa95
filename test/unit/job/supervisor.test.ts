import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeRecord, parseJournal } from '../../../src/job/journal-format.ts';
import { RETAIN_MS } from '../../../src/job/supervisor.ts';
import { settleDown } from './fake-clock.ts';
import { processEnd, startOrder, stopOrder } from './samples.ts';
import { createRoom, openRoom } from './scripted.ts';

const accepted = { outcome: 'accepted', code: null, message: null };
const duplicate = { outcome: 'duplicate', code: null, message: null };

describe('a job from order to end', () => {
  test('is started when its intent is on disk, told, settled, and gone once acknowledged and delivered', async () => {
    const room = createRoom();
    const { jobs, run, runs } = await openRoom(room);
    let openGate = (): void => {};
    room.disk.gate = () =>
      new Promise((resolve) => {
        openGate = resolve;
      });
    const answer = jobs.start(startOrder('job-1'));
    await settleDown();
    expect(runs).toEqual([]);
    room.disk.gate = null;
    openGate();
    expect(await answer).toEqual(accepted);
    expect(jobs.held()).toEqual([{ jobId: 'job-1', epoch: 1, phase: 'accepted', devices: [] }]);
    run('job-1.1').events.started(42, 1000);
    expect(jobs.runningCount()).toBe(1);
    run('job-1.1').events.output(3, 0);
    run('job-1.1').events.ended(processEnd({ stdoutBytes: 3 }));
    await settleDown();
    expect(room.history).toEqual(['started job-1.1 42', 'output job-1.1 3 0', 'ended job-1.1 COMPLETED']);
    expect(jobs.unsettled()).toEqual(room.results);
    expect(jobs.held()).toEqual([{ jobId: 'job-1', epoch: 1, phase: 'ended', devices: [] }]);
    jobs.acknowledged('job-1', 1);
    expect(jobs.unsettled()).toEqual([]);
    jobs.delivered('job-1', 1, 2, 0);
    await settleDown();
    expect(readdirSync(join(room.folder, 'jobs'))).toEqual(['job-1.1']);
    jobs.delivered('job-1', 1, 3, 0);
    await expect.poll(() => readdirSync(join(room.folder, 'jobs'))).toEqual([]);
    await expect.poll(() => jobs.readOutput('job-1', 1, 'stdout', 0, 1)).toBeNull();
    // Whoever repeats the order, or stops it, has lost what it acknowledged: it is told that nothing more comes.
    const settled = {
      outcome: 'duplicate',
      code: 'JOB_SETTLED',
      message: expect.stringContaining('has ended'),
    };
    expect(await jobs.start(startOrder('job-1'))).toEqual(settled);
    expect(await jobs.stop(stopOrder('job-1', 1, 'bob'))).toEqual(settled);
    expect(runs).toHaveLength(1);
  });

  test('builds its environment from nothing', async () => {
    const room = createRoom();
    const { jobs, run } = await openRoom(room, { environment: { SITE: 'hub' } });
    await jobs.start(startOrder('job-1', 3, { environment: { LANG: 'de_DE', MINE: '1' } }));
    const { request } = run('job-1.3');
    const folder = join(room.folder, 'jobs', 'job-1.3');
    expect('environment' in request && request.environment).toEqual({
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: join(folder, 'workspace'),
      TMPDIR: join(folder, 'workspace'),
      LANG: 'de_DE',
      SITE: 'hub',
      MINE: '1',
      FLOPD_JOB_ID: 'job-1',
      FLOPD_NODE_ID: 'node-1',
      FLOPD_EPOCH: '3',
      FLOPD_METER_FILE: join(folder, 'meter'),
    });
  });

  test('holds its CPUs until it has ended, and not longer', async () => {
    const { jobs, run } = await openRoom(createRoom());
    const two = { resources: { cpus: 2 } };
    expect(await jobs.start(startOrder('job-1', 1, two))).toEqual(accepted);
    expect(await jobs.start(startOrder('job-2', 1, two))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_CPUS_BUSY',
    });
    run('job-1.1').events.ended(processEnd());
    await settleDown();
    expect(await jobs.start(startOrder('job-3', 1, two))).toEqual(accepted);
  });

  test('reads the meter file, but never through what the job put in its place', async () => {
    const room = createRoom();
    const { jobs, run } = await openRoom(room);
    for (const name of ['job-1', 'job-2', 'job-3'])
      await jobs.start(startOrder(name, 1, { resources: { cpus: 0.5 } }));
    const folder = (name: string) => join(room.folder, 'jobs', `${name}.1`, 'meter');
    writeFileSync(folder('job-1'), 'flop=10 seconds=2\n');
    symlinkSync(folder('job-1'), folder('job-2'));
    mkdirSync(folder('job-3'));
    for (const name of ['job-1', 'job-2', 'job-3']) run(`${name}.1`).events.ended(processEnd());
    await settleDown();
    await expect.poll(() => room.results.length).toBe(3);
    const usage = (name: string) => room.results.find(({ jobId }) => jobId === name)?.usage;
    expect(usage('job-1')).toMatchObject({ flop: 10, achievedFlops: 5 });
    expect(usage('job-2')?.absent.flop).toContain('ELOOP');
    expect(usage('job-3')?.absent.flop).toContain('cannot be read');
  });

  test('energy comes from the function that is handed in', async () => {
    const room = createRoom();
    const { jobs, run } = await openRoom(room, {
      energy: (jobId) => (jobId === 'job-1' ? { joules: 5 } : { absent: 'no power source: none' }),
    });
    await jobs.start(startOrder('job-1'));
    run('job-1.1').events.ended(processEnd());
    await jobs.start(startOrder('job-2'));
    run('job-2.1').events.ended(processEnd());
    await settleDown();
    expect(room.results.map(({ usage }) => usage.energyJoules)).toEqual([5, null]);
    expect(room.results[1]?.usage.absent.energyJoules).toBe('no power source: none');
  });

  test('a folder whose removal a crash cut short is removed by the next agent', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    await first.jobs.start(startOrder('job-1'));
    const stored = join(room.folder, 'jobs', 'job-1.1', 'stdout');
    writeFileSync(stored, 'out');
    first.run('job-1.1').events.ended(processEnd({ stdoutBytes: 3 }));
    await settleDown();
    first.jobs.acknowledged('job-1', 1);
    await first.jobs.close();
    const second = await openRoom(room);
    await settleDown();
    // Whole, it waits for its output to be delivered.
    expect(readdirSync(join(room.folder, 'jobs'))).toEqual(['job-1.1']);
    await second.jobs.close();
    rmSync(stored);
    await openRoom(room);
    await expect.poll(() => readdirSync(join(room.folder, 'jobs'))).toEqual([]);
  });

  test('output that nobody fetches is kept for a bounded time', async () => {
    const room = createRoom();
    const { jobs, run, clock } = await openRoom(room);
    await jobs.start(startOrder('job-1'));
    run('job-1.1').events.ended(processEnd({ stdoutBytes: 3 }));
    await settleDown();
    jobs.acknowledged('job-1', 1);
    clock.advance(RETAIN_MS - 1000);
    await settleDown();
    expect(jobs.held()).toEqual([]);
    expect(await jobs.readOutput('job-1', 1, 'stdout', 0, 10)).toEqual(new Uint8Array());
    clock.advance(120_000);
    await expect.poll(() => jobs.readOutput('job-1', 1, 'stdout', 0, 10)).toBeNull();
    expect(readdirSync(join(room.folder, 'jobs'))).toEqual([]);
  });
});

describe('orders that come twice, late or in vain', () => {
  test('a hundred copies of an order start one job, and each is told how it stands', async () => {
    const room = createRoom();
    const { jobs, runs, run } = await openRoom(room);
    const answers = await Promise.all(Array.from({ length: 100 }, () => jobs.start(startOrder('job-1'))));
    expect(answers.filter(({ outcome }) => outcome === 'accepted')).toHaveLength(1);
    expect(answers.filter(({ outcome }) => outcome === 'duplicate')).toHaveLength(99);
    run('job-1.1').events.started(42, 1000);
    run('job-1.1').events.ended(processEnd());
    await settleDown();
    room.history.length = 0;
    expect(await jobs.start(startOrder('job-1'))).toEqual(duplicate);
    expect(room.history).toEqual(['started job-1.1 42', 'ended job-1.1 COMPLETED']);
    expect(room.results[0]).toBe(room.results[1]);
    expect(runs).toHaveLength(1);
  });

  test('an older epoch is stale, for start and stop', async () => {
    const { jobs, run } = await openRoom(createRoom());
    await jobs.start(startOrder('job-1', 5));
    expect(await jobs.start(startOrder('job-1', 4))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_EPOCH_STALE',
    });
    expect(await jobs.stop(stopOrder('job-1', 4))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_EPOCH_STALE',
    });
    expect(run('job-1.5').stops).toEqual([]);
  });

  test('a newer epoch never runs beside an older one: that one is stopped first', async () => {
    const room = createRoom();
    const { jobs, run, runs } = await openRoom(room);
    await jobs.start(startOrder('job-1', 1, { resources: { cpus: 0.5 }, graceMs: 77 }));
    for (const epoch of [2, 3])
      expect(await jobs.start(startOrder('job-1', epoch))).toMatchObject({
        outcome: 'refused',
        code: 'JOB_OLDER_EPOCH_RUNS',
      });
    await settleDown();
    expect(run('job-1.1').stops).toContain(77);
    run('job-1.1').events.ended(processEnd({ stopped: 'stop' }));
    await settleDown();
    expect(room.results[0]).toMatchObject({ state: 'CANCELLED', stoppedBy: 'scheduler' });
    expect(await jobs.start(startOrder('job-1', 4))).toEqual(accepted);
    expect(runs.map(({ name }) => name)).toEqual(['job-1.1', 'job-1.4']);
  });

  test('a refused order is refused for good, also after a restart', async () => {
    const room = createRoom();
    const first = await openRoom(room, { draining: () => 'maintenance' });
    expect(await first.jobs.start(startOrder('job-1'))).toMatchObject({ code: 'JOB_NODE_DRAINING' });
    await first.jobs.close();
    const { jobs, runs } = await openRoom(room);
    expect(await jobs.start(startOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_NODE_DRAINING',
    });
    expect(await jobs.start(startOrder('job-1', 2))).toEqual(accepted);
    expect(runs.map(({ name }) => name)).toEqual(['job-1.2']);
  });

  test('a stop that overtakes its start keeps the job from ever starting, also after a restart', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    expect(await first.jobs.stop(stopOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_UNKNOWN',
    });
    expect(await first.jobs.start(startOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_STOPPED',
    });
    await first.jobs.close();
    const second = await openRoom(room);
    expect(await second.jobs.start(startOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_STOPPED',
    });
    expect([...first.runs, ...second.runs]).toEqual([]);
  });

  test('a stop while the intent is still being written cancels the job before it starts', async () => {
    const room = createRoom();
    const { jobs, runs } = await openRoom(room);
    const start = jobs.start(startOrder('job-1'));
    const stop = jobs.stop(stopOrder('job-1'));
    expect(await start).toEqual(accepted);
    expect(await stop).toEqual(accepted);
    await settleDown();
    expect(runs).toEqual([]);
    expect(room.results).toMatchObject([
      {
        state: 'CANCELLED',
        stoppedBy: 'alice',
        cause: 'cancelled by alice before it started: enough',
        startedAtMs: null,
      },
    ]);
  });

  test('a stop reaches the job with its grace; the first who asks is named; a stop after the end changes nothing', async () => {
    const room = createRoom();
    const { jobs, run } = await openRoom(room);
    await jobs.start(startOrder('job-1', 1, { graceMs: 250 }));
    expect(await jobs.stop(stopOrder('job-1', 1, 'alice'))).toEqual(accepted);
    expect(await jobs.stop(stopOrder('job-1', 1, 'bob'))).toEqual(duplicate);
    expect(run('job-1.1').stops).toEqual([250, 250]);
    run('job-1.1').events.ended(
      processEnd({ kind: 'signalled', exitCode: null, signal: 15, stopped: 'stop' }),
    );
    await settleDown();
    expect(await jobs.stop(stopOrder('job-1', 1, 'carol'))).toEqual(duplicate);
    expect(room.results).toMatchObject([{ state: 'CANCELLED', stoppedBy: 'alice' }, { stoppedBy: 'alice' }]);
  });
});

describe('a disk that refuses', () => {
  test('takes no orders, starts nothing, and goes on when it is mended', async () => {
    const room = createRoom();
    const { jobs, runs, clock } = await openRoom(room);
    room.disk.failing = 'ENOSPC';
    expect(await jobs.start(startOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_NO_DURABLE_SPACE',
    });
    expect(await jobs.start(startOrder('job-2'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_NO_DURABLE_SPACE',
    });
    expect([runs, readdirSync(join(room.folder, 'jobs'))]).toEqual([[], []]);
    room.disk.failing = null;
    clock.advance(30_000);
    await settleDown();
    expect(await jobs.start(startOrder('job-3'))).toEqual(accepted);
    expect(await jobs.start(startOrder('job-1'))).toMatchObject({
      outcome: 'refused',
      code: 'JOB_NO_DURABLE_SPACE',
    });
  });

  test('does not keep the result of a running job from being told, and has it once it is mended', async () => {
    const room = createRoom();
    const { jobs, run, clock } = await openRoom(room);
    await jobs.start(startOrder('job-1'));
    room.disk.failing = 'EROFS';
    run('job-1.1').events.ended(processEnd({ exitCode: 4 }));
    await settleDown();
    expect(room.results).toMatchObject([{ exitCode: 4 }]);
    room.disk.failing = null;
    clock.advance(30_000);
    await settleDown();
    expect(parseJournal(room.disk.bytes).records).toContainEqual({ kind: 'result', result: room.results[0] });
    await jobs.close();
  });
});

describe('after a restart', () => {
  test('running jobs are taken up, and a stop that was asked for is asked again', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    await first.jobs.start(startOrder('job-1', 1, { graceMs: 99 }));
    await first.jobs.start(startOrder('job-2'));
    await first.jobs.stop(stopOrder('job-1'));
    await first.jobs.close();
    expect(first.runs.map(({ detached }) => detached)).toEqual([true, true]);
    const second = await openRoom(room);
    expect(second.runs.map(({ name, how }) => [name, how])).toEqual([
      ['job-1.1', 'recovered'],
      ['job-2.1', 'recovered'],
    ]);
    expect(second.run('job-1.1').stops).toEqual([99]);
    // A stopped job must not be started any more, should it never have begun.
    expect(second.run('job-1.1').request).toMatchObject({
      start: null,
      acceptedBootId: 'boot-1',
      bootId: 'boot-1',
    });
    expect(second.run('job-2.1').request).toMatchObject({
      start: { jobId: 'job-2', environment: { FLOPD_EPOCH: '1' } },
    });
    expect(await second.jobs.start(startOrder('job-2'))).toEqual(duplicate);
    second.run('job-1.1').events.ended(processEnd({ stopped: 'stop' }));
    await settleDown();
    expect(room.results).toMatchObject([{ state: 'CANCELLED', stoppedBy: 'alice' }]);
    expect(await second.jobs.start(startOrder('job-3', 1, { resources: { cpus: 2 } }))).toMatchObject({
      code: 'JOB_CPUS_BUSY',
    });
  });

  test('a result that nobody acknowledged is told again, byte for byte, and one that was is not', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    for (const name of ['job-1', 'job-2']) {
      await first.jobs.start(startOrder(name));
      first.run(`${name}.1`).events.ended(processEnd({ exitCode: 3, stdoutBytes: 1 }));
      await settleDown();
    }
    first.jobs.acknowledged('job-2', 1);
    await first.jobs.close();
    const told = JSON.stringify(room.results[0]);
    room.results.length = 0;
    const second = await openRoom(room);
    await settleDown();
    expect(second.jobs.unsettled().map((result) => JSON.stringify(result))).toEqual([told]);
    expect(
      room.results.filter(({ jobId }) => jobId === 'job-1').map((result) => JSON.stringify(result)),
    ).toEqual([told]);
    expect(second.runs).toEqual([]);
  });

  test('under another boot id the executor is told so', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    await first.jobs.start(startOrder('job-1'));
    await first.jobs.close();
    const second = await openRoom(room, { bootId: 'boot-2' });
    expect(second.run('job-1.1').request).toMatchObject({ bootId: 'boot-2', acceptedBootId: 'boot-1' });
  });

  test('an executor that is gone leaves the job lost, not hanging', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    await first.jobs.start(startOrder('job-1'));
    await first.jobs.close();
    await openRoom(room, { executors: [] });
    await settleDown();
    expect(room.results).toMatchObject([
      { state: 'LOST', cause: 'lost: its executor is not part of this agent' },
    ]);
  });

  test('the journal cut at every byte leaves each job either unknown or accepted once', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    await first.jobs.start(startOrder('job-1'));
    await first.jobs.start(startOrder('job-2'));
    await first.jobs.close();
    const whole = room.disk.bytes;
    for (let cut = 0; cut <= whole.length; cut += 7) {
      const other = createRoom();
      other.disk.bytes = Buffer.from(whole.subarray(0, cut));
      const { jobs, runs } = await openRoom(other);
      const names = runs.map(({ name }) => name);
      expect(['', 'job-1.1', 'job-1.1,job-2.1']).toContain(names.join());
      expect(await jobs.start(startOrder('job-1'))).toEqual(names.length === 0 ? accepted : duplicate);
      await jobs.close();
    }
  });

  test('a folder that the journal does not know is taken up without being started; an empty one is removed', async () => {
    const room = createRoom();
    mkdirSync(join(room.folder, 'jobs', 'job-7.2', 'workspace'), { recursive: true });
    mkdirSync(join(room.folder, 'jobs', 'job-8.1', 'workspace'), { recursive: true });
    mkdirSync(join(room.folder, 'jobs', 'not a job'));
    writeFileSync(join(room.folder, 'jobs', 'job-7.2', 'started'), 'x');
    const { jobs, run, runs } = await openRoom(room);
    expect(runs.map(({ name }) => name)).toEqual(['job-7.2']);
    expect(run('job-7.2').request).toMatchObject({ start: null, acceptedBootId: null });
    expect(existsSync(join(room.folder, 'jobs', 'job-8.1'))).toBe(false);
    run('job-7.2').events.ended(processEnd({ exitCode: 5 }));
    await settleDown();
    expect(room.results).toMatchObject([{ jobId: 'job-7', epoch: 2, state: 'FAILED', exitCode: 5 }]);
    expect(await jobs.start(startOrder('job-8'))).toEqual(accepted);
  });

  test('records that are whole but not ours are left out, and the rest is taken', async () => {
    const room = createRoom();
    const first = await openRoom(room);
    await first.jobs.start(startOrder('job-1'));
    await first.jobs.close();
    const foreign = [
      { kind: 'accepted', order: { jobId: '../x' }, bootId: 'b' },
      { kind: 'future' },
      [],
      { kind: 'stop', jobId: 'job-1', epoch: -1, by: 'x', reason: '' },
    ];
    room.disk.bytes = Buffer.concat([Buffer.from(foreign.map(encodeRecord).join('')), room.disk.bytes]);
    const second = await openRoom(room);
    expect(second.runs.map(({ name }) => name)).toEqual(['job-1.1']);
  });
});
