import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FakeApi, type JobScript, startFakeApi } from '../../fakes/api.ts';
import { buildIfStale, createPlace, flopd, type Place, start } from './command-line.ts';

let api: FakeApi | null = null;
let place: Place | null = null;

beforeAll(buildIfStale);
afterEach(async () => {
  await api?.close();
  place?.remove();
  api = null;
  place = null;
});

async function begin(script: JobScript): Promise<{ api: FakeApi; place: Place }> {
  api = await startFakeApi(script);
  place = createPlace(api.url);
  return { api, place };
}

const exits =
  (code: number): JobScript =>
  async () => ({ state: code === 0 ? 'COMPLETED' : 'FAILED', exitCode: code });

describe('flopd run', () => {
  it('writes both streams byte for byte on their own descriptors and says nothing else', async () => {
    const bytes = Buffer.from([0, 255, 128, 10, 27, 91, 50, 74, 0xe4, 0xb8]);
    const { place } = await begin(async (job) => {
      job.write('stdout', bytes);
      job.write('stderr', 'err\n');
      job.write('stdout', 'hi\n');
      return { state: 'FAILED', exitCode: 7 };
    });
    const ended = await flopd(place, ['run', '--', 'sh', '-c', 'echo hi']);
    expect(ended.stdout).toEqual(Buffer.concat([bytes, Buffer.from('hi\n')]));
    expect(ended.stderr).toBe('err\n');
    expect(ended.code).toBe(7);
  });

  it.each([
    ['0 of a job that completed', exits(0), 0],
    [
      '128+n after a signal',
      async () => ({ state: 'FAILED', endKind: 'signalled', signal: 9 }) as const,
      137,
    ],
    [
      '125 for a job that is lost',
      async () => ({ state: 'LOST', endKind: 'lost', cause: 'the node rebooted' }) as const,
      125,
    ],
  ] as [string, JobScript, number][])('exits with %s', async (_, script, code) => {
    const { place } = await begin(script);
    expect((await flopd(place, ['run', 'true'])).code).toBe(code);
  });

  it.each([
    ['"nosuch": no such file or directory (ENOENT)', 127],
    ['"/etc/passwd": permission denied (EACCES)', 126],
  ])('tells a failed start %s and exits with %i', async (cause, code) => {
    const { place } = await begin(async () => ({
      state: 'FAILED_TO_START',
      endKind: 'failedToStart',
      cause,
    }));
    const ended = await flopd(place, ['run', '--', 'nosuch']);
    expect(ended.stderr).toBe(`flopd: job job-fake0 failed to start: ${cause}\n`);
    expect(ended.code).toBe(code);
  });

  it('tells a time limit in one line and exits with the signal that ended the job', async () => {
    const { place } = await begin(async () => ({
      state: 'TIMEOUT',
      endKind: 'timeLimit',
      signal: 15,
      cause: 'time limit of 1s reached',
    }));
    const ended = await flopd(place, ['run', '--time-limit', '1s', '--', 'sleep', '60']);
    expect(ended.stderr).toBe('flopd: job job-fake0 TIMEOUT: time limit of 1s reached\n');
    expect(ended.code).toBe(143);
  });

  it('sends what the flags say and leaves the words of the command alone', async () => {
    const { api, place } = await begin(exits(0));
    const args = [
      'run',
      '--cpus',
      '2',
      '--memory',
      '4GiB',
      '--time-limit',
      '1h30m',
      '--env',
      'A=b=c',
      '--env',
      'HERE',
    ];
    await flopd(
      place,
      [...args, '--name', 'ナ', '--accelerators', '2:H200', 'cmd', '--cpus', '9', '--', '-x'],
      { HERE: 'v' },
    );
    const spec = api.jobs.get('job-fake0')?.view().spec;
    expect(spec).toMatchObject({
      command: ['cmd', '--cpus', '9', '--', '-x'],
      name: 'ナ',
      environment: { A: 'b=c', HERE: 'v' },
      timeLimitMs: 5_400_000,
      resources: { cpus: 2, memoryBytes: 4 * 1024 ** 3, accelerators: { count: 2, match: 'H200' } },
    });
  });

  it('goes on by offset through broken connections without losing or repeating a byte', async () => {
    const { api, place } = await begin(async (job) => {
      for (let index = 0; index < 200; index += 1) {
        job.write(index % 3 === 0 ? 'stderr' : 'stdout', `line ${index}\n`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return { state: 'FAILED', exitCode: 3 };
    });
    api.breakFollowAfterBytes = 2300;
    const ended = await flopd(place, ['run', '-q', '--', 'x']);
    const lines = Array.from({ length: 200 }, (_, index) => `line ${index}\n`);
    expect(ended.stdout.toString()).toBe(lines.filter((_, index) => index % 3 !== 0).join(''));
    expect(ended.stderr).toBe(lines.filter((_, index) => index % 3 === 0).join(''));
    expect(ended.code).toBe(3);
    expect(api.requests.filter((request) => request.endsWith('/follow')).length).toBeGreaterThan(2);
  });

  it('waits for a scheduler that was killed and comes back, and says so', async () => {
    let more = (): void => {};
    const { api, place } = await begin(async (job) => {
      job.write('stdout', 'before\n');
      await new Promise<void>((resolve) => (more = resolve));
      job.write('stdout', 'after\n');
      return { state: 'FAILED', exitCode: 5 };
    });
    const running = start(place, ['run', '--', 'x']);
    await new Promise<void>((resolve) => running.child.stdout.once('data', () => resolve()));
    await api.cut();
    await running.said('the job goes on, reconnecting');
    more();
    await api.reopen();
    const ended = await running.ended;
    expect(ended.stdout.toString()).toBe('before\nafter\n');
    expect(ended.stderr).toContain('flopd: connected again');
    expect(ended.code).toBe(5);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('cancels at %s, waits for the end and exits with %i', async (signal, code) => {
    const { api, place } = await begin(async (job) => {
      job.write('stdout', 'started\n');
      await job.cancelled;
      return {
        state: 'CANCELLED',
        endKind: 'stopped',
        signal: 15,
        stoppedBy: 'user',
        cause: 'cancelled by user',
      };
    });
    const running = start(place, ['run', '--', 'sleep', '60']);
    await new Promise<void>((resolve) => running.child.stdout.once('data', () => resolve()));
    running.child.kill(signal);
    const ended = await running.ended;
    expect(ended.stderr).toContain('cancelling job-fake0');
    expect(ended.stderr).toContain('job job-fake0 CANCELLED: cancelled by user');
    expect(ended.code).toBe(code);
    expect(api.requests).toContain('POST /v1/jobs/job-fake0/cancel');
  });

  it('leaves at once at the second Ctrl-C and says that the job may still run', async () => {
    const { place } = await begin(async (job) => {
      job.write('stdout', 'started\n');
      return new Promise(() => {});
    });
    const running = start(place, ['run', '--', 'x']);
    await new Promise<void>((resolve) => running.child.stdout.once('data', () => resolve()));
    // Twice, as npm and timeout(1) do, which tell the process and its group: still one wish.
    running.child.kill('SIGINT');
    running.child.kill('SIGINT');
    await running.said('cancelling');
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(running.child.exitCode).toBeNull();
    running.child.kill('SIGINT');
    const ended = await running.ended;
    expect(ended.stderr).toContain('may still run');
    expect(ended.code).toBe(130);
  });

  it('leaves the job alone and exits with 141 when nobody reads the output', async () => {
    const { api, place } = await begin(async (job) => {
      for (;;) {
        job.write('stdout', 'y\n'.repeat(1000));
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (job.view().cancelRequested) return { state: 'CANCELLED' };
      }
    });
    const running = start(place, ['run', '--', 'yes']);
    await new Promise<void>((resolve) => running.child.stdout.once('data', () => resolve()));
    running.child.stdout.destroy();
    const ended = await running.ended;
    expect(ended.code).toBe(141);
    expect(ended.stderr).toContain('job-fake0 goes on');
    expect(api.requests.some((request) => request.endsWith('/cancel'))).toBe(false);
    api.jobs.get('job-fake0')?.change({ cancelRequested: true });
  });

  it('says why a job waits, once per reason', async () => {
    const { place } = await begin(async (job) => {
      job.change({ state: 'PENDING', reason: 'waits for 1 CPU; 2 jobs are ahead' });
      await new Promise((resolve) => setTimeout(resolve, 4500));
      job.change({ state: 'RUNNING' });
      return { state: 'COMPLETED' };
    });
    const ended = await flopd(place, ['run', '--', 'x']);
    expect(ended.stderr).toBe('flopd: job job-fake0 waits: waits for 1 CPU; 2 jobs are ahead\n');
  });

  it('prints the id alone with --detach', async () => {
    const { place } = await begin(exits(9));
    const ended = await flopd(place, ['run', '--detach', '--', 'x']);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout.toString()).toBe('job-fake0\n');
  });

  it.each([
    [['run', '--time-limit', '5', '--', 'x'], '--time-limit'],
    [['run', '--cpus', 'many', '--', 'x'], '--cpus'],
    [['run', '--memory', '1XB', '--', 'x'], '--memory'],
    [['run', '--accelerators', '0', '--', 'x'], '--accelerators'],
    [['run', '--env', 'NOT_SET_HERE', '--', 'x'], '--env'],
    [['run', '--env', '1A=x', '--', 'x'], '--env'],
    [['run', '--workdir', 'relative', '--', 'x'], '--workdir'],
    [['run', '--name', 'a\u001bb', '--', 'x'], '--name'],
    [['run', '--grace', '-1s', '--', 'x'], '--grace'],
    [['run', '--', ''], 'command'],
    [['run'], 'command'],
    [['run', '--nodes', '2', '--', 'x'], '--nodes'],
  ])('refuses %j with exit code 2 and one line that names the mistake', async (args, named) => {
    const { api, place } = await begin(exits(0));
    const ended = await flopd(place, args);
    expect(ended.code).toBe(2);
    expect(ended.stderr.split('\n')).toHaveLength(2);
    expect(ended.stderr).toContain(named);
    expect(api.requests).toEqual([]);
  });
});
