// The vendor ascend over a fake DCMI that fails: codes, lost chips, values without sense, events by the thousand.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  buildAscend,
  calls,
  chip,
  chip910b3,
  drive,
  hasAsan,
  type Listed,
  MEBI,
  type Read,
  readAll,
  removeAscend,
  two910b3,
} from './ascend-bed.ts';

afterAll(removeAscend);

describe.skipIf(!hasAsan)(hasAsan ? 'ascend in trouble' : 'ascend in trouble (skipped: no libasan)', () => {
  beforeAll(buildAscend, 120_000);

  it.each([
    [-8001, 'unsupported'],
    [-8002, 'denied'],
    [-8003, 'error'],
    [-8005, 'unsupported'],
    [-8006, 'late'],
    [-8007, 'lost'],
    [-8009, 'error'],
    [-8012, 'lost'],
    [-8013, 'unsupported'],
    [-8017, 'late'],
    [-8255, 'unsupported'],
    [-12345, 'error'],
  ])('takes %i of one call for %s, and goes on with the others', (code, reason) => {
    const script = [...chip910b3, `error dcmi_get_device_power_info ${code}`];
    expect(readAll(script).values).toMatchObject({ POWER: reason, TEMPERATURE: 66, BUSY: 0.57 });
  });

  it('takes an internal error for one where the call had worked, and for lack where it never did', () => {
    const broken = [...chip910b3, 'error dcmi_get_device_power_info -8005'];
    const [, , , , after] = drive(chip910b3, ['open', 'list', 'read 0 0', broken, 'read 0 0']) as Read[];
    expect(after?.values.POWER).toBe('error');
  });

  it('does not ask again for what can never be had', () => {
    const script = [...chip910b3, 'error dcmi_get_device_power_info -8255'];
    drive(script, ['open', 'list', ...Array.from({ length: 5 }, () => 'read 0 0')]);
    expect(calls.get('dcmi_get_device_power_info')?.calls).toBe(1);
    expect(calls.get('dcmi_get_device_temperature')?.calls).toBe(5);
  });

  it.each([
    [['gone 0'], ['deviceLost', 'deviceLost', 'deviceLost'], /the chip is gone/],
    [['error * -8002 0'], ['denied', 'denied', 'denied'], /no permission/],
    [['error * -8012 0'], ['deviceLost', 'deviceLost', 'deviceLost'], /not ready/],
    [['error * -8005 0'], ['failed', 'failed', 'failed'], /internal error/],
    [['error * -8006 0'], ['ok', 'ok', 'ok'], /did not answer in time/],
    // One failed ioctl is no proof, a row of them is.
    [['error * -8009 0'], ['failed', 'failed', 'deviceLost'], /does not reach/],
    [['error * -8005'], ['vendorLost', 'vendorLost', 'vendorLost'], /list of cards/],
  ])('says what it means when every call fails: %s', (failure, outcomes, problem) => {
    const script = two910b3;
    const orders = ['open', 'list', 'read 0 0', 'read 0 1', 'read 0 2', [...script, ...failure]];
    const after = ['read 0 0', 'read 0 1', 'read 0 0', ...(failure[0]?.endsWith(' 0') ? ['read 1 0'] : [])];
    const answers = drive(script, [...orders, ...after, script, 'list', 'read 0 0']);
    const reads = answers.slice(6, 9) as Read[];
    expect(reads.map(({ outcome }) => outcome)).toEqual(outcomes);
    expect(reads[0]?.problem).toMatch(problem);
    // Its sibling is well all the while, and it comes back by itself.
    if (after.length === 4) expect(answers[9]).toMatchObject({ outcome: 'ok', values: { BUSY: 0.57 } });
    expect(answers.at(-1)).toMatchObject({
      outcome: 'ok',
      values: { BUSY: 0.57, POWER: expect.closeTo(331.1, 9) },
    });
  });

  it('says late, not nothing, when the chip does not answer in time', () => {
    const late = [...chip910b3, 'error * -8006 0'];
    const answers = drive(chip910b3, ['open', 'list', 'read 0 0', late, 'read 0 0']);
    expect((answers[4] as Read).values).toMatchObject({ BUSY: 'late', POWER: 'late', CLOCK: 'late' });
  });

  it('lists again what it knew, with the same ids, while the driver or the chip does not answer', () => {
    const script = two910b3;
    const answers = drive(script, [
      ...[
        'open',
        'list',
        [...script, 'error * -8009 0'],
        'list',
        [...script, 'error dcmi_get_card_list -8009'],
        'list',
      ],
      ...[[...script, 'error dcmi_get_card_list -8006'], 'list', chip910b3, 'list', script, 'list'],
    ]);
    const [first, , broken, , gone, , slow, , fewer, , back] = answers.slice(1) as Listed[];
    expect(broken).toEqual(first);
    expect([gone?.outcome, slow?.outcome]).toEqual(['vendorLost', 'failed']);
    expect(fewer?.devices).toEqual(first?.devices.slice(0, 1));
    expect(back).toEqual(first);
  });

  it('keeps the id of a chip whose die was not told in the beginning, and learns the rest later', () => {
    const dumb = [...chip910b3, 'error * -8006 0'];
    const answers = drive(dumb, ['open', 'list', chip910b3, 'list', 'list']) as Listed[];
    expect(answers[1]?.devices).toMatchObject([{ id: 'npu-0-0', name: '', busId: '' }]);
    expect(answers[3]?.devices).toMatchObject([
      { id: 'npu-0-0', name: '910B3', busId: '0000:01:00.0', units: 20 },
    ]);
    expect(answers[4]).toEqual(answers[3]);
  });

  it('goes by the place on the bus where the die says nothing or is not its own', () => {
    const blank = drive([...chip910b3, 'device * die 0 0 0 0 0'], ['open', 'list'])[1] as Listed;
    expect(blank.devices[0]?.id).toBe('npu-0000:01:00.0');
    const same = drive(['set count 3', ...chip, 'device * die 1 2 3 4 5'], ['open', 'list'])[1] as Listed;
    expect(new Set(same.devices.map(({ id }) => id)).size).toBe(3);
  });

  it.each([
    ['power -1', 'POWER', 'unsupported'],
    ['power 0x7FFFFFFF', 'POWER', 'unsupported'],
    ['power 60000', 'POWER', 'error'],
    ['temperature 0x7FFF', 'TEMPERATURE', 'unsupported'],
    ['temperature -273', 'TEMPERATURE', 'error'],
    ['temperature -20', 'TEMPERATURE', -20],
    ['multi 101 7 57 63', 'ENGINE_CUBE', 'error'],
    ['multi 61 7 4294967295 63', 'BUSY', 'unsupported'],
    ['multi 61 7 0 63', 'BUSY', 0],
    ['clock 0', 'CLOCK', 'error'],
    ['clock 0xFFFF', 'CLOCK', 'unsupported'],
    ['hbmUsed 65537', 'MEMORY_USED', 'error'],
    ['hbmUsed 65535', 'MEMORY_USED', 65535 * MEBI],
    ['hbmSize 0xFFFFFFFFFFFFFFFF', 'MEMORY_TOTAL', 'error'],
    ['hbmTemperature 0x7FFF', 'MEMORY_TEMPERATURE', 'unsupported'],
    ['hbmBandwidth 500', 'MEMORY_BUSY', 'unsupported'],
    ['hbmClock 0', 'MEMORY_CLOCK', 'error'],
    ['rating 20', 'POWER_LIMIT', 'error'],
    ['ecc.2 1 0 0 65535 32767 0 0', 'ECC_CORRECTED', 65535],
    ['ecc.2 1 0 0 4294967295 0 0 0', 'ECC_CORRECTED', 'unsupported'],
    ['ecc.2 0 0 0 0 0 0 0', 'ECC_UNCORRECTED', 'unsupported'],
  ])('makes nothing of values that mean nothing: %s', (line, number, expected) => {
    const key = line.split(' ')[0] ?? '';
    const script = chip910b3.filter((each) => !each.startsWith(`device * ${key} `));
    expect(readAll([...script, `device * ${line}`]).values[number]).toBe(expected);
  });

  it('takes texts for what they are, and no more', () => {
    const long = 'x'.repeat(31);
    const { devices } = drive(
      [
        ...chip910b3,
        `device 0 name ${long}`,
        'device 0 serial NA',
        'device 0 firmware \u00e9\u00e9',
        'device 0 cores 0',
      ],
      ['open', 'list'],
    )[1] as Listed;
    expect(devices).toMatchObject([{ name: long, serial: '', firmware: '', units: null }]);
  });

  it('keeps 256 processes of a thousand, and none without a pid', () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `device 0 process ${i} 4096`);
    const { processes } = readAll([...chip910b3.filter((line) => !line.includes(' process ')), ...lines]);
    expect(processes).toHaveLength(256);
    expect(processes[0]).toEqual([1, 4096]);
    const none = readAll([
      ...chip910b3.filter((line) => !line.includes(' process ')),
      'device 0 processes none',
    ]);
    expect([none.processes, none.processesAbsent]).toEqual([[], 'present']);
  });

  it('tells faults of each chip, counts what is alike, and leaves recoveries out', () => {
    const script = [...two910b3, 'device 1 logic 7'];
    const storm = [
      ...script,
      'event 1 2 0x80E18400 500',
      'event 1 258 0x80E18400',
      'event 0 1 0x80C98000',
      'event 5 3 7',
    ];
    const answers = drive(script, ['open', 'list', 'wait 1', storm, 'read 0 2', 'gather 1000']);
    expect(answers[2]).toBeNull();
    const { devices } = answers[1] as Listed;
    const events = answers[5] as {
      readonly id: string;
      readonly code: number;
      readonly count: number;
      readonly detail: string;
    }[];
    const sum = (id: unknown, code: number): number =>
      events
        .filter((each) => each.id === id && each.code === code)
        .reduce((total, { count }) => total + count, 0);
    expect(sum(devices[1]?.id, 0x80e18400)).toBe(500);
    expect(sum(devices[0]?.id, 0x80c98000)).toBe(1);
    expect(sum('', 7)).toBe(1);
    expect(events[0]?.detail).toBe('severity 2: event 80e18400 of the fake');
  });

  it('subscribes once, and goes on with the events after the session was opened anew', () => {
    const event = [...chip910b3, 'event 0 2 5'];
    const orders = ['open', 'list', 'close', 'open', 'list', event, 'wait 1000', 'close'];
    expect(drive(chip910b3, orders)[6]).toMatchObject({ code: 5, count: 1 });
    expect(calls.get('dcmi_subscribe_fault_event')?.calls).toBe(1);
  });

  it('bears ten thousand events a second', () => {
    const storm = [...chip910b3, 'storm 10000 0 2 9'];
    const waits = Array.from({ length: 20 }, () => ['wait 200', 'read 0 2']).flat();
    const answers = drive(chip910b3, ['open', 'list', storm, ...waits]);
    const counts = answers
      .slice(3)
      .flatMap((each) =>
        each !== null && typeof each === 'object' && 'count' in each ? [Number(each.count)] : [],
      );
    expect(counts.length).toBeGreaterThan(10);
  });
});
