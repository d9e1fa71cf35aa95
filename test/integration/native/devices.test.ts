// What JavaScript sees of devices, through the addon with the synthetic vendor.
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Native, NativeDevices, NativeEvent } from '../../../src/native.ts';
import { loadNative } from '../../../src/native.ts';
import { isBuilt, openReader, title, until } from './addon.ts';
import { buildSyntheticAddon } from './synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-devices-'));
const script = join(folder, 'script');
const roots = { proc: '/proc', sys: join(folder, 'sys') };
let native: Native;
let path: string;

function set(name: string, text = ''): void {
  // Complete at once: the vendor may read it any time.
  writeFileSync(join(script, `.${name}`), text);
  renameSync(join(script, `.${name}`), join(script, name));
}
const unset = (name: string): void => rmSync(join(script, name), { force: true });
const devices = (): NativeDevices => JSON.parse(native.readDevices());
const events = (): NativeEvent[] => JSON.parse(native.takeDeviceEvents());
const open = (more: object = {}) => openReader(roots, 20, native, { vendors: ['synthetic'], ...more });

beforeAll(() => {
  if (!isBuilt) return;
  mkdirSync(script);
  mkdirSync(roots.sys);
  process.env.SYNTHETIC = script;
  path = buildSyntheticAddon(folder);
  const loaded = loadNative(path);
  if (loaded.native === null) throw new Error(loaded.problem ?? 'no addon');
  native = loaded.native;
}, 120_000);
afterEach(() => {
  native?.watchDevices(null);
  native?.closeReader();
  rmSync(script, { recursive: true, force: true });
  mkdirSync(script, { recursive: true });
});
afterAll(() => {
  delete process.env.SYNTHETIC;
  rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(!isBuilt)(title('devices'), () => {
  it('are none while no reader is open', () => {
    expect(devices()).toEqual({ revision: 0, vendors: [], devices: [] });
    expect(events()).toEqual([]);
  });

  it('are told with all that the vendor says, hostile bytes replaced, absent as null', async () => {
    open();
    const { vendors, devices: all } = await until(() => {
      const now = devices();
      return now.devices.length === 3 && now.devices.every(({ codes }) => codes.length > 0) ? now : null;
    });
    expect(vendors).toEqual([
      {
        name: 'synthetic',
        state: 'open',
        problem: null,
        driverVersion: '1.2.3',
        library: 'libsynthetic.so.1',
      },
    ]);
    const [first, second, third] = all;
    const name = execFileSync('cat', [`/proc/${process.pid}/comm`], { encoding: 'utf8' }).trim();
    expect(first).toEqual({
      number: first?.number,
      vendor: 'synthetic',
      index: 0,
      id: 'SYN-0',
      parent: null,
      profile: null,
      name: 'Synthetic "0"\n€',
      busId: '00000000:10:00.0',
      serial: null,
      firmwareVersion: null,
      numaNode: 0,
      nodeNumber: null,
      computeCapability: null,
      lanes: 128,
      units: null,
      maxClockHertz: null,
      hasPipes: false,
      processes: [{ pid: process.pid, memoryBytes: 4096, name }],
      processesAbsent: null,
      links: [{ kind: 'wire', peer: 'SYN-1', count: 2, up: true }],
      signals: { linksDown: 0 },
      codes: [0x80e01801],
      absent: null,
      problem: null,
    });
    // 128 bytes of which the last is the end that the crew sets.
    expect(second?.name).toBe('\ufffd'.repeat(127));
    expect(second).toMatchObject({ processes: [], processesAbsent: 'denied', numaNode: null });
    expect(second?.links).toEqual([{ kind: 'wire', peer: null, count: 2, up: null }]);
    expect(third).toMatchObject({ parent: first?.number, profile: 'half' });
    expect(third?.processes[0]).toMatchObject({ memoryBytes: null });
  });

  it('have columns of their own, and numbers that outlive the reader', async () => {
    const reader = open();
    const taken = await reader.takeUntil(({ keys }) =>
      keys.some((key) => key.startsWith('accelerator.fanRatio')),
    );
    const numbers = devices().devices.map(({ number }) => number);
    const own = native.readerColumns().filter(({ device }) => device !== null);
    expect(new Set(own.map(({ device }) => device))).toEqual(new Set(numbers));
    expect(
      own.filter(({ device }) => device === numbers[1]).map(({ family, label }) => [family, label]),
    ).toEqual([
      ...[
        'busyRatio',
        'memoryBusyRatio',
        'memoryTotalBytes',
        'memoryUsedBytes',
        'powerWatts',
        'powerLimitWatts',
        'energyCounterJoules',
        'temperatureCelsius',
        'memoryTemperatureCelsius',
        'clockHertz',
        'memoryClockHertz',
        'eccCorrectedTotal',
        'eccUncorrectedTotal',
      ].map((family) => [`accelerator.${family}`, null]),
      ['accelerator.throttledRatio', 'powerCap'],
    ]);
    expect(native.readerColumns().filter(({ device }) => device === null).length).toBeGreaterThan(5);
    expect(taken.reason(`accelerator.memoryBusyRatio @${numbers[1]}`)).toBe('unsupported');
    const later = await reader.takeUntil(
      (each) => each.reason(`accelerator.busyRatio @${numbers[1]}`) === 'present',
    );
    expect(later.mean(`accelerator.busyRatio @${numbers[1]}`)).toBeCloseTo(0.1);
    expect(later.last(`accelerator.temperatureCelsius @${numbers[2]}`)).toBe(42);
    const revision = later.deviceRevision;
    reader.close();
    const again = open();
    await again.takeUntil(({ keys }) => keys.includes(`accelerator.busyRatio @${numbers[2]}`));
    expect(devices().devices.map(({ number }) => number)).toEqual(numbers);
    expect(again.take().deviceRevision).toBeGreaterThan(revision);
  });

  it('keep a value that is read seldom in the ticks between', async () => {
    // Read every 400 ms, ticks every 20: each window of less has one reading at most.
    const reader = open({ vendors: ['leisurely'] });
    const number = await until(() => devices().devices[1]?.number ?? null);
    const key = `accelerator.energyCounterJoules @${number}`;
    await reader.takeUntil(({ keys, reason }) => keys.includes(key) && reason(key) === 'present');
    const before = reader.take();
    const [reads, startNs] = [before.last(key), before.endNs];
    const after = await reader.takeUntil((each) => each.last(key) >= reads + 3);
    expect((after.endNs - startNs) / 1e9).toBeGreaterThan(0.7);
    expect(after.reason(`accelerator.busyRatio @${number}`)).toBe('present');
    expect(after.mean(`accelerator.busyRatio @${number}`)).toBeCloseTo(0.1);
  });

  it('say why they are absent, and wake whoever watches when they are lost and come back', async () => {
    const reader = open();
    let wakes = 0;
    const number = await until(() => devices().devices[2]?.number ?? null);
    const key = `accelerator.busyRatio @${number}`;
    await reader.takeUntil(({ keys, reason }) => keys.includes(key) && reason(key) === 'present');
    events();
    native.watchDevices(() => {
      wakes += 1;
    });
    const { deviceRevision } = reader.take();
    set('lost-2');
    await until(() => wakes === 1);
    expect(events()).toEqual([
      { number, busId: '00000000:12:00.0', kind: 'lost', code: 0, count: 1, detail: null },
    ]);
    expect(devices().devices[2]).toMatchObject({ absent: 'lost', problem: 'so says the script' });
    expect((await reader.takeUntil(({ reason }) => reason(key) === 'lost')).last(key)).toBeNaN();
    expect(reader.take().deviceRevision).toBeGreaterThan(deviceRevision);
    unset('lost-2');
    await until(() => wakes === 2);
    expect(events().map(({ kind }) => kind)).toEqual(['returned']);
    expect(devices().devices[2]).toMatchObject({ absent: null, problem: null });
  });

  it('wake once until the events are taken, and not at all once nobody watches', async () => {
    open();
    let wakes = 0;
    await until(() => devices().devices.length === 3);
    events();
    native.watchDevices(() => {
      wakes += 1;
    });
    const tell = async (code: number): Promise<void> => {
      set('event', `SYN-1 - fault ${code} 2\n`);
      await until(() => !existsSync(join(script, 'event')));
    };
    for (const code of [5, 5, 6]) await tell(code);
    await until(() => wakes > 0);
    const { number } = devices().devices[1] ?? { number: -1 };
    const fault = { number, busId: '00000000:11:00.0', kind: 'fault', detail: 'told by the library' };
    const seen: NativeEvent[] = [];
    await until(() => {
      seen.push(...events());
      return seen.reduce((sum, { count }) => sum + count, 0) === 6;
    });
    expect(seen[0]).toMatchObject(fault);
    expect(wakes).toBeLessThanOrEqual(2);
    native.watchDevices(null);
    const before = wakes;
    await tell(7);
    await until(() => events().length === 1);
    expect(wakes).toBe(before);
  });

  it('watch from another thread, which may end at any time', async () => {
    open();
    await until(() => devices().devices.length === 3);
    for (let turn = 0; turn < 5; turn++) {
      const worker = new Worker(
        `const native = require(require('node:worker_threads').workerData);
         native.watchDevices(() => require('node:worker_threads').parentPort.postMessage('woken'));
         require('node:worker_threads').parentPort.postMessage('watching');
         setInterval(() => {}, 1000);`,
        { eval: true, workerData: path },
      );
      const said: unknown[] = [];
      worker.on('message', (message) => said.push(message));
      await until(() => said.includes('watching'));
      events();
      set('flood');
      await until(() => said.includes('woken'));
      await worker.terminate();
      await until(() => events().some(({ kind }) => kind === 'ecc'));
      unset('flood');
    }
  });

  it('do not keep the process alive by being watched', () => {
    const code = `const native = require(${JSON.stringify(path)}); native.watchDevices(() => {});`;
    execFileSync(process.execPath, ['-e', code], { timeout: 10_000 });
  });

  it('may belong to a library that is missing, broken or slow to open', async () => {
    set('missing');
    open();
    await until(() => devices().vendors[0]?.state === 'missing');
    expect(devices().vendors[0]).toMatchObject({ problem: null, library: null });
    native.closeReader();
    unset('missing');
    set('gone');
    open();
    await until(() => devices().vendors[0]?.state === 'failed');
    expect(devices().vendors[0]?.problem).toBe('the driver is not loaded');
    unset('gone');
    await until(() => devices().vendors[0]?.state === 'open');
    expect(devices().vendors[0]?.problem).toBeNull();
    native.closeReader();
    set('hang-open');
    const reader = open();
    await until(() => devices().vendors[0]?.problem === 'the library takes long to open');
    expect(devices().vendors[0]?.state).toBe('opening');
    expect(reader.take().ticks).toBeGreaterThan(5);
    unset('hang-open');
    await until(() => devices().vendors[0]?.state === 'open');
  });
});

describe.skipIf(!isBuilt)(title('the log of the kernel'), () => {
  const log = join(folder, 'kmsg');
  const xid = (bus: string, code: number): string =>
    `4,1,2,-;NVRM: Xid (PCI:${bus}): ${code}, pid=5, name=x, text "quoted"\n SUBSYSTEM=pci\n`;

  it('is followed from its present end, and what both tell of counts once', async () => {
    writeFileSync(log, xid('0000:11:00', 13));
    open({ kernelLog: log });
    const number = await until(() => devices().devices[1]?.number ?? null);
    await until(() => devices().devices.length === 3);
    appendFileSync(log, `4,1,2,-;nothing\n${xid('0000:11:00', 79)}${xid('0000:11:00', 79)}`);
    // Written by a user's process, and of another driver.
    appendFileSync(
      log,
      `12,1,2,-;${xid('0000:11:00', 48).slice(8)}4,1,2,-;x ${xid('0000:11:00', 48).slice(8)}`,
    );
    appendFileSync(log, xid('0000:99:00', 31).repeat(3));
    const seen: NativeEvent[] = [];
    await until(() => {
      seen.push(...events());
      return seen.reduce((sum, { count }) => sum + count, 0) === 5;
    });
    set('event', 'SYN-1 - xid 79 3\n');
    await until(() => {
      seen.push(...events());
      return seen.reduce((sum, { count }) => sum + count, 0) >= 6;
    });
    const counts = new Map<string, number>();
    for (const { number: of, busId, code, count } of seen) {
      const key = `${of} ${busId} ${code}`;
      counts.set(key, (counts.get(key) ?? 0) + count);
    }
    expect(Object.fromEntries(counts)).toEqual({
      [`${number} 00000000:11:00.0 79`]: 3,
      'null 0000:99:00 31': 3,
    });
    expect(seen[0]?.detail).toBe('pid=5, name=x, text "quoted"');
  });

  it('may be a FIFO whose writers come and go, or no file at all', async () => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    open({ kernelLog: fifo });
    for (const code of [13, 31]) {
      execFileSync('sh', ['-c', 'cat > "$0"', fifo], {
        input: `${'x'.repeat(20_000)}\n${xid('0000:40:00', code)}`,
      });
      expect((await until(() => events().at(0) ?? null)).code).toBe(code);
    }
    native.closeReader();
    for (const path of [join(folder, 'none'), folder]) {
      open({ kernelLog: path });
      native.closeReader();
    }
  });
});
