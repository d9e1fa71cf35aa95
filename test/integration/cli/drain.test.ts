// drain and resume against a real scheduler with a fake node.
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectFake, enrolFake, type FakeAgent } from '../../fakes/agent.ts';
import { ascendRecord, deviceRecord, faultyRecord } from '../../fakes/device.ts';
import { type Bed, startBed } from '../scheduler/bed.ts';
import { buildIfStale, createPlace, flopd, type Place } from './command-line.ts';

describe('flopd drain and resume', () => {
  let bed: Bed;
  let agent: FakeAgent;
  let place: Place;
  beforeAll(buildIfStale);
  beforeEach(async () => {
    bed = await startBed();
    const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile);
    const devices = [deviceRecord(0), ascendRecord(1), faultyRecord(ascendRecord(2), 'resetNeeded')];
    agent = await connectFake({ url: bed.url, identity, devices });
    place = createPlace(bed.url);
  });
  afterEach(async () => {
    agent.socket.terminate();
    place.remove();
    await bed.close();
  });
  const call = async (...args: string[]) => {
    const { code, stdout, stderr } = await flopd(place, args, { FLOPD_TOKEN_FILE: bed.scheduler.tokenFile });
    return { code, out: stdout.toString().trimEnd(), error: stderr.trimEnd() };
  };

  it('keep jobs away from one device and let them come again', async () => {
    const { id } = await bed.submit({ resources: { accelerators: { count: 1, match: 'ascend' } } });
    await agent.next('start');
    expect(await call('drain', 'node-a/ascend:1', '--reason', 'fan', '--for', '2h')).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /^node-a\/NPU-1 takes no new jobs until 20\d\d-\S+Z; job-\S+ still runs there$/,
      ),
    });
    const cordon = (await bed.node('node-a')).devices.find((one) => one.id === 'NPU-1')?.cordon;
    expect((cordon?.untilMs ?? 0) - (cordon?.sinceMs ?? 0)).toBe(7_200_000);
    expect(await call('resume', 'node-a', '--device', 'NPU-1')).toMatchObject({
      code: 0,
      out: 'node-a/NPU-1 takes new jobs',
    });
    expect((await bed.job(id)).state).toBe('STARTING');
  });

  it('keep jobs away from a whole node', async () => {
    expect((await call('drain', 'node-a', '--reason', 'new driver')).out).toBe(
      'node-a takes no new jobs until it is resumed; no job runs there',
    );
    expect(await bed.node('node-a')).toMatchObject({ takesJobs: false, cordon: { reason: 'new driver' } });
    expect((await call('resume', 'node-a/nvidia:0')).out).toBe(
      'node-a/GPU-0 is resumed, but the whole of node-a is drained by local (new driver)',
    );
    expect((await call('resume', 'node-a')).out).toBe('node-a takes new jobs');
  });

  it('say what else keeps jobs away', async () => {
    expect(await call('resume', 'node-a/ascend:2')).toMatchObject({
      code: 1,
      out: 'node-a/NPU-2 is resumed, but takes none: xid-79, it has fallen off the bus; reset it',
    });
  });

  it('take the first letters of an id, four at least: fewer could be a slip', async () => {
    const { id } = await bed.node('node-a');
    const start = id.slice(0, 'node-7k3m'.length);
    expect((await call('drain', start, '--reason', 'x')).out).toMatch(/^node-a takes no new jobs/);
    expect((await call('resume', start)).code).toBe(0);
    expect(await call('drain', start.slice(0, -1), '--reason', 'x')).toMatchObject({
      code: 1,
      error: expect.stringContaining('four letters or more'),
    });
    expect((await bed.node('node-a')).takesJobs).toBe(true);
  });

  it.each([
    [['drain', 'node-a'], 2, '--reason'],
    [['drain', 'node-a/', '--reason', 'x'], 2, 'device'],
    [['drain', '/0', '--reason', 'x'], 2, 'node'],
    [['drain', 'node-a', '--reason', 'x', '--for', '2'], 2, '--for'],
    [['drain', 'node-a/nvidia:0', '--device', 'NPU-1', '--reason', 'x'], 2, 'named twice'],
    [['drain', 'node-x', '--reason', 'x'], 1, 'there is no node "node-x"'],
    [['drain', 'node', '--reason', 'x'], 1, 'there is no node "node"'],
    [['drain', 'node-a/nvidia:9', '--reason', 'x'], 1, 'name one of nvidia:0, ascend:1 and ascend:2'],
  ])('%j is refused with %i and names %s', async (args, code, text) => {
    const ended = await call(...args);
    expect(ended.code).toBe(code);
    expect(ended.error).toContain(text);
    expect(ended.error.split('\n')).toHaveLength(1);
  });
});
