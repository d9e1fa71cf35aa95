// The shim dies by SIGKILL at each of its named points (native/shim/fault-points.h); whoever takes the attempt up again
// finds exactly one end, and nothing runs twice.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { freshFolder, processesOf, type RequestChange, runIn, shimPath, until } from './harness.ts';
import { canSandbox, sandboxed } from './walls.ts';

const faultyShim = join(dirname(shimPath), 'flopd-shim-faults');
const points = readFileSync(new URL('../../../../native/shim/fault-points.h', import.meta.url), 'utf8');
const names = [...points.matchAll(/^ \* {3}([a-z.]+) {2,}/gm)].map(([, name]) => name ?? '');

/** Points after which the program cannot have run and a new shim starts it; the rest loses it, or knows its end. */
const before = ['spec.read', 'cgroup.made', 'user.set'];
const after = ['end.renamed', 'told'];

const cases: [string, string, RequestChange | undefined][] = names.map((name) => [name, 'plain', undefined]);
for (const name of ['user.set', 'running', 'exit.seen']) cases.push([name, 'sandboxed', sandboxed]);

describe('a shim that is killed', () => {
  let executor: Executor;
  beforeEach(() => {
    executor = createProcessExecutor({
      shimPath: faultyShim,
      native: null,
      clock: createClock(),
      log: createSilentLog(),
    });
  });
  afterEach(() => executor.close());

  test.for(cases)(
    'at %s of a %s job leaves one end and one run at most',
    async ([point, , change], { skip }) => {
      skip(change !== undefined && !canSandbox);
      const folder = freshFolder();
      writeFileSync(join(folder, 'shim-fault'), `${point}\n`);
      const job = runIn(
        executor,
        folder,
        { command: ['sh', '-c', 'echo run | tee -a count; exit 7'] },
        change,
      );
      const end = await job.ended;
      await until(() => existsSync(join(folder, 'shim-fault.hit')), 'it was killed', 20_000);
      const ledger = join(job.request.folder, 'workspace', 'count');
      const runs = existsSync(ledger) ? readFileSync(ledger, 'utf8') : '';
      // The process runs beside its shim: when that is killed here it has taken the attempt, or not, or is in the middle
      // of it. Then its end is lost, another shim starts it, or it is known that it never began.
      if (point === 'user.set' && end.kind === 'failedToStart') {
        expect(end).toMatchObject({ failedStep: 'claim', exitCode: null });
        expect(runs).toBe('');
      } else if (point === 'user.set' && end.kind === 'lost') expect(end.exitCode).toBeNull();
      else if (before.includes(point) || after.includes(point))
        expect(end).toMatchObject({ kind: 'exited', exitCode: 7 });
      else expect(end).toMatchObject({ kind: 'lost', exitCode: null });
      expect(['', 'run\n']).toContain(runs);
      if (end.kind === 'exited') expect(runs).toBe('run\n');
      expect(processesOf(job.request.jobId)).toEqual([]);
      expect(job.history.filter((fact) => fact === 'ended')).toHaveLength(1);
    },
  );
});

test('the list of points is the one in the code', () => {
  expect(names).toHaveLength(11);
});
