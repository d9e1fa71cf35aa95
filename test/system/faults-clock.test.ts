// F41: the wall clock jumps by an hour, there and back, while jobs run. The daemons run under libfaketime, which moves
// their wall clock and leaves the monotonic one alone; shims and jobs have environments of their own and see real time.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Bed, createBed, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

const library = readdirSync('/usr/lib')
  .map((folder) => `/usr/lib/${folder}/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

test.skipIf(library === undefined)(
  'a wall clock that jumps by an hour ends no job, stretches no limit and makes no time negative',
  async () => {
    const offset = join(bed.folder, 'offset');
    const jump = (seconds: string): void => writeFileSync(offset, `${seconds}\n`);
    jump('+0');
    await bed.start(['up'], {
      environment: {
        LD_PRELOAD: library ?? '',
        FAKETIME_TIMESTAMP_FILE: offset,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      },
    });
    const small = ['--cpus', '0.1'];
    const gate = join(bed.folder, 'gate');
    const gated = `while [ ! -e ${gate} ]; do sleep 0.1; done`;
    const leased = await submit(
      bed,
      ...small,
      '--disconnect',
      'stop:60s',
      '--',
      'sh',
      '-c',
      `${gated}; exit 6`,
    );
    const free = await submit(bed, ...small, '--', 'sh', '-c', `env; ${gated}; exit 7`);
    for (const id of [leased, free]) await untilState(bed, id, 'RUNNING');
    const limited = await submit(bed, ...small, '--time-limit', '4s', '--', 'sleep', '600');
    jump('+3600');
    await until('the scheduler has seen the jump', async () => {
      const { stdout } = await bed.run(['job', await submit(bed, '--', 'true'), '-o', 'json']);
      const { submittedAt } = JSON.parse(stdout) as { submittedAt: string };
      return Date.parse(submittedAt) > Date.now() + 3_000_000;
    });
    jump('-3600');
    await untilState(bed, limited, 'TIMEOUT');
    writeFileSync(gate, '');
    const ends = {
      limited: await untilState(bed, limited, 'TIMEOUT'),
      leased: await untilState(bed, leased, 'FAILED'),
      free: await untilState(bed, free, 'FAILED'),
    };
    expect(ends.limited.result?.usage.durationMs).toBeGreaterThan(3500);
    expect(ends.leased.result).toMatchObject({ exitCode: 6, endKind: 'exited' });
    expect(ends.free.result).toMatchObject({ exitCode: 7, endKind: 'exited' });
    for (const { result } of Object.values(ends)) {
      // Neither less than there was, nor an hour more.
      expect(result?.usage.durationMs).toBeGreaterThan(3500);
      expect(result?.usage.durationMs).toBeLessThan(1_800_000);
    }
    // The jobs themselves are not touched by what surrounds the agent.
    const logs = await bed.run(['logs', free]);
    expect(logs.stdout).not.toContain('FAKETIME');
    expect((await readJob(bed, free)).epoch).toBe(1);
  },
);
