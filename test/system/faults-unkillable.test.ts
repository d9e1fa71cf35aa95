// F31: a process that SIGKILL does not end, for real: it writes to a file system that is frozen. The job's end is told in
// bounded time and says so, the agent and other jobs go on, and what was left goes away by itself after the thaw.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Bed, createBed, processesOf, processesOfJob, until } from './bed.ts';
import { submit, untilState } from './job-view.ts';
import {
  canMount,
  impatientProgram,
  type NamespacedAgent,
  startNamespacedAgent,
} from './namespaced-agent.ts';

const isPossible =
  canMount() &&
  existsSync('/dev/loop-control') &&
  ['/usr/sbin/mkfs.ext4', '/usr/sbin/fsfreeze'].every((path) => existsSync(path));
let bed: Bed;
let agent: NamespacedAgent | null = null;
let frozen: string | null = null;
beforeEach(() => {
  bed = createBed();
});
afterEach(async () => {
  if (frozen !== null) agent?.inside('fsfreeze', '-u', frozen);
  await agent?.stop();
  await bed.close();
});

function waitsInKernel(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8').includes('State:\tD');
  } catch {
    return false; // It has ended meanwhile.
  }
}

test.skipIf(!isPossible)(
  'a process that cannot be killed does not keep its job from ending, nor others from running',
  async () => {
    const disk = join(bed.folder, 'disk');
    const image = join(bed.folder, 'image');
    const scheduler = await bed.start(['scheduler']);
    const node = await startNamespacedAgent(bed, scheduler, {
      stateDir: join(bed.folder, 'agent-state'),
      program: impatientProgram(bed.folder),
      // The loop device goes with the mount, and that with the namespace.
      mounts: `truncate -s 16M ${image} && mkfs.ext4 -q -F ${image} && mkdir -p ${disk} && mount -o loop ${image} ${disk} && chmod 777 ${disk}`,
      environment: { FLOPD_JOBS_WRITE_PATHS: disk },
    });
    agent = node;
    const stuck = await submit(
      bed,
      '--grace',
      '0s',
      '--',
      'sh',
      '-c',
      `echo up; while :; do echo x >> ${disk}/file; sleep 0.02; done`,
    );
    await until('it writes', () => existsSync(node.outside(join(disk, 'file'))));
    node.inside('fsfreeze', '-f', disk);
    frozen = disk;
    // One that is killed between two writes ends like any other.
    await until('it waits inside the kernel', () => processesOfJob(stuck).some(waitsInKernel));
    expect((await bed.run(['cancel', stuck])).code).toBe(0);
    const job = await untilState(bed, stuck, 'CANCELLED', 'LOST');
    expect(job.result?.cause).toMatch(/could not be ended|did not end after SIGKILL/);
    const other = await submit(bed, '--', 'sh', '-c', 'exit 4');
    expect((await untilState(bed, other, 'FAILED')).result).toMatchObject({ exitCode: 4 });
    node.inside('fsfreeze', '-u', disk);
    frozen = null;
    await until('nothing of it is left', () => {
      const left = processesOf(join(bed.folder, 'agent-state', 'agent', 'jobs', `${stuck}.1`));
      return left.length === 0;
    });
    await until('its folder is gone', () =>
      readdirSync(join(bed.folder, 'agent-state', 'agent', 'jobs')).every((name) => !name.startsWith('job-')),
    );
    await until('its control groups are gone', () =>
      readdirSync('/sys/fs/cgroup').every(
        (controller) => !existsSync(join('/sys/fs/cgroup', controller, `flopd.${stuck}.1`)),
      ),
    );
  },
);
