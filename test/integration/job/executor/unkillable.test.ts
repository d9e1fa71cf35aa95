// Processes in state D: a frozen file system holds them, SIGKILL does not end them (fault F31).
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { freshFolder, isAlive, processesOf, type RequestChange, runIn, shimPath, until } from './harness.ts';
import { canSandbox, sandboxed } from './walls.ts';

const bed = join(tmpdir(), `flopd-frozen-${process.pid}`);
const disk = join(bed, 'disk');
const ran = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0;

function mountDisk(): boolean {
  if (process.getuid?.() !== 0) return false;
  mkdirSync(disk, { recursive: true });
  const image = join(bed, 'image');
  return (
    ran('truncate', '-s', '16M', image) &&
    ran('mke2fs', '-q', '-F', '-t', 'ext4', image) &&
    ran('mount', '-o', 'loop', image, disk)
  );
}

/** `environ`: a path as `processesOf` gives them. */
function waitsInKernel(environ: string): boolean {
  try {
    return readFileSync(join(dirname(environ), 'status'), 'utf8').includes('State:\tD');
  } catch {
    return false;
  }
}

const isMounted = mountDisk();
if (!isMounted) rmSync(bed, { recursive: true, force: true });

describe.skipIf(!isMounted)('a job that waits inside the kernel', () => {
  let executor: Executor;
  beforeAll(() => chmodSync(disk, 0o777));
  beforeEach(() => {
    const faulty = join(dirname(shimPath), 'flopd-shim-faults'); // waits for 2 s only
    executor = createProcessExecutor({
      shimPath: faulty,
      native: null,
      clock: createClock(),
      log: createSilentLog(),
    });
  });
  afterEach(() => executor.close());
  afterAll(async () => {
    spawnSync('fsfreeze', ['-u', disk]);
    await until(() => ran('umount', disk), 'the disk is free', 20_000);
    rmSync(bed, { recursive: true });
  });

  const writable: RequestChange = (folder) => {
    const { containment } = sandboxed(folder);
    if (containment === undefined) return {};
    const wrap = [...containment.wrap.slice(0, -1), '--bind', disk, disk, '--'];
    return { containment: { ...containment, wrap } };
  };

  test('is told with those that are left, and cleared away when the kernel lets go of it', async () => {
    expect(ran('fsfreeze', '-f', disk)).toBe(true);
    const command = ['sh', '-c', `echo ready; echo x > ${disk}/file`];
    const jobs = (canSandbox ? [undefined, writable] : [undefined]).map((change) =>
      runIn(executor, freshFolder(), { command }, change),
    );
    for (const job of jobs) {
      await job.grown(6);
      // One that is killed before it writes ends like any other.
      await until(
        () => processesOf(job.request.jobId).some(waitsInKernel),
        'it waits inside the kernel',
        20_000,
      );
      job.execution.stop(0);
    }
    const ends = await Promise.all(jobs.map((job) => job.ended));
    for (const end of ends) {
      expect(end).toMatchObject({
        kind: 'lost',
        stopped: 'stop',
        killed: true,
        exitCode: null,
        signal: null,
      });
      expect(end.detail).toContain('could not be ended');
      expect(end.survivors?.count).toBeGreaterThan(0);
      expect(isAlive(end.survivors?.shimPid ?? 0)).toBe(true);
    }
    expect(ran('fsfreeze', '-u', disk)).toBe(true);
    for (const [at, { survivors }] of ends.entries()) {
      await until(() => !isAlive(survivors?.shimPid ?? 0), 'its shim has gone', 20_000);
      expect(processesOf(jobs[at]?.request.jobId ?? '')).toEqual([]);
    }
    expect(existsSync(join(disk, 'no-such'))).toBe(false); // it answers again
  });
});
