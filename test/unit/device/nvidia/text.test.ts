import { describe, expect, it } from 'vitest';
import { withMigList } from '../../../../src/device/nvidia/list.ts';
import { failureOf, parseNvidiaText } from '../../../../src/device/nvidia/text.ts';
import { absenceOf, measure, percent } from '../../../../src/device/nvidia/value.ts';
import { judgeEvent, judgeXid } from '../../../../src/device/nvidia/xid.ts';
import { nvidia } from '../../../../src/device/nvidia.ts';
import { apps, csv, linkState, list, log, monitor, processMonitor, table, topology } from './texts.ts';

const MIB = 1024 * 1024;

describe('the long form', () => {
  const [first, slice, second] = parseNvidiaText(log);

  it('tells numbers in base units, and what is absent with its reason', () => {
    expect(first).toMatchObject({
      index: 0,
      id: 'GPU-11111111-2222-3333-4444-555555555555',
      busId: '00000000:17:00.0',
      driverVersion: '570.12.34',
      firmwareVersion: '92.00.45.00.06',
      serial: '13579',
      nodeNumber: 1,
      facts: { maxClockHertz: 2.52e9 },
    });
    expect(second?.numbers).toEqual({
      values: {
        memoryTotalBytes: 46068 * MIB,
        memoryUsedBytes: 701 * MIB,
        busyRatio: 0.63,
        memoryBusyRatio: 0.21,
        powerWatts: 211.55,
        powerLimitWatts: 350,
        energyCounterJoules: 'unsupported',
        temperatureCelsius: 58,
        memoryTemperatureCelsius: 'unsupported',
        clockHertz: 2.52e9,
        memoryClockHertz: 9.001e9,
        eccCorrectedTotal: 12,
        eccUncorrectedTotal: 3,
        fanRatio: 0.3,
        pcieReplaysTotal: 5,
        pcieReceiveBytesPerSecond: 350 * 1024,
        pcieTransmitBytesPerSecond: 700 * 1024,
      },
      engineBusyRatio: { encoder: 0.04 },
      throttledRatio: { powerCap: 1, hwSlowdown: 1, swThermal: 0, hwThermal: 1, powerBrake: 0 },
    });
    expect(second?.processes).toEqual([{ pid: 4242, memoryBytes: 700 * MIB, name: 'python3' }]);
  });

  it('tells conditions', () => {
    expect(second?.conditions.map(({ code, rung }) => [code, rung])).toEqual([
      ['row-remap-pending', 'warn'],
      ['throttled-thermal', 'warn'],
      ['pcie-width', 'observe'],
    ]);
  });

  it('has instances, which the list names', () => {
    expect(slice).toMatchObject({ parentId: first?.id, profile: null, facts: { units: 42 } });
    expect(withMigList(parseNvidiaText(log), list)[1]).toMatchObject({
      id: 'MIG-aaaaaaaa-0000-0000-0000-000000000001',
      profile: '3g.40gb',
      numbers: { values: { memoryTotalBytes: 40192 * MIB } },
    });
  });
});

describe('the other forms', () => {
  it('table: devices, instances and processes', () => {
    const readings = parseNvidiaText(table);
    expect(readings.map(({ id, parentId }) => [id, parentId])).toEqual([
      ['00000000:17:00.0', null],
      ['00000000:B1:00.0', null],
      ['MIG-00000000:17:00.0/2/0', '00000000:17:00.0'],
      ['MIG-00000000:17:00.0/9/0', '00000000:17:00.0'],
    ]);
    expect(readings[1]).toMatchObject({
      name: 'NVIDIA L40S',
      numbers: { values: { powerWatts: 211, busyRatio: 0.63, fanRatio: 0.3 } },
      conditions: [{ code: 'ecc-uncorrected' }],
      processes: [{ pid: 4242 }],
    });
  });

  it('CSV: with units, and without them', () => {
    const bare = csv.replace(/(\d) (MiB|%|W|MHz)(?=,|$)/gm, '$1');
    expect(bare).not.toBe(csv);
    expect(parseNvidiaText(bare)).toEqual(parseNvidiaText(csv));
    expect(parseNvidiaText(csv)[1]).toMatchObject({
      facts: { computeCapability: '8.9' },
      numbers: {
        values: { powerWatts: 'error', memoryTemperatureCelsius: 'unsupported', eccUncorrectedTotal: 3 },
      },
    });
  });
});

describe('the table of devices that have less to tell', () => {
  const bar = '+-----------------------------------------+------------------------+----------------------+';
  const head = `| NVIDIA-SMI 580.77                 Driver Version: 580.77         CUDA Version: 13.0     |
${bar}
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|=========================================+========================+======================|`;
  const of = (...lines: string[]): string => [head, ...lines, bar, ''].join('\n');

  it('memory that is the host’s is absent, not zero', () => {
    const [device, ...others] = parseNvidiaText(
      of(
        '|   0  NVIDIA Thor                    Off |   00000000:01:00.0 Off |                  N/A |',
        '| N/A   37C  N/A             N/A  /  N/A  | Not Supported          |      7%      Default |',
      ),
    );
    expect(others).toEqual([]);
    expect(device).toMatchObject({ name: 'NVIDIA Thor', busId: '00000000:01:00.0', id: '00000000:01:00.0' });
    expect(device?.numbers.values).toMatchObject({
      memoryTotalBytes: 'unsupported',
      memoryUsedBytes: 'unsupported',
      powerWatts: 'unsupported',
      temperatureCelsius: 37,
      busyRatio: 0.07,
    });
  });

  it('a device that is on no bus goes by its number', () => {
    const [device] = parseNvidiaText(
      of(
        '|   0  Orin (nvgpu)                  N/A  | N/A                N/A |                  N/A |',
        '| N/A   N/A  N/A               N/A /  N/A | Not Supported          |     N/A          N/A |',
      ),
    );
    expect(device).toMatchObject({ id: 'nvidia-0', name: 'Orin (nvgpu)', busId: null });
    expect(Object.values(device?.numbers.values ?? {}).filter((value) => typeof value === 'number')).toEqual(
      [],
    );
  });

  it('one whose memory is divided may tell none of its own', () => {
    const [device] = parseNvidiaText(
      of(
        '|   0  NVIDIA H100 80GB HBM3          On  |   00000000:1B:00.0 Off |                   On |',
        '| N/A   25C    P0              75W / 700W |                    N/A |     N/A      Default |',
      ),
    );
    expect(device?.numbers.values).toMatchObject({ memoryTotalBytes: 'unsupported', powerWatts: 75 });
  });

  it('processes that the tool cannot tell are unknown, not none', () => {
    const text = of(
      '|   0  GeForce GT 730                 Off |   00000000:01:00.0 N/A |                  N/A |',
      '| 40%   35C    P8             N/A /  N/A  |     121MiB /   1999MiB |     N/A      Default |',
      bar,
      '|   1  GeForce GTX 1080               Off |   00000000:02:00.0 Off |                  N/A |',
      '| 30%   31C    P8               9W / 180W |       2MiB /   8192MiB |      0%      Default |',
      bar,
      '| Processes:                                                       GPU Memory |',
      '|    0                    Not Supported                                       |',
    );
    expect(parseNvidiaText(text).map(({ processes, absent }) => [processes, absent])).toEqual([
      [null, { processes: 'unsupported' }],
      [[], {}],
    ]);
    // Moved to the right, as a log or a document has it.
    expect(parseNvidiaText(text.replaceAll(/^/gm, '    '))).toEqual(parseNvidiaText(text));
  });
});

it('CSV: a device that is lost, or cannot be read, is not well', () => {
  const readings = parseNvidiaText(`name, uuid, memory.total [MiB], temperature.gpu, power.draw [W]
NVIDIA L40S, GPU-1, 46068 MiB, 31, 33.50 W
NVIDIA L40S, GPU-2, [GPU is lost], [GPU is lost], [GPU is lost]
NVIDIA L40S, GPU-3, [GPU requires reset], [GPU requires reset], [GPU requires reset]
NVIDIA L40S, GPU-4, 46068 MiB, [Unknown Error], [Unknown Error]
NVIDIA L40S, GPU-5, 46068 MiB, 31, [Unknown Error]
`);
  expect(readings.map(({ conditions }) => conditions.map(({ code, rung }) => [code, rung]))).toEqual([
    [],
    [['device-lost', 'resetNeeded']],
    [['device-lost', 'resetNeeded']],
    [['device-unreadable', 'noNewJobs']],
    [],
  ]);
  expect(readings[3]?.numbers.values).toMatchObject({ temperatureCelsius: 'error', powerWatts: 'error' });
});

describe('the forms without identity', () => {
  it('dmon: the last row of each device, in base units', () => {
    expect(parseNvidiaText(monitor)).toMatchObject([
      { index: 0, numbers: { values: { powerWatts: 109, busyRatio: 'unsupported', clockHertz: 1.29e9 } } },
      {
        index: 1,
        numbers: {
          values: { powerWatts: 198, busyRatio: 0.61, memoryTemperatureCelsius: 'unsupported' },
          engineBusyRatio: { encoder: 0.03, decoder: 0 },
        },
      },
    ]);
    expect(parseNvidiaText(monitor.replace('     W  ', '    mW  '))[0]?.numbers.values.powerWatts).toBe(
      'error',
    );
  });

  it('pmon: processes, none where nothing runs', () => {
    expect(parseNvidiaText(processMonitor).map(({ processes }) => processes)).toEqual([
      [],
      [
        { pid: 4242, memoryBytes: null, name: 'python3' },
        { pid: 4243, memoryBytes: null, name: 'a name of three' },
      ],
    ]);
  });

  it('the list of processes: names with commas, and what is not told', () => {
    expect(parseNvidiaText(apps)).toMatchObject([
      {
        id: 'GPU-66666666-7777-8888-9999-000000000000',
        processes: [
          { pid: 4242, memoryBytes: 700 * MIB, name: '/opt/a, b' },
          { pid: 4243, memoryBytes: null, name: null },
        ],
      },
    ]);
  });

  it('topology: links to other devices, other paths by their word, the near node', () => {
    const readings = parseNvidiaText(topology);
    expect(readings[0]?.links).toEqual([
      { kind: 'nvlink', peer: 'nvidia-1', count: 12, up: null },
      { kind: 'SYS', peer: 'nvidia-2', count: 1, up: null },
    ]);
    expect(readings.map(({ numaNode }) => numaNode)).toEqual([0, 1, 1]);
    const cut = topology.slice(0, topology.indexOf('GPU2\tSYS'));
    expect(() => parseNvidiaText(cut)).toThrowError(/a row too few/);
  });

  it('links: those that are down are a fault, unless all are', () => {
    const readings = parseNvidiaText(linkState);
    expect(readings[0]?.links.map(({ count, up }) => [count, up])).toEqual([
      [2, true],
      [1, false],
    ]);
    expect(readings.map(({ conditions }) => conditions.map(({ code, rung }) => [code, rung]))).toEqual([
      [['nvlink-down', 'observe']],
      [],
      [],
    ]);
  });
});

describe('values', () => {
  it.each([
    ['N/A', 'unsupported'],
    ['[Not Supported]', 'unsupported'],
    ['Requested functionality has been deprecated', 'unsupported'],
    ['Insufficient Permissions', 'denied'],
    ['GPU is lost', 'lost'],
    ['[GPU requires reset]', 'lost'],
    ['ERR!', 'error'],
    ['[Unknown Error]', 'error'],
    ['12 W', null],
  ])('%s: %s', (text, reason) => expect(absenceOf(text)).toBe(reason));

  it('never take one unit for another, nor a share above one', () => {
    expect(measure('12 W', 'W')).toBe(12);
    expect(measure('12 mW', 'W')).toBe('error');
    expect(measure('1e9 W', 'W')).toBe('error');
    expect(percent('101 %')).toBe('error');
    expect(percent('100 %')).toBe(1);
  });
});

describe('faults', () => {
  it('a library that is missing, and a driver that is not loaded, are a driver that is gone', () => {
    for (const said of [
      "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that …",
      'Impossible to initialize nvidia nvml : Driver Not Loaded',
    ])
      expect(() => parseNvidiaText(`${said}\n`)).toThrow(
        expect.objectContaining({ code: 'DEVICE_DRIVER_LOST' }),
      );
  });

  it.each([
    [79, 'resetNeeded'],
    [48, 'stopJobs'],
    [95, 'stopJobs'],
    [31, 'observe'],
    [63, 'warn'],
    [64, 'replace'],
    [94, 'noNewJobs'],
    [9999, 'observe'],
  ])('Xid %i: %s', (code, rung) => expect(judgeXid(code)).toMatchObject({ code: `xid-${code}`, rung }));

  it('corrected errors are no fault', () => {
    expect(judgeEvent({ kind: 'ecc', code: 1, count: 9, detail: null })).toBeNull();
    expect(judgeEvent({ kind: 'ecc', code: 2, count: 1, detail: null })?.rung).toBe('warn');
  });

  it.each([
    [
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
      9,
      'DEVICE_DRIVER_LOST',
    ],
    ['', 9, 'DEVICE_DRIVER_LOST'],
    ['Failed to initialize NVML: Driver/library version mismatch', 18, 'DEVICE_DRIVER_LOST'],
    ['Failed to initialize NVML: Insufficient Permissions', 4, 'DEVICE_DENIED'],
    ['something else', 1, undefined],
  ])('%s (%i): %s', (text, exitCode, code) => expect(failureOf(text, exitCode)?.code).toBe(code));
});

describe('a grant', () => {
  it('names the devices of the job by id, and their nodes', () => {
    const [first, , second] = parseNvidiaText(log);
    if (first === undefined || second === undefined) throw new Error('two devices');
    expect(nvidia.grant([second])).toEqual({
      environment: {
        CUDA_VISIBLE_DEVICES: second.id,
        NVIDIA_VISIBLE_DEVICES: second.id,
        CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
      },
      deviceNodes: ['/dev/nvidia1', '/dev/nvidiactl', '/dev/nvidia-uvm', '/dev/nvidia-uvm-tools'],
      cdiNames: [[`nvidia.com/gpu=${second.id}`, 'nvidia.com/gpu=1']],
    });
    expect(nvidia.hidden.CUDA_VISIBLE_DEVICES).not.toContain('GPU');
  });
});
