// Sick chips, from a fake libdcmi to the scheduler: levels of health, error codes, and a job that must leave.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildFake, fakeDcmi, writeScript } from '../fakes/vendor/build.ts';
import { type Bed, createBed, type Daemon, until } from './bed.ts';

const machine = (health: number, ...lines: readonly string[]): string[] => [
  'set count 2',
  'set driver 24.1.rc1',
  'device * name 910B3',
  'device * cores 20',
  'device * multi 61 7 57 63',
  'device * power 3311',
  'device * temperature 66',
  'device * clockRated 1800',
  'device * clock 1800',
  'device * hbmSize 65536',
  'device * hbmUsed 60156',
  'device 0 health 0',
  `device 1 health ${health}`,
  ...lines,
];

interface Device {
  readonly name: string;
  readonly rung: string;
  readonly health: string;
  readonly takesJobs: boolean;
  readonly faults: readonly { code: string }[];
  readonly powerWatts: number | null;
  readonly achievedFlops: number | null;
  readonly achievedMethod: string | null;
  readonly peakFlops: { readonly fp16: number | null };
  readonly heldBy: readonly string[];
}

let bed: Bed;
let up: Daemon;
const play = (...lines: Parameters<typeof machine>): void =>
  writeScript(join(bed.folder, 'script'), machine(...lines));

async function devices(): Promise<readonly Device[]> {
  const token = readFileSync(join(up.endpoint.stateDir, 'scheduler', 'token'), 'utf8').trim();
  const answer = await fetch(`${up.endpoint.url}/v1/nodes`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return ((await answer.json()) as { nodes: { devices: Device[] }[] }).nodes[0]?.devices ?? [];
}
/** Resolves with the chips as they were when it held. */
const sickIs = (what: string, holds: (device: Device) => boolean): Promise<readonly Device[]> =>
  until(what, async () => {
    const all = await devices();
    const sick = all[1];
    return sick !== undefined && holds(sick) && all;
  });

beforeAll(async () => {
  bed = createBed();
  const folder = join(bed.folder, 'lib');
  buildFake(fakeDcmi, folder);
  play(0);
  up = await bed.start(['up', '--retest', '1s', '--kernel-log', 'none'], {
    environment: { LD_LIBRARY_PATH: folder, FLOPD_FAKE_DCMI: join(bed.folder, 'script') },
  });
  await sickIs('the chips are read', ({ powerWatts }) => powerWatts === 331.1);
}, 60_000);
afterAll(() => bed.close());

describe('a chip', () => {
  test('shows what it achieves of its peak, by its cube units', async () => {
    const [, chip] = await sickIs('the achieved rate', ({ achievedFlops }) => achievedFlops !== null);
    expect(chip).toMatchObject({ name: '910B3', health: 'ok', achievedMethod: 'aicube' });
    expect(chip?.peakFlops.fp16).toBeGreaterThan(290e12);
    // 61 % of the cube units' peak at the rated clock.
    expect(chip?.achievedFlops).toBeGreaterThan(0.55 * 290e12);
    expect(chip?.achievedFlops).toBeLessThan(0.65 * 320e12);
  });

  test.each([
    [1, 'warn', 'degraded', true],
    [2, 'noNewJobs', 'degraded', false],
    [3, 'stopJobs', 'failed', false],
  ])(
    'of health level %i: the scheduler sees %s, and its return after the re-test',
    async (level, rung, health, takesJobs) => {
      play(level);
      const [well, sick] = await sickIs(rung, (device) => device.rung === rung);
      expect(sick).toMatchObject({ rung, health, takesJobs });
      expect(well).toMatchObject({ rung: 'ok', health: 'ok' });
      play(0);
      await sickIs('is well again', (device) => device.rung === 'ok');
    },
  );

  test('with an error code that wants the board replaced says so, and its job ends for it', async () => {
    play(0);
    const jobs = ['1', '2'].map(() => bed.spawn(['run', '--accelerators', '1:ascend', '--', 'sleep', '60']));
    await until('both chips are held', async () =>
      (await devices()).every(({ heldBy }) => heldBy.length === 1),
    );
    play(3, 'device 1 code 0x80E18402');
    const [, sick] = await sickIs('replace', (device) => device.rung === 'replace');
    expect(sick?.faults.length).toBeGreaterThan(0);
    const ended = await Promise.race(jobs.map((job) => job.finished()));
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toMatch(/device/i);
    expect((await devices())[0]?.heldBy).toHaveLength(1);
  });
});
