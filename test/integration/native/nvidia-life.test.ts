// NVIDIA's file over the fake NVML, under the sanitizers: what goes and comes back, partitions, counters, events, hangs.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readCalls } from '../../fakes/vendor/build.ts';
import { at, busIds, createNvidiaHarness, gib, gpm, hasAsan, ids, machine, mig } from './nvidia-machine.ts';
import type { Step } from './vendor-harness.ts';

describe.skipIf(!hasAsan)(
  hasAsan ? 'nvidia over time' : 'nvidia over time (skipped: no libasan)',
  { timeout: 60_000 },
  () => {
    const { whole, play, remove } = createNvidiaHarness();
    afterAll(remove);

    it('stops asking a device that is lost, keeps its identity, and has it back', () => {
      const calls = join(whole().folder, 'calls-lost');
      const lost = [...machine, 'gone 0'];
      const answers = whole().play(
        [machine, 'open', 'list', 'round', lost, 'list', 'round', machine, 'list', 'round', 'close'],
        [],
        { FLOPD_FAKE_NVML_CALLS: calls },
      );
      const [, first, , during, gone, after, back] = answers;
      expect(during?.outcome).toBe('ok');
      expect(during?.devices).toEqual(first?.devices);
      expect(after?.devices).toEqual(first?.devices);
      expect(gone?.devices.map(({ outcomes }) => outcomes)).toEqual([
        ['deviceLost', 'deviceLost', 'deviceLost'],
        ['ok', 'ok', 'ok'],
      ]);
      expect(at(back?.devices, 0).outcomes).toEqual(['ok', 'ok', 'ok']);
      // Of the fastest pace only the first call was made: five rounds of two devices, less one.
      expect(readCalls(calls).get('nvmlDeviceGetUtilizationRates')?.calls).toBe(5);
      expect(readCalls(calls).get('nvmlDeviceGetPowerUsage')?.calls).toBe(6);
    });

    it('lists a device that was lost from the beginning, and one that may not be opened', () => {
      const [, list, round] = play([
        [...machine, 'gone 0', 'error nvmlDeviceGetHandleByIndex_v2 4 1'],
        ...['open', 'list', 'round', 'close'],
      ]);
      expect(list?.devices.map(({ id }) => id)).toEqual(['nvidia-0', 'nvidia-1']);
      expect(round?.devices.map(({ outcomes }) => outcomes[0])).toEqual(['deviceLost', 'denied']);
      expect(at(round?.devices, 1).problem).toContain('no permission');
    });

    it('says why the library cannot be used', () => {
      const openWith = (...lines: string[]) => at(play([[...machine, ...lines], 'open', 'close']), 0);
      expect(openWith('error nvmlInit_v2 18')).toMatchObject({ isOpen: false, missing: false });
      expect(openWith('error nvmlInit_v2 18').problem).toContain('version mismatch');
      expect(openWith('error nvmlInit_v2 9').problem).toContain('kernel driver is not loaded');
      expect(openWith('error nvmlInit_v2 4').problem).toContain('no permission');
      expect(openWith('error nvmlDeviceGetCount_v2 999').problem).toContain('nvmlDeviceGetCount: error 999');
      expect(openWith('set count 0').problem).toContain('no devices');
      const lacking = at(play([machine, 'open', 'close'], ['nvmlDeviceGetHandleByIndex_v2']), 0);
      expect(lacking).toMatchObject({ isOpen: false, missing: false });
      expect(lacking.problem).toBe('the library lacks nvmlDeviceGetHandleByIndex_v2');
      const empty = join(whole().folder, 'empty');
      mkdirSync(empty, { recursive: true });
      expect(at(whole().play([machine, 'open', 'close'], [], { LD_LIBRARY_PATH: empty }), 0)).toMatchObject(
        existsSync('/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1') ? {} : { isOpen: false, missing: true },
      );
      writeFileSync(join(empty, 'libnvidia-ml.so.1'), 'no library');
      const broken = at(whole().play([machine, 'open', 'close'], [], { LD_LIBRARY_PATH: empty }), 0);
      expect(broken).toMatchObject({ isOpen: false, missing: false });
      expect(broken.problem).toContain('libnvidia-ml.so.1');
    });

    it('opens again after the driver came back, and says so in between', () => {
      const [, , read, list, closed, again, listed, round] = play([
        ...[machine, 'open', 'list', [...machine, 'error * 9'], 'round', 'list', 'close', 'open'],
        ...[machine, 'open', 'list', 'round', 'close'],
      ] as Step[]);
      expect(at(read?.devices, 0).outcomes).toEqual(['vendorLost', 'vendorLost', 'vendorLost']);
      expect(list).toMatchObject({ outcome: 'vendorLost', devices: [] });
      expect(list?.problem).toContain('driver is not loaded');
      expect([closed?.isOpen, again?.isOpen]).toEqual([false, true]);
      expect(listed?.devices.map(({ id }) => id)).toEqual(ids);
      expect(at(round?.devices, 1).values.POWER).toBe(350.123);
    });

    it('lists MIG instances in the order of their GPU instances, and reads what they have', () => {
      const steps = ['open', 'list', 'round', 'round', 'sleep 160', 'round', 'close'];
      const answers = play([mig, ...steps]);
      const list = answers[1];
      const parts = list?.devices.slice(1) ?? [];
      expect(parts.map(({ index, id, profile, units, lanes }) => [index, id, profile, units, lanes])).toEqual(
        [
          [0, 'MIG-a', '3g.20gb', 42, 2688],
          [1, 'MIG-b', '1c.3g.20gb', 14, 896],
          [2, 'MIG-c', '1g.5gb', 14, 896],
        ],
      );
      const parent = at(list?.devices, 0);
      for (const part of parts)
        expect(part).toMatchObject({
          parent: parent.id,
          busId: busIds[0],
          capability: '8.0',
          hasPipes: true,
        });
      const rounded = answers.at(-1);
      const { values, found, processes, outcomes } = at(rounded?.devices, 3);
      expect(outcomes).toEqual(['ok', 'ok', 'ok']);
      expect(values).toMatchObject({
        MEMORY_TOTAL: 5 * gib,
        MEMORY_USED: 1000,
        PIPE_SM: 0.5,
        PIPE_MEMORY: 0.125,
      });
      expect(values).toMatchObject({ POWER: 'unsupported', BUSY: 'unsupported', TEMPERATURE: 'unsupported' });
      expect(processes).toEqual([[77, 1000]]);
      expect(found.every((each) => each.startsWith('PIPE_'))).toBe(true);
      // The device as a whole is not sampled while it is cut.
      expect(at(rounded?.devices, 0).values.PIPE_SM).toBe('unsupported');
    });

    it('gives pipe ratios from two samples, not before, and PCIe rates with them', () => {
      const calls = join(whole().folder, 'calls-gpm');
      const steps = ['open', 'list', 'round', 'round 0', 'sleep 160', 'round 0', 'round 0', 'close'];
      const answers = whole().play([[...machine, ...gpm], ...steps], [], { FLOPD_FAKE_NVML_CALLS: calls });
      const [first, sampled, computed] = answers.slice(2).map((each) => at(each.devices, 0));
      expect(first?.values).toMatchObject({ PIPE_TENSOR: 'notYet', PCIE_RECEIVE: 'notYet' });
      expect(first?.found).toEqual(expect.arrayContaining(['PIPE_TENSOR', 'PIPE_FP16', 'PCIE_RECEIVE']));
      expect(sampled?.values.PIPE_TENSOR).toBe('notYet');
      expect(computed?.values).toMatchObject({
        ...{ PIPE_GRAPHICS: 0.9, PIPE_SM: 0.805, PIPE_OCCUPANCY: 0.25, PIPE_TENSOR: 0.6125, PIPE_DFMA: 0.01 },
        ...{ PIPE_HMMA: 0.6, PIPE_DMMA: 0.02, PIPE_IMMA: 0, PIPE_MEMORY: 0.33, PIPE_FP64: 0.04 },
        // A little above all is all; one that this device does not know is unsupported.
        ...{
          PIPE_FP32: 1,
          PIPE_FP16: 'unsupported',
          PCIE_TRANSMIT: 10 * 2 ** 20,
          PCIE_RECEIVE: 20 * 2 ** 20,
        },
      });
      const counted = readCalls(calls);
      expect(counted.get('nvmlGpmSampleGet')?.calls).toBe(4);
      expect(counted.get('nvmlDeviceGetPcieThroughput')).toBeUndefined();
      expect(counted.get('nvmlGpmSampleAlloc')?.calls).toBe(counted.get('nvmlGpmSampleFree')?.calls);
    });

    it('finds out once which counters a strict library knows, and takes no nonsense', () => {
      const calls = join(whole().folder, 'calls-strict');
      const script = [
        'set gpmStrict 1',
        ...machine,
        ...gpm,
        'device 0 gpm.2 nan',
        'device 0 gpm.3 140',
        'device 0 gpm.5 -1',
      ];
      const pair = ['sleep 160', 'round 0'];
      const answers = whole().play(
        [script, 'open', 'list', 'round', 'round 0', ...pair, ...pair, 'close'],
        [],
        { FLOPD_FAKE_NVML_CALLS: calls },
      );
      const { values } = at(answers.at(-1)?.devices, 0);
      expect(values).toMatchObject({
        PIPE_SM: 'notYet',
        PIPE_OCCUPANCY: 'error',
        PIPE_TENSOR: 'error',
        PIPE_HMMA: 0.6,
      });
      expect(values.PIPE_FP16).toBe('unsupported');
      // Per device: all at once, each of fourteen alone, the known ones; then the known ones.
      expect(readCalls(calls).get('nvmlGpmMetricsGet')?.calls).toBe(2 * (1 + 14 + 1 + 1));
    });

    it('believes no guest with a share of a device that says it has counters', () => {
      const [, list] = play([[...machine, ...gpm, 'device 0 virtualization 2'], 'open', 'list', 'close']);
      expect(list?.devices.map(({ hasPipes }) => hasPipes)).toEqual([false, true]);
    });

    it('tells Xids and memory errors of the devices that have them', () => {
      const [, wait, more] = play([
        ...[machine, 'open', 'wait 20 1'],
        [...machine, 'event 1 8 79', 'event 0 1 0 3', 'event 0 2 0', 'event 0.5 8 94', 'event 0 4 1'],
        ...['wait 50 6', 'close'],
      ] as Step[]);
      expect(wait?.events).toEqual([]);
      expect(wait?.ms).toBeGreaterThan(55);
      const event = (kind: string, code: number, count: number, device: 0 | 1, detail: string) => ({
        ...{ kind, code, count, id: ids[device], busId: busIds[device], detail },
      });
      expect(more?.events).toEqual([
        event('xid', 79, 1, 1, ''),
        event('ecc', 1, 3, 0, 'single-bit memory error'),
        event('ecc', 2, 1, 0, 'double-bit memory error'),
        event('xid', 94, 1, 0, 'GPU instance 5'),
      ]);
    });

    it('takes ten thousand events a second', () => {
      const [, , wait] = play([
        machine,
        'open',
        'wait 20 1',
        [...machine, 'storm 10000 1 1 0'],
        'wait 50 10000',
        'close',
      ]);
      expect(at(wait?.events, 0)).toMatchObject({ kind: 'ecc', id: ids[1] });
      expect(wait?.events.reduce((sum, each) => sum + Number(each.count), 0)).toBe(10_000);
    });

    it('never spins over a broken set, and hears the others while one device is lost', () => {
      const calls = join(whole().folder, 'calls-events');
      const answers = whole().play(
        [
          ...[
            machine,
            'open',
            'wait 20 1',
            [...machine, 'gone 0'],
            'wait 30 1',
            [...machine, 'gone 0', 'event 1 8 31'],
          ],
          ...['wait 30 1', [...machine, 'error nvmlEventSetWait_v2 999'], 'wait 30 1', 'close'],
        ] as Step[],
        [],
        { FLOPD_FAKE_NVML_CALLS: calls },
      );
      expect(answers[3]?.events).toMatchObject([{ kind: 'xid', code: 31, id: ids[1] }]);
      expect(answers[4]?.waits).toBe(3);
      expect(answers[4]?.ms).toBeGreaterThan(85);
      expect(readCalls(calls).get('nvmlEventSetCreate')?.calls).toBe(
        readCalls(calls).get('nvmlEventSetFree')?.calls,
      );
    });

    it('goes on with the others, and with lists, while a call on one device hangs', () => {
      const hanging = [...machine, 'hang nvmlDeviceGetPowerUsage 60000 0'];
      const [, , during, list, wait, after] = play([
        ...[
          machine,
          'open',
          'list',
          hanging,
          'begin 0 0',
          'sleep 20',
          'round',
          'list',
          'wait 10 1',
          machine,
          'end',
        ],
        ...['round', 'close'],
      ] as Step[]);
      expect(during?.devices.map(({ id, values }) => [id, values.POWER])).toEqual([[ids[1], 350.123]]);
      // The other call hangs for a minute.
      expect(during?.ms).toBeLessThan(20_000);
      expect(list?.devices.map(({ id }) => id)).toEqual(ids);
      expect(wait?.code).toBe(0);
      expect(after?.devices.map(({ values }) => values.POWER)).toEqual([350.123, 350.123]);
    });

    it('reads 64 devices, and longer lists of processes than it keeps', () => {
      const processes = Array.from({ length: 700 }, (_, i) => `device 0 process ${1000 + i} ${i + 1}`);
      const [, , round] = play([
        [...machine, 'set count 64', ...processes].filter((line) => !line.startsWith('device * pcie')),
        'open',
        'list',
        'round',
        'close',
      ]);
      const kept = at(round?.devices, 0).processes;
      expect(kept).toHaveLength(256);
      expect(kept[0]).toEqual([1000, 1]);
      expect(round?.devices).toHaveLength(64);
    });
  },
);
