import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type { ExecutionEvents, Executor, StartRequest } from '../../../src/job/executor/executor.ts';
import { createSurvivorWatch } from '../../../src/runner/survivors.ts';
import { createFakeClock } from '../job/fake-clock.ts';
import { processEnd } from '../job/samples.ts';

let procRoot: string;
beforeEach(() => {
  procRoot = mkdtempSync(join(tmpdir(), 'flopd-survivors-'));
});
afterEach(() => rmSync(procRoot, { recursive: true }));

/** A process of /proc with this start time; its name tries to mislead. */
function live(pid: number, startTicks: number, state = 'S'): void {
  mkdirSync(join(procRoot, String(pid)), { recursive: true });
  const fields = [state, ...Array.from({ length: 18 }, () => '0'), String(startTicks), '0'];
  writeFileSync(join(procRoot, String(pid), 'stat'), `${pid} (a) S 1) ${fields.join(' ')}\n`);
}

function room(bootId = 'boot-1') {
  const told: string[] = [];
  let events: ExecutionEvents | null = null;
  const clock = createFakeClock();
  const watch = createSurvivorWatch({
    clock,
    log: createSilentLog(),
    folder: procRoot,
    bootId,
    procRoot,
    heldBy: (jobId) => (jobId === 'job-1' ? ['GPU-1'] : []),
    unfit: (ids, { code, rung, text }) => told.push(`${ids} ${code} ${rung}: ${text}`),
    onChange: () => told.push('changed'),
  });
  const executor = watch.watch({
    name: 'scripted',
    start: (_: StartRequest, given: ExecutionEvents) => {
      events = given;
    },
  } as unknown as Executor);
  const ends: string[] = [];
  const end = (
    jobId: string,
    survivors: { count: number; shimPid: number; shimStartTicks: number } | null,
  ) => {
    executor.start(
      { jobId } as StartRequest,
      { ended: () => ends.push(jobId) } as unknown as ExecutionEvents,
    );
    events?.ended(processEnd({ survivors }));
  };
  return { told, ends, clock, watch, executor, end };
}

const onGpu = 'GPU-1 job-unkillable noNewJobs: job job-1 has left a process on it that cannot be ended';

test('the devices of a job whose processes cannot be ended take no jobs until its shim has gone', () => {
  const { told, ends, clock, watch, end } = room();
  live(42, 7);
  end('job-1', { count: 1, shimPid: 42, shimStartTicks: 7 });
  expect(ends).toEqual(['job-1']);
  expect(told).toEqual([onGpu, 'changed']);
  expect(watch.problems()).toEqual([
    'job job-1 has left a process that the kernel does not let go of; its devices take no jobs until then',
  ]);
  clock.advance(5000);
  expect(told.slice(2)).toEqual([onGpu]);
  live(42, 8); // the number is another process's now
  clock.advance(5000);
  expect(told.slice(3)).toEqual(['changed']);
  expect(watch.problems()).toEqual([]);
  watch.close();
});

test('a shim that is a zombie has gone; a job without devices is said all the same', () => {
  const { told, clock, watch, end } = room();
  live(42, 7);
  end('job-2', { count: 3, shimPid: 42, shimStartTicks: 7 });
  expect([told, watch.problems().length]).toEqual([['changed'], 1]);
  live(42, 7, 'Z');
  clock.advance(5000);
  expect([told, watch.problems().length]).toEqual([['changed', 'changed'], 0]);
  watch.close();
});

test('an end without survivors passes unseen, and the executor stays itself', () => {
  const { told, ends, executor, end } = room();
  end('job-1', null);
  expect([told, ends, executor.name]).toEqual([[], ['job-1'], 'scripted']);
});

test('the list outlives the agent, but not the boot', () => {
  const first = room();
  live(42, 7);
  first.end('job-1', { count: 1, shimPid: 42, shimStartTicks: 7 });
  first.watch.close();
  const next = room();
  expect(next.watch.problems()).toHaveLength(1);
  next.clock.advance(5000);
  expect(next.told).toEqual([onGpu]);
  next.watch.close();
  expect(room('boot-2').watch.problems()).toEqual([]);
  writeFileSync(join(procRoot, 'survivors.json'), '{"bootId":"boot-1","left":[{}]}');
  expect(room().watch.problems()).toEqual([]);
});
