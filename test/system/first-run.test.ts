import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Bed, createBed, until } from './bed.ts';
import { readJobs } from './job-view.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

const units: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };

describe('the first run', () => {
  test('says where and how, and runs an example of known FLOP', async () => {
    const up = await bed.start(['up', '--example']);
    expect(up.endpoint.stateDir).toBe(bed.stateDir);
    expect(up.endpoint.pid).toBe(up.pid);

    const text = await until(
      'the end line of the example',
      () => {
        const told = up.stdout() + up.stderr();
        return /FLOPS achieved/.test(told) && told;
      },
      60_000,
    );
    expect(text).toContain(`dashboard: ${up.endpoint.url}/`);
    // The line that it prints works as it stands, in another shell of the same user.
    const submit = /^submit: +(?<line>.+)$/m.exec(text)?.groups?.line ?? '';
    expect(submit).toMatch(/ run .*-- /);
    const environment = { PATH: process.env.PATH, HOME: bed.folder, FLOPD_STATE_DIR: bed.stateDir };
    expect(execFileSync('sh', ['-c', submit], { env: environment, encoding: 'utf8' })).toBe('hello\n');

    const line = text.split('\n').find((each) => each.includes('FLOPS achieved')) ?? '';
    const flop = /(?<number>[\d.]+) ?(?<unit>[kMGTP]?)FLOP done/.exec(line)?.groups;
    const rate = /(?<number>[\d.]+) ?(?<unit>[kMGTP]?)FLOPS achieved/.exec(line)?.groups;
    const seconds = /(?<number>\d+(?:\.\d+)?) ?s\b/.exec(line)?.groups;
    expect(flop, line).toBeDefined();
    expect(rate, line).toBeDefined();
    expect(seconds, line).toBeDefined();
    // Joules, or the reason why there are none.
    expect(line).toMatch(/[\d.]+ ?[kMG]?J\b|no power source: \S+/);

    const job = (await readJobs(bed)).find(({ id }) => line.includes(id));
    expect(job?.state).toBe('COMPLETED');
    const done = job?.result?.usage.flop ?? 0;
    const durationMs = job?.result?.usage.durationMs ?? 0;
    expect(done).toBeGreaterThan(1e8);
    const shown = Number(flop?.number) * (units[flop?.unit ?? ''] ?? 0);
    expect(Math.abs(shown / done - 1)).toBeLessThan(0.01);
    // The process also starts and ends, so the rate over the compute time is no smaller than over the whole.
    const achieved = Number(rate?.number) * (units[rate?.unit ?? ''] ?? 0);
    expect(achieved).toBeGreaterThan((done / (durationMs / 1000)) * 0.98);
    expect(achieved).toBeLessThan(1e13);
  });

  test('answers its own client verbs without a word of configuration, and ends cleanly at SIGTERM', async () => {
    const up = await bed.start(['up']);
    const nodes = await bed.run(['nodes', '-o', 'json']);
    expect(nodes.code, nodes.stderr).toBe(0);
    expect(JSON.parse(nodes.stdout).nodes).toMatchObject([{ state: 'ready' }]);
    const hello = await bed.run(['run', '--', 'echo', 'hello']);
    expect(hello).toMatchObject({ code: 0, stdout: 'hello\n' });

    up.kill('SIGTERM');
    const end = await up.finished();
    expect(end.signal ?? end.code).toBe(0);
    const after = await bed.run(['nodes']);
    expect(after.code).toBe(1);
    expect(after.stderr.trim().split('\n')).toHaveLength(1);
  });

  test('starts no job without the token', async () => {
    const up = await bed.start(['up']);
    const body = JSON.stringify({ version: 1, command: ['true'] });
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: 'Bearer ' }]) {
      const answer = await fetch(`${up.endpoint.url}/v1/jobs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
      });
      expect(answer.status).toBe(401);
    }
    expect(await readJobs(bed)).toEqual([]);
  });
});
