// `flopd logs` as a user types it: parts of the output, what is missing of it, and what a terminal gets to see.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FakeApi, type JobScript, startFakeApi } from '../../fakes/api.ts';
import { buildIfStale, createPlace, flopd, type Place, program } from './command-line.ts';

beforeAll(buildIfStale, 60_000);

describe('flopd logs', () => {
  let api: FakeApi | null = null;
  let place: Place;
  afterEach(async () => {
    await api?.close();
    api = null;
    place.remove();
  });

  async function begin(script: JobScript): Promise<void> {
    api = await startFakeApi(script);
    place = createPlace(api.url);
    await flopd(place, ['run', '-q', 'x']);
  }
  const logs = async (...args: string[]) => {
    const { stdout, stderr, code } = await flopd(place, ['logs', ...args, 'job-fake0']);
    return { stdout: stdout.toString('latin1'), stderr, code };
  };

  it('gives the last lines, the last bytes, or nothing of a stream', async () => {
    await begin(async (job) => {
      job.write('stdout', `${'x'.repeat(100_000)}\n`.repeat(3));
      job.write('stdout', 'one\ntwo\nthree');
      return { state: 'COMPLETED' };
    });
    for (const follow of [[], ['-f']]) {
      expect((await logs(...follow, '--tail', '2')).stdout).toBe('two\nthree');
      expect((await logs(...follow, '--tail', '4')).stdout).toBe(`${'x'.repeat(100_000)}\none\ntwo\nthree`);
      expect((await logs(...follow, '--tail', '1KiB')).stdout).toHaveLength(1024);
      expect((await logs(...follow, '--tail', '0')).stdout).toBe('');
    }
    expect((await logs('--tail', '99')).stdout).toHaveLength(300_016);
  });

  it('says where bytes were left out, unless one asks only for what comes after', async () => {
    await begin(async (job) => {
      job.write('stdout', 'headtail');
      return {
        state: 'COMPLETED',
        gaps: [{ stream: 'stdout', fromByte: 4, toByte: 3_200_000_004, reason: 'quota' }],
      };
    });
    expect(await logs()).toEqual({
      stdout: 'headtail',
      stderr: '[flopd: 3.20 GB of stdout left out here by its quota]\n',
      code: 0,
    });
    // This scheduler tells it only with the end.
    expect((await logs('-f')).stderr).toBe(
      '[flopd: 3.20 GB of stdout left out after the first 4 B by its quota]\n',
    );
    for (const args of [['--tail', '2B'], ['-f', '--tail', '2B'], ['--stderr']])
      expect((await logs(...args)).stderr).toBe('');
  });

  it('says that output is not kept any more, and why, and fails', async () => {
    await begin(async (job) => {
      job.change({ outputRemoved: 'removed on 2026-01-31, 30 days after the end' });
      return { state: 'COMPLETED' };
    });
    for (const args of [[], ['-f']]) {
      const { stdout, stderr, code } = await logs(...args);
      expect([stdout, code]).toEqual(['', 1]);
      expect(stderr).toContain('the output of job-fake0 is not kept any more: removed on 2026-01-31');
    }
  });

  it.each([
    ['--since', 'yesterday'],
    ['--since', '2026-13-45'],
    ['--since', '10'],
    ['--tail', 'many'],
    ['--tail', '4XiB'],
    ['--attempt', '0'],
    ['--attempt', 'first'],
  ])('refuses %s %s as wrong usage, without asking anybody', async (flag, value) => {
    place = createPlace(null);
    const { code, stderr } = await logs(flag, value);
    expect([code, stderr]).toEqual([2, expect.stringContaining(flag)]);
  });

  it.skipIf(!existsSync('/usr/bin/script'))(
    'gives a pipe every byte, and a terminal only text and colours',
    async () => {
      const bytes = Buffer.from('\u001b[2Jcleared \u001b[31mred\u001b[0m \u0000 \u001b]0;title\u0007\n漢');
      await begin(async (job) => {
        job.write('stdout', Buffer.concat([bytes, Buffer.from([0xff, 0x0a])]));
        return { state: 'COMPLETED' };
      });
      expect((await logs()).stdout).toBe(
        Buffer.concat([bytes, Buffer.from([0xff, 0x0a])]).toString('latin1'),
      );
      const shown = async (...args: string[]): Promise<string> => {
        const line = [process.execPath, program, 'logs', ...args, 'job-fake0'].join(' ');
        const { stdout } = await promisify(execFile)('script', ['-qec', line, '/dev/null'], {
          env: place.environment,
        });
        return stdout.replaceAll('\r', '');
      };
      const text = '\\x1b[2Jcleared \u001b[31mred\u001b[0m \\x00 \\x1b]0;title\\x07\n漢\\xff\n';
      expect(await shown()).toBe(`${text}\u001b[0m`);
      expect(await shown('-f')).toBe(`${text}\u001b[0m`);
      expect(await shown('--raw')).toContain('\u001b[2Jcleared');
    },
  );
});
