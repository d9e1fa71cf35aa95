// The reader thread over the real host: windows, deadlines, opening and closing, other threads, hostile texts.
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { addon, createTree, isBuilt, openReader, paths, sleep, stat, type Taken, title } from './addon.ts';

const host = { proc: '/proc', sys: '/sys' };
const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'no code';
  }
  return 'nothing thrown';
};

const meminfo = (key: string): number => {
  const match = new RegExp(`^${key}: +(\\d+) kB$`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'));
  return Number(match?.[1]) * 1024;
};
const cpuTicks = (): number[] => {
  const line = readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '';
  return line.split(/ +/).slice(1, 9).map(Number);
};

/** Empty for a task that has just gone. */
const nameOfTask = (task: string): string => {
  try {
    return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
};

afterEach(() => {
  if (isBuilt) addon().closeReader();
});

describe.skipIf(!isBuilt)(title('the reader on this host'), () => {
  it('agrees with /proc read at the same time', async () => {
    const reader = openReader(host);
    const before = cpuTicks();
    await sleep(100);
    const taken = reader.take();
    const after = cpuTicks();
    const modes = ['user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal'];
    modes.forEach((mode, i) => {
      const seconds = taken.last(`cpu.secondsTotal{${mode}}`);
      expect(seconds).toBeGreaterThanOrEqual((before[i] ?? 0) / 100 - 1);
      expect(seconds).toBeLessThanOrEqual((after[i] ?? 0) / 100 + 1);
    });
    expect(taken.last('memory.totalBytes')).toBe(meminfo('MemTotal'));
    expect(Math.abs(taken.last('memory.availableBytes') - meminfo('MemAvailable'))).toBeLessThan(512 << 20);
    const cores = readFileSync('/proc/stat', 'utf8').match(/^cpu\d+/gm) ?? [];
    expect(taken.keys.filter((key) => key.startsWith('cpu.coreBusyRatio'))).toHaveLength(cores.length);
    const received = /^ *lo: *(\d+)/m.exec(readFileSync('/proc/net/dev', 'utf8'))?.[1];
    expect(taken.last('network.receiveBytesTotal{lo}')).toBeLessThanOrEqual(Number(received));
  });

  it('gives a ratio over a window that is the ratio of the window’s ends', async () => {
    const reader = openReader(host, 20);
    reader.take();
    const busyOf = (ticks: readonly number[]): { busy: number; total: number } => {
      const total = ticks.reduce((sum, n) => sum + n, 0);
      return { total, busy: total - (ticks[3] ?? 0) - (ticks[4] ?? 0) };
    };
    const start = busyOf(cpuTicks());
    const spin = performance.now() + 500;
    while (performance.now() < spin) Math.sqrt(spin);
    const end = busyOf(cpuTicks());
    const taken = reader.take();
    const expected = (end.busy - start.busy) / (end.total - start.total);
    expect(Math.abs(taken.mean('cpu.busyRatio') - expected)).toBeLessThan(0.15);
    expect(taken.mean('cpu.busyRatio')).toBeGreaterThan(0.1);
  });

  it('orders minimum, mean, maximum and last of every gauge, and gives counters only a last value', async () => {
    const reader = openReader(host);
    await sleep(200);
    const taken = reader.take();
    for (const key of taken.keys) {
      if (taken.reason(key) !== 'present') continue;
      if (/Total\b/.test(key)) {
        expect([key, taken.min(key), taken.mean(key), taken.max(key)]).toEqual([
          key,
          Number.NaN,
          Number.NaN,
          Number.NaN,
        ]);
        expect(taken.last(key)).toBeGreaterThanOrEqual(0);
        continue;
      }
      expect([key, taken.min(key) <= taken.mean(key), taken.mean(key) <= taken.max(key)]).toEqual([
        key,
        true,
        true,
      ]);
      expect([key, taken.min(key) <= taken.last(key), taken.last(key) <= taken.max(key)]).toEqual([
        key,
        true,
        true,
      ]);
    }
  });

  it('ticks at its period, and windows follow each other without a gap', async () => {
    const reader = openReader(host, 20);
    const first = reader.take();
    await sleep(1000);
    const second = reader.take();
    await sleep(100);
    const third = reader.take();
    expect(second.startNs).toBe(first.endNs);
    expect(third.startNs).toBe(second.endNs);
    expect([second.sequence, third.sequence]).toEqual([first.sequence + 1, first.sequence + 2]);
    // Ticks made and ticks missed together are those that the time had room for.
    const expected = (second.endNs - second.startNs) / 20e6;
    expect(Math.abs(second.ticks + second.lateTicks - expected)).toBeLessThanOrEqual(2);
    expect(second.busyNs).toBeGreaterThan(0);
  });

  it('shows the last values in a window without a tick', () => {
    const reader = openReader(host, 1000);
    const first = reader.take();
    const second = reader.take();
    expect(second.ticks).toBe(0);
    expect(second.last('memory.totalBytes')).toBe(first.last('memory.totalBytes'));
    expect(second.mean('memory.totalBytes')).toBe(first.last('memory.totalBytes'));
  });

  it('has minimum, mean and maximum of what changed within a window', async () => {
    const tree = createTree({ 'proc/loadavg': '1.00 0 0 1/2 3\n' });
    const reader = openReader(tree);
    reader.take();
    /** A window in which it was 5 and then 2, if the reader has had its turns in so much time. */
    const changing = async (ms: number): Promise<Taken> => {
      reader.take();
      for (const load of ['5.00', '2.00']) {
        tree.write('proc/loadavg', `${load} 0 0 1/2 3\n`);
        await sleep(ms);
      }
      return reader.take();
    };
    let taken = await changing(100);
    for (let ms = 200; ms < 5000 && (taken.max('cpu.load1') !== 5 || taken.last('cpu.load1') !== 2); ms *= 2)
      taken = await changing(ms);
    expect(taken.max('cpu.load1')).toBe(5);
    expect(taken.last('cpu.load1')).toBe(2);
    expect(taken.mean('cpu.load1')).toBeGreaterThan(2);
    expect(taken.mean('cpu.load1')).toBeLessThan(5);
    tree.remove();
  });

  it('writes nothing into memory that is too small or before the columns were asked for', () => {
    const native = addon();
    native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 100 });
    const header = new Float64Array(8);
    const values = new Float64Array(40_000).fill(-1);
    const reasons = new Uint8Array(10_000).fill(99);
    const count = native.takeWindow(header, values, reasons);
    expect(count).toBeGreaterThan(10);
    expect(header[0]).toBe(1);
    expect(values.every((value) => value === -1)).toBe(true);
    expect(native.readerColumns()).toHaveLength(count);
    expect(native.takeWindow(header, values.subarray(0, count * 4 - 1), reasons)).toBe(count);
    expect(native.takeWindow(header, values, reasons.subarray(0, count - 1))).toBe(count);
    expect(values.every((value) => value === -1) && reasons.every((reason) => reason === 99)).toBe(true);
    expect(native.takeWindow(header, values, reasons)).toBe(count);
    expect(values.subarray(0, count * 4).includes(-1)).toBe(false);
    expect(values.subarray(count * 4).every((value) => value === -1)).toBe(true);
    expect(reasons[count]).toBe(99);
  });

  it('opens once, closes as often as one likes, and throws when taken from while closed', () => {
    const native = addon();
    const options = { procRoot: '/proc', sysRoot: '/sys', periodMs: 50 };
    native.openReader(options);
    expect(codeOf(() => native.openReader(options))).toBe('READER_OPEN');
    native.closeReader();
    native.closeReader();
    const memory = [new Float64Array(8), new Float64Array(0), new Uint8Array(0)] as const;
    expect(codeOf(() => native.takeWindow(...memory))).toBe('READER_CLOSED');
    expect(codeOf(() => native.readerColumns())).toBe('READER_CLOSED');
  });

  it('leaves no descriptor or thread behind after many openings', async () => {
    const native = addon();
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const readers = (): number =>
      readdirSync('/proc/self/task').filter((task) => nameOfTask(task) === 'flopd-reader').length;
    const open = (): void => {
      native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 100 });
      native.readerColumns();
    };
    open();
    expect(readers()).toBe(1);
    native.closeReader();
    const before = descriptors();
    for (let i = 0; i < 30; i++) {
      open();
      native.closeReader();
    }
    expect(descriptors()).toBe(before);
    // A thread that has been joined may stay in the list for a moment.
    await vi.waitFor(() => expect(readers()).toBe(0), { timeout: 5000 });
  });

  it('runs in worker threads, one reader among them all, and ends with the thread that opened it', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      const native = require(workerData);
      let code = null;
      try { native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 10 }); } catch (error) { code = error.code; }
      parentPort.postMessage(code);
      setTimeout(() => {}, 10_000);`;
    const start = async (): Promise<{ worker: Worker; code: unknown }> => {
      const worker = new Worker(code, { eval: true, workerData: paths.addon });
      const code_ = await new Promise((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      );
      return { worker, code: code_ };
    };
    const first = await start();
    const second = await start();
    expect([first.code, second.code]).toEqual([null, 'READER_OPEN']);
    expect(addon().readerColumns().length).toBeGreaterThan(10);
    await first.worker.terminate();
    expect(codeOf(() => addon().readerColumns())).toBe('READER_CLOSED');
    await second.worker.terminate();
    openReader(host).close();
  });

  it('may be loaded twice, and lets the process end while the reader runs', () => {
    const code = `
      const path = process.argv[1];
      const first = require(path);
      delete require.cache[require.resolve(path)];
      const second = require(path);
      first.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 10 });
      if (second.readerColumns().length < 10) process.exit(3);
      setTimeout(() => process.exit(7), 50);`;
    expect(spawnSync(process.execPath, ['-e', code, paths.addon]).status).toBe(7);
  });
});

describe.skipIf(!isBuilt)(title('hostile texts'), () => {
  const files = ['stat', 'loadavg', 'meminfo', 'pressure/cpu', 'diskstats', 'net/dev', 'self/cgroup'];

  it('survives any bytes in place of any file', async () => {
    const tree = createTree(Object.fromEntries(files.map((file) => [`proc/${file}`, 'x\n'])));
    const reader = openReader(tree);
    const seeds = files.map((file) => readFileSync(`/proc/${file}`));
    const seed = fc.nat(seeds.length - 1).map((i) => seeds[i] ?? Buffer.alloc(0));
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 2000 }),
      fc.tuple(seed, fc.nat(4000)).map(([text, at]) => text.subarray(0, at % (text.length + 1))),
      fc.tuple(seed, fc.nat(), fc.nat(255)).map(([text, at, byte]) => {
        const copy = Buffer.from(text);
        if (copy.length > 0) copy[at % copy.length] = byte;
        return copy;
      }),
      fc
        .constantFrom(
          'cpu  -1 -2 -3 -4\ncpu0 99999999999999999999999 1 1 1\n',
          'cpu99999999999999999999 1 1 1 1\n',
          ':::\n:\n',
        )
        .map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(fc.constantFrom(...files), bytes, (file, content) => {
        tree.write(`proc/${file}`, content);
        const taken = reader.take();
        for (const key of taken.keys) {
          const value = taken.last(key);
          if (taken.reason(key) === 'present')
            expect([key, Number.isFinite(value), value >= 0]).toEqual([key, true, true]);
          else expect([key, value]).toEqual([key, Number.NaN]);
        }
      }),
      { numRuns: 300 },
    );
    await reader.takeUntil(({ ticks }) => ticks > 0);
    tree.remove();
  });

  it('takes the first 1024 of ten thousand cores, and stops at 64 disks and interfaces', async () => {
    const many = (n: number, line: (i: number) => string): string =>
      Array.from({ length: n }, (_, i) => line(i)).join('');
    const tree = createTree({
      'proc/stat': stat('1 1 1 1', ...Array.from({ length: 10_000 }, () => '1 2 3 4 5 6 7 8 9 10')),
      'proc/diskstats': many(2000, (i) => `8 0 dm-${i} 1 1 1 1 1 1 1 1 1 1 1\n`),
      'proc/net/dev': many(2000, (i) => `eth${i}: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n`),
      'proc/meminfo': `${'x'.repeat(5 << 20)}\nMemTotal: 5 kB\n`,
    });
    const reader = openReader(tree);
    const taken = reader.take();
    const count = (prefix: string): number => taken.keys.filter((key) => key.startsWith(prefix)).length;
    expect(count('cpu.coreBusyRatio{')).toBe(1024);
    expect(count('disk.readsTotal{')).toBe(64);
    expect(count('network.receiveBytesTotal{')).toBe(64);
    expect(taken.last('cpu.contextSwitchesTotal')).toBe(12345);
    expect(taken.reason('memory.totalBytes')).toBe('error');
    expect(new Set(taken.keys).size).toBe(taken.keys.length);
    await reader.takeUntil(({ ticks }) => ticks > 0);
    tree.remove();
  });

  it('does not wait for a FIFO in place of a file, and names a folder as an error', async () => {
    const tree = createTree({ 'proc/stat/x': '', 'proc/loadavg': '1 2 3\n' });
    execFileSync('mkfifo', [`${tree.proc}/meminfo`]);
    const reader = openReader(tree);
    const taken = await reader.takeUntil((taken) => taken.ticks > 0);
    expect(taken.reason('memory.totalBytes')).toBe('error');
    expect(taken.reason('cpu.secondsTotal{user}')).toBe('error');
    expect(taken.last('cpu.load15')).toBe(3);
    tree.remove();
  });

  it('makes labels of printable characters only, and different ones', () => {
    const tree = createTree();
    tree.write(
      'proc/net/dev',
      Buffer.from(
        'eth\xff: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\neth\x01: 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n',
        'latin1',
      ),
    );
    const taken = openReader(tree).take();
    expect(taken.last('network.receiveBytesTotal{eth?}')).toBe(1);
    expect(taken.last('network.receiveBytesTotal{eth?#2}')).toBe(2);
    tree.remove();
  });
});
