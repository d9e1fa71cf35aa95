// Sick accelerators, from the library to the scheduler: a fake NVML that hangs, loses devices, is unloaded and tells of
// errors, under the built program. Times are those of the promise: a second until the scheduler knows.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildFake, fakeNvml, writeScript } from '../fakes/vendor/build.ts';
import { agentUrl, type Bed, createBed, type Daemon, until } from './bed.ts';

const DEVICES = 4;
const machine = [
  `set count ${DEVICES}`,
  'set driver 580.95.05',
  'device * name NVIDIA H100 80GB HBM3',
  'device * capability 9 0',
  'device * maxClock 1980',
  'device * memoryTotal 85520809984',
  'device * memoryUsed 1048576',
  'device * busy 40',
  'device * power 350000',
  'device * powerLimit 700000',
  'device * temperature 45',
  'device * energy 1000000+350000/s',
];

interface Device {
  readonly index: number;
  readonly id: string;
  readonly rung: string;
  readonly health: string;
  readonly takesJobs: boolean;
  readonly faults: readonly { code: string; active: boolean; count: number }[];
  readonly powerWatts: number | null;
  readonly absent: Readonly<Record<string, string>>;
  readonly heldBy: readonly string[];
}

let bed: Bed;
let up: Daemon;
let script: string;

const play = (...lines: readonly string[]): void => writeScript(script, [...machine, ...lines]);

/** Asks the scheduler itself: the command line takes longer than what is measured. */
async function ask<Answer>(path: string): Promise<Answer> {
  const token = readFileSync(join(up.endpoint.stateDir, 'scheduler', 'token'), 'utf8').trim();
  const answer = await fetch(`${up.endpoint.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
  return (await answer.json()) as Answer;
}

async function node(): Promise<{ readonly state: string; readonly devices: readonly Device[] }> {
  const { nodes } = await ask<{ nodes: { state: string; devices: Device[] }[] }>('/v1/nodes');
  if (nodes[0] === undefined) throw new Error('no node');
  return nodes[0];
}
const devices = async (): Promise<readonly Device[]> => (await node()).devices;

/** Resolves with all devices as they were when it held: a moment later they may be others. */
function deviceIs(
  index: number,
  what: string,
  holds: (device: Device) => boolean,
): Promise<readonly Device[]> {
  return until(`device ${index}: ${what}`, async () => {
    const all = await devices();
    const device = all[index];
    return device !== undefined && holds(device) && all;
  });
}

const isWell = (device: Device): boolean => device.rung === 'ok' && device.powerWatts === 350;
const allWell = async (): Promise<void> => {
  for (let index = 0; index < DEVICES; index += 1) await deviceIs(index, 'is well', isWell);
};

function threads(): number {
  return readdirSync(`/proc/${up.endpoint.pid}/task`).length;
}
function descriptors(): number {
  return readdirSync(`/proc/${up.endpoint.pid}/fd`).length;
}

beforeAll(async () => {
  bed = createBed();
  const folder = join(bed.folder, 'lib');
  buildFake(fakeNvml, folder);
  script = join(bed.folder, 'script');
  play();
  up = await bed.start(['up', '--retest', '1s', '--kernel-log', 'none'], {
    environment: { LD_LIBRARY_PATH: folder, FLOPD_FAKE_NVML: script },
  });
  await allWell();
}, 60_000);
afterAll(() => bed.close());

describe('an Xid', () => {
  test.each([
    [31, 'observe', true],
    [63, 'warn', true],
    [94, 'noNewJobs', false],
    [48, 'stopJobs', false],
  ])('%i: the scheduler sees %s, and the return after the re-test', async (xid, rung, takesJobs) => {
    play(`event 1 8 ${xid}`);
    const [first, second] = await deviceIs(1, rung, (device) => device.rung === rung);
    expect(second).toMatchObject({ rung, takesJobs, faults: [{ code: `xid-${xid}` }] });
    expect(first).toMatchObject({ rung: 'ok', faults: [] });
    play();
    await deviceIs(1, 'is well again', isWell);
  });

  test.each([
    [79, 2],
    [64, 3],
  ])('%i stays until the device was lost and came back', async (xid, index) => {
    play(`event ${index} 8 ${xid}`);
    const rung = xid === 64 ? 'replace' : 'resetNeeded';
    await deviceIs(index, rung, (device) => device.rung === rung);
    play();
    await new Promise((wake) => setTimeout(wake, 2500));
    expect((await devices())[index]?.rung).toBe(rung);
    play(`gone ${index}`);
    await deviceIs(index, 'is lost', (device) => device.absent.powerWatts === 'lost');
    play();
    await deviceIs(index, 'is well again', isWell);
  });

  test('48 ends the job on the device, with the fault as its cause, and no other', async () => {
    const [doomed, other] = [0, 1].map(() =>
      bed.spawn(['run', '--accelerators', '1:nvidia', '--', 'sleep', '60']),
    );
    const held = async () => (await devices()).filter(({ heldBy }) => heldBy.length > 0);
    const running = async () => (await ask<{ jobs: object[] }>('/v1/jobs?state=running')).jobs;
    // Struck before its program runs, a job would be FAILED_TO_START instead.
    await until('two jobs run on a device each', async () => (await running()).length === 2);
    const [victim] = await held();
    play(`event ${victim?.index} 8 48`);
    const ended = await Promise.race([doomed?.finished(), other?.finished()]);
    expect(ended?.code).not.toBe(0);
    const { jobs } = await ask<{ jobs: { id: string; state: string; devices: string[] }[] }>('/v1/jobs');
    const failed = jobs.filter(({ state }) => state === 'FAILED');
    expect(failed, JSON.stringify(jobs)).toHaveLength(1);
    expect(failed[0]?.devices).toEqual([victim?.id]);
    expect(JSON.stringify(failed[0])).toContain('xid-48');
    expect(jobs.filter(({ state }) => state === 'RUNNING')).toHaveLength(1);
    for (const job of jobs.filter(({ state }) => state === 'RUNNING')) await bed.run(['cancel', job.id]);
    play();
    await allWell();
  });
});

describe('the library', () => {
  test('hangs on one device for a minute: late there, siblings and heartbeat go on, no thread stays', async () => {
    const before = { threads: threads(), descriptors: descriptors() };
    play('hang nvmlDeviceGetPowerUsage 60000 1');
    const [, second] = await deviceIs(1, 'is late', ({ absent, rung }) => {
      return absent.powerWatts === 'late' && rung === 'noNewJobs';
    });
    expect(second).toMatchObject({ faults: [{ code: 'device-late' }] });
    for (const sibling of [0, 2]) await deviceIs(sibling, 'goes on', isWell);
    expect((await node()).state).toBe('ready');
    // The script without the line ends the call.
    play();
    await allWell();
    await until('the threads are as before', () => threads() <= before.threads);
    await until('the descriptors, too', () => descriptors() <= before.descriptors + 2);
  });

  test('loses a device: lost, and back', async () => {
    play('gone 2');
    const all = await deviceIs(2, 'is lost', ({ absent, rung }) => {
      return absent.powerWatts === 'lost' && rung === 'resetNeeded';
    });
    expect(all[2]).toMatchObject({ health: 'failed' });
    await deviceIs(1, 'is well', isWell);
    play();
    await allWell();
  });

  test('is unloaded and comes back: every device is absent as lost, and returns without a restart', async () => {
    play('error * 9');
    for (let index = 0; index < DEVICES; index += 1)
      await deviceIs(index, 'is lost', (device) => device.absent.powerWatts === 'lost');
    const [first] = await deviceIs(0, 'takes no new jobs', ({ rung }) => rung === 'noNewJobs');
    expect(first).toMatchObject({ faults: [{ code: 'driver-lost' }] });
    play();
    await allWell();
  });

  test('tells of ten thousand ECC errors a second: one fault with a count, and all else goes on', async () => {
    play('storm 10000 0 2 0');
    await deviceIs(0, 'has errors', ({ faults }) =>
      faults.some(({ code }) => code === 'ecc-uncorrected-event'),
    );
    // A loop that stands still answers none of them. The machine is shared with other tests: no figure is asked for.
    for (let asked = 0; asked < 100; asked += 1)
      expect((await fetch(agentUrl(up, 'healthz'), { signal: AbortSignal.timeout(20_000) })).status).toBe(
        200,
      );
    const [stormy] = await devices();
    expect(stormy?.faults.filter(({ code }) => code.startsWith('ecc-'))).toHaveLength(1);
    await deviceIs(1, 'is well', isWell);
    play();
    await allWell();
  });
});
