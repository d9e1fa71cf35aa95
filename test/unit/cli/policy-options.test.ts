import { describe, expect, it } from 'vitest';
import { createLinePrefixer } from '../../../src/cli/array-output.ts';
import type { Client } from '../../../src/cli/client.ts';
import { memberExitCode } from '../../../src/cli/exit-code.ts';
import { readDependencies, readPolicies } from '../../../src/cli/policy-options.ts';
import type { MemberView } from '../../../src/protocol/api.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';

describe('flags for how a job goes on', () => {
  it.each([
    [{ array: '0-99' }, { array: { first: 0, last: 99, maxRunning: null } }],
    [{ array: '7' }, { array: { first: 7, last: 7, maxRunning: null } }],
    [{ array: '1-500%20' }, { array: { first: 1, last: 500, maxRunning: 20 } }],
    [{ retry: '3' }, { retry: { times: 3 } }],
    [
      { retry: '2:failed,out-of-memory,failed', retryDelay: '30s' },
      { retry: { times: 2, on: ['failed', 'outOfMemory'], delayMs: 30_000 } },
    ],
    [{ disconnect: 'keep' }, { disconnect: { policy: 'keep' } }],
    [{ disconnect: 'stop' }, { disconnect: { policy: 'stop', afterMs: 0 } }],
    [{ disconnect: 'stop:5m' }, { disconnect: { policy: 'stop', afterMs: 300_000 } }],
    [{ keepWorkspace: 'failed:1h' }, { keepWorkspace: { when: 'failed', forMs: 3_600_000 } }],
    [{ keepWorkspace: 'always' }, { keepWorkspace: { when: 'always', forMs: 86_400_000 } }],
    [{ checkpoint: 'SIGUSR1@60s' }, { checkpoint: { signal: 'SIGUSR1', beforeMs: 60_000 } }],
    [{ checkpoint: 'term@1m' }, { checkpoint: { signal: 'SIGTERM', beforeMs: 60_000 } }],
  ])('%j are read', (flags, policies) => {
    expect(readPolicies(flags)).toEqual(policies);
    expect(
      jobSpecSchema.safeParse({ version: 1, command: ['x'], timeLimitMs: 3_600_000, ...policies }).success,
    ).toBe(true);
  });

  it.each([
    [{ array: '' }, '--array'],
    [{ array: '1,3' }, '--array'],
    [{ array: '0-9%0' }, '--array'],
    [{ retry: 'often' }, '--retry'],
    [{ retry: '101' }, '--retry'],
    [{ retry: '1:oom' }, '--retry'],
    [{ retryDelay: '1s' }, '--retry-delay'],
    [{ retry: '1', retryDelay: '2h' }, '--retry-delay'],
    [{ disconnect: 'leave' }, '--disconnect'],
    [{ disconnect: 'stop:' }, '--disconnect'],
    [{ keepWorkspace: 'sometimes' }, '--keep-workspace'],
    [{ keepWorkspace: 'failed:90d' }, '--keep-workspace'],
    [{ checkpoint: 'SIGKILL@1s' }, '--checkpoint'],
    [{ checkpoint: 'USR1' }, '--checkpoint'],
  ])('%j are wrong usage that names %s', (flags, flag) => {
    expect(() => readPolicies(flags)).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(new RegExp(`^${flag}: `)) }),
    );
  });

  it('--after takes starts of ids, of jobs and arrays, and says how they are to end', async () => {
    const client: Pick<Client, 'find'> = { find: async (id) => ({ id: `${id}-whole` }) as never };
    expect(await readDependencies(['job-7k', 'arr-3:ended'], client as Client)).toEqual([
      { job: 'job-7k-whole', condition: 'completed' },
      { job: 'arr-3-whole', condition: 'ended' },
    ]);
    await expect(readDependencies(['job-7k:soon'], client as Client)).rejects.toMatchObject({
      code: 'USAGE',
    });
  });
});

describe('the jobs of an array on the command line', () => {
  it('have each line of output behind their index, however the bytes come, and a last line that ends', async () => {
    for (const size of [1, 2, 3, 100]) {
      const written: Uint8Array[] = [];
      const prefixer = createLinePrefixer('[3] ', async (bytes) => void written.push(bytes));
      const bytes = Buffer.from('one\n\ntwo é');
      for (let at = 0; at < bytes.length; at += size) await prefixer.push(bytes.subarray(at, at + size));
      await prefixer.end();
      expect(Buffer.concat(written).toString()).toBe('[3] one\n[3] \n[3] two é\n');
    }
  });

  it('end with codes as jobs of their own do', () => {
    const member = (change: Partial<MemberView>): MemberView => ({
      index: 0,
      id: 'job-x',
      state: 'FAILED',
      reason: '',
      epoch: 1,
      endKind: 'exited',
      exitCode: null,
      signal: null,
      stdoutBytes: 0,
      stderrBytes: 0,
      ...change,
    });
    expect(memberExitCode(member({ state: 'COMPLETED', exitCode: 0 }))).toBe(0);
    expect(memberExitCode(member({ exitCode: 7 }))).toBe(7);
    expect(memberExitCode(member({ endKind: 'signalled', signal: 9 }))).toBe(137);
    expect(memberExitCode(member({ state: 'CANCELLED', endKind: null }))).toBe(143);
    expect(memberExitCode(member({ state: 'LOST', endKind: 'lost' }))).toBe(125);
    const missing = 'failed to start: "nosuch": no such file or directory (ENOENT)';
    expect(
      memberExitCode(member({ state: 'FAILED_TO_START', endKind: 'failedToStart', reason: missing })),
    ).toBe(127);
  });
});
