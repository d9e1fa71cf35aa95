// Jobs that state what their data is, on the built program: where they run, why they wait, what is refused, in words.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Bed, createBed, until } from './bed.ts';

let bed: Bed;
beforeEach(() => {
  bed = createBed();
});
afterEach(() => bed.close());

test('runs where its data may be, says by which rule, and refuses in a sentence what may not', async () => {
  await bed.start(['up', '--place-jurisdiction', 'HK', '--place-city', 'Hong Kong']);
  const run = (...flags: string[]) => bed.run(['run', ...flags, '--', 'sh', '-c', 'echo computed']);

  const home = await run('--name', 'home', '--data-class', 'internal', '--data-origin', 'HK');
  expect(home).toMatchObject({ code: 0, stdout: 'computed\n' });
  const jobs = JSON.parse((await bed.run(['jobs', '-o', 'json'])).stdout) as { jobs: { id: string }[] };
  const shown = await bed.run(['job', jobs.jobs[0]?.id ?? '']);
  expect(shown.stdout).toMatch(/^data +internal data of HK, may be in HK$/m);
  expect(shown.stdout).toMatch(/^data rule +internal data of HK in HK: named by data\.origin$/m);

  // What a revoked key said of the place of the node counts no more; the next one says it before the next order.
  expect((await bed.run(['scheduler', 'key', 'rotate', '--overlap', '0s'])).code).toBe(0);
  expect(await run('--data-class', 'internal', '--data-origin', 'HK')).toMatchObject({ code: 0 });

  // This scheduler would keep its output.
  const foreign = await run('--data-class', 'internal', '--data-origin', 'CN-GD');
  expect(foreign.code).toBe(125);
  expect(foreign.stderr).toContain(
    'data.allowed lets internal data of CN-GD be computed in CN-GD, not in HK',
  );
  const crossing = [
    '--data-class',
    'personal',
    '--data-origin',
    'CN-GD/Shenzhen',
    '--data-allowed',
    'CN-GD,HK',
  ];
  expect((await run(...crossing)).stderr).toContain('only with the number of a filing');
  expect((await run(...crossing, '--data-filing', '17:2020-01-01')).stderr).toContain(
    '17 expired on 2020-01-01',
  );
  const wrong = await run('--data-class', 'internal', '--data-origin', 'hk');
  expect(wrong).toMatchObject({ code: 2 });
  expect(wrong.stderr).toContain('--data-origin');
  const open = await run(
    '--data-class',
    'public',
    '--data-origin',
    'HK',
    '--data-egress',
    'none',
    '--network',
    'host',
  );
  expect(open).toMatchObject({ code: 2 });
  expect(open.stderr).toContain('--network: must be none where data.egress is none');

  // The scheduler may keep it, and its only node takes no personal data unless its operator says so.
  const waiting = await bed.run([
    'run',
    '--detach',
    ...crossing,
    '--data-filing',
    '17:2199-12-31',
    '--',
    'true',
  ]);
  const id = waiting.stdout.trim();
  const reason = await until('the reason', async () => {
    const { stdout } = await bed.run(['job', id]);
    return stdout.includes('no node may have') && stdout;
  });
  expect(reason).toContain('takes no personal data; its operator may add it to policy.classes');
  await bed.run(['cancel', id]);
});

test('takes no job with data where nobody has said where the scheduler stands', async () => {
  await bed.start(['up']);
  const { code, stderr } = await bed.run([
    'run',
    '--data-class',
    'public',
    '--data-origin',
    'HK',
    '--',
    'true',
  ]);
  expect(code).toBe(125);
  expect(stderr).toContain('its operator sets place.jurisdiction');
});
