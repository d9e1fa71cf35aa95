// Jobs in containers, as a user sees them: the built program over a real podman.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPodman, type Podman, podmanMissing, TEST_IMAGE } from '../fakes/podman.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

describe.skipIf(podmanMissing() !== null)('flopd run --image', { timeout: 120_000 }, () => {
  let podman: Podman;
  let bed: Bed;
  let up: Daemon;
  const start = () =>
    bed.start(['up', '--node-cpus', '2'], {
      environment: { FLOPD_JOBS_CONTAINER_RUNTIME: podman.path, FLOPD_JOBS_PULL: 'never' },
    });
  beforeAll(async () => {
    podman = createPodman();
    bed = createBed();
    up = await start();
  }, 60_000);
  afterAll(async () => {
    await bed.close();
    podman.close();
  });

  test('runs a program of the image, in its own workspace, and ends with its code', async () => {
    const script = 'echo $((6 * 7)); cat /etc/os-release; pwd; echo err >&2; exit 7';
    const end = await bed.run(['run', '--image', TEST_IMAGE, '--memory', '64MiB', '--', 'sh', '-c', script]);
    expect(end.code).toBe(7);
    expect(end.stdout).toMatch(/^42\n\/.*\/workspace\n$/);
    expect(end.stderr).toContain('err\n');
    const { stdout } = await bed.run(['jobs', '-o', 'json']);
    const job = await readJob(bed, /job-[0-9a-z]+/.exec(stdout)?.[0] ?? '');
    expect(job.result?.limits).toMatchObject({
      cpus: 'container',
      memory: 'container',
      processes: 'container',
    });
    expect(job.result?.isolation).toMatchObject({ sandbox: 'container' });
  });

  test.each<[string, string[], string]>([
    [
      'an image that is missing',
      ['--image', 'localhost/none:1', '--', 'true'],
      'failed to start: image localhost/none:1 is not here, and this node pulls none',
    ],
    [
      'a file that is no program',
      ['--image', TEST_IMAGE, '--', '/etc'],
      `failed to start: "/etc" in image ${TEST_IMAGE}: is a directory (EISDIR)`,
    ],
    [
      'memory',
      ['--image', TEST_IMAGE, '--memory', '24MiB', '--', 'sh', '-c', 'x=a; while :; do x=$x$x; done'],
      'out of memory: ',
    ],
    [
      'its time limit',
      ['--image', TEST_IMAGE, '--time-limit', '1s', '--', 'sleep', '1000'],
      'stopped at its time limit of 1 s',
    ],
  ])('names the cause: %s', async (_, words, cause) => {
    const end = await bed.run(['run', ...words]);
    expect(end.code).not.toBe(0);
    expect(end.stderr).toContain(cause);
  });

  test('runs a command beside the job: same user, folder and variables, no privileges, its own code', async () => {
    const id = await submit(
      bed,
      '--image',
      TEST_IMAGE,
      '--env',
      'A=b c',
      '--',
      'sh',
      '-c',
      'id -u; sleep 1000',
    );
    await untilState(bed, id, 'RUNNING');
    const script = 'id -u; pwd; echo $A; grep CapPrm /proc/self/status; exit 7';
    const end = await bed.run(['exec', id, '--', 'sh', '-c', script]);
    const own = await until('its own user', async () => (await bed.run(['logs', id])).stdout || null);
    const [user, folder, ...rest] = end.stdout.split('\n');
    expect([end.code, `${user}\n`]).toEqual([7, own]);
    expect(folder).toMatch(/\/workspace$/);
    expect(rest).toEqual(['b c', 'CapPrm:\t0000000000000000', '']);
    expect((await bed.run(['exec', id, '--', 'no-such-program'])).code).toBe(127);
    await bed.run(['cancel', id]);
    await untilState(bed, id, 'CANCELLED');
  });

  test('refuses an image that could be taken for an option, and one without a name', async () => {
    for (const image of ['--privileged', '-v', 'x y', '']) {
      const end = await bed.run(['run', `--image=${image}`, '--', 'true']);
      expect([end.code, end.stderr.includes('image')]).toEqual([2, true]);
    }
  });

  test('goes on while the agent is killed and started again, and is cancelled by name', async () => {
    const script = 'echo one; while :; do sleep 0.1; done';
    const id = await submit(bed, '--image', TEST_IMAGE, '--', 'sh', '-c', script);
    await untilState(bed, id, 'RUNNING');
    await until('its container runs', () => podman.containers().some((name) => name.includes(id)));
    up.kill('SIGKILL');
    await up.finished();
    up = await start();
    await untilState(bed, id, 'RUNNING');
    expect(podman.containers().filter((name) => name.includes(id))).toHaveLength(1);
    await bed.run(['cancel', id]);
    const job = await untilState(bed, id, 'CANCELLED');
    expect(job.reason).toContain('cancelled by');
    await until('its container is gone', () => !podman.containers().some((name) => name.includes(id)));
    const logs = await bed.run(['logs', id]);
    expect(logs.stdout).toBe('one\n');
  });
});
