// What `nodes -o json` and /metrics say, beside /proc read just before and just after the window they show: a counter
// lies between the two readings, so nothing has to be believed about timing.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentUrl, type Bed, createBed, type Daemon, pause, until } from './bed.ts';
import { labelled, parsePage } from './exposition.ts';
import { busyBetween, type ProcReading, readProc } from './proc.ts';

interface HostJson {
  readonly sampledAt: string;
  readonly cpu: {
    readonly busyRatio: number;
    readonly coreBusyRatio: Record<string, number>;
    readonly secondsTotal: Record<string, number>;
    readonly load1: number;
  };
  readonly memory: Record<string, number>;
  readonly disks: Record<string, Record<string, number>>;
  readonly network: Record<string, Record<string, number>>;
  readonly storage: Record<string, Record<string, number>>;
  readonly absent: Record<string, string>;
}

const WINDOW_MS = 1000;
/** A window whose end is so much later than a reading began after it, also where it was taken late. */
const AFTER_MS = 2.5 * WINDOW_MS;
/** How often /proc is looked at meanwhile. */
const LOOK_MS = 20;
/** Steps in which values travel (protocol/columns.ts). */
const STEP_SECONDS = 0.01;
const STEP_BYTES = 1024;

let bed: Bed;
let up: Daemon;
let load: ChildProcess;
beforeAll(async () => {
  bed = createBed();
  up = await bed.start(['up']);
  // One core busy, so that the figures are no row of zeros.
  load = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
});
afterAll(async () => {
  load.kill('SIGKILL');
  await bed.close();
});

async function readHost(): Promise<HostJson> {
  const { code, stdout, stderr } = await bed.run(['nodes', '-o', 'json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout).nodes[0].host as HostJson;
}

const readPage = async (): Promise<ReadonlyMap<string, number>> =>
  parsePage(await (await fetch(agentUrl(up, 'metrics'))).text());

/** Moves some bytes so that disk and network counters grow between the readings. */
async function makeTraffic(): Promise<void> {
  const fd = openSync(join(bed.folder, 'traffic'), 'w');
  writeSync(fd, Buffer.alloc(4 << 20, 'x'));
  fsyncSync(fd);
  closeSync(fd);
  await readPage();
}

/** Looks at /proc all the time until stopped: what goes up and down is not told by two readings. */
function watchProc(): { readonly seen: ProcReading[]; stop(): void } {
  const seen = [readProc()];
  const timer = setInterval(() => seen.push(readProc()), LOOK_MS);
  return { seen, stop: () => clearInterval(timer) };
}

/** /proc, then a window that began after that, then /proc again; and all that /proc said meanwhile. */
async function bracket<T>(
  read: () => Promise<T>,
  endMs: (value: T) => number,
): Promise<{ before: ProcReading; value: T; after: ProcReading; all: readonly ProcReading[] }> {
  const before = readProc();
  const watch = watchProc();
  try {
    await makeTraffic();
    const value = await until('a window that began after the first reading', async () => {
      const seen = await read();
      return endMs(seen) > before.wallMs + AFTER_MS && seen;
    });
    const after = readProc();
    return { before, value, after, all: [before, ...watch.seen, after] };
  } finally {
    watch.stop();
  }
}

function expectBetween(
  name: string,
  value: number | undefined,
  low: number | undefined,
  high: number | undefined,
  step: number,
): void {
  expect(value, name).toBeTypeOf('number');
  expect(value, `${name} is not below what /proc said before`).toBeGreaterThanOrEqual(
    (low ?? Number.NaN) - step,
  );
  expect(value, `${name} is not above what /proc said after`).toBeLessThanOrEqual(
    (high ?? Number.NaN) + step,
  );
}

/** A gauge lies between what was seen of it, or no further away than one per cent of the whole memory. */
function expectNear(value: number | undefined, all: readonly ProcReading[], name: string): void {
  const values = all.map(({ memory }) => memory[name] ?? Number.NaN);
  const scale = all[0]?.memory.MemTotal ?? Number.NaN;
  expectBetween(name, value, Math.min(...values), Math.max(...values), scale * 0.01);
}

describe('nodes -o json tells the truth about', () => {
  test('CPU time, memory, network and disk', async () => {
    const {
      before,
      value: host,
      after,
      all,
    } = await bracket(readHost, (seen) => (seen === null ? 0 : Date.parse(seen.sampledAt)));
    for (const mode of ['user', 'nice', 'system', 'idle', 'softirq'])
      expectBetween(
        `cpu ${mode}`,
        host.cpu.secondsTotal[mode],
        before.cpuSeconds[mode],
        after.cpuSeconds[mode],
        STEP_SECONDS,
      );

    expect(Math.abs((host.memory.totalBytes ?? 0) - (before.memory.MemTotal ?? 0))).toBeLessThan(STEP_BYTES);
    const total = before.memory.MemTotal ?? 0;
    expectNear(host.memory.availableBytes, all, 'MemAvailable');
    expectNear(host.memory.freeBytes, all, 'MemFree');
    expect(Math.abs((host.memory.usedBytes ?? 0) + (host.memory.availableBytes ?? 0) - total)).toBeLessThan(
      4 * STEP_BYTES,
    );

    expect(Object.keys(host.network)).not.toHaveLength(0);
    for (const [name, figures] of Object.entries(host.network)) {
      expectBetween(
        `${name} in`,
        figures.receiveBytesTotal,
        before.receiveBytes[name],
        after.receiveBytes[name],
        0,
      );
      expectBetween(
        `${name} out`,
        figures.transmitBytesTotal,
        before.transmitBytes[name],
        after.transmitBytes[name],
        0,
      );
    }
    expect(Object.keys(host.disks)).not.toHaveLength(0);
    for (const [name, figures] of Object.entries(host.disks)) {
      expectBetween(`${name} read`, figures.readBytesTotal, before.readBytes[name], after.readBytes[name], 0);
      expectBetween(
        `${name} written`,
        figures.writtenBytesTotal,
        before.writtenBytes[name],
        after.writtenBytes[name],
        0,
      );
    }
    for (const [mount, figures] of Object.entries(host.storage)) {
      const { blocks, bsize } = statfsSync(mount);
      expect(Math.abs((figures.totalBytes ?? 0) - blocks * bsize), mount).toBeLessThanOrEqual(STEP_BYTES);
    }
    expect(Object.keys(host.storage)).not.toHaveLength(0);
  });

  test('how busy the CPUs are, over several windows', async () => {
    const watch = watchProc();
    const startMs = watch.seen[0]?.wallMs ?? 0;
    const windows: { readonly endMs: number; readonly ratio: number }[] = [];
    while (windows.length < 5) {
      const host = await readHost();
      const endMs = Date.parse(host.sampledAt);
      if (endMs !== windows.at(-1)?.endMs && endMs > startMs + AFTER_MS)
        windows.push({ endMs, ratio: host.cpu.busyRatio });
      await pause(50);
    }
    watch.stop();
    // Each against its own second: the machine is shared, and busy by turns.
    const at = (ms: number): ProcReading =>
      watch.seen.reduce((best, one) => (Math.abs(one.wallMs - ms) < Math.abs(best.wallMs - ms) ? one : best));
    const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    const truth = mean(windows.map(({ endMs }) => busyBetween(at(endMs - WINDOW_MS), at(endMs))));
    const told = mean(windows.map(({ ratio }) => ratio));
    // One core at least, or what its load is let have of the machine.
    expect(truth).toBeGreaterThan(0.5 / availableParallelism());
    expect(Math.abs(told - truth)).toBeLessThan(0.15);
  });

  test('what it cannot know: each null has its reason', async () => {
    const host = await readHost();
    const nulls = (value: unknown, path: string): string[] => {
      if (value === null) return [path];
      if (typeof value !== 'object') return [];
      return Object.entries(value as object).flatMap(([key, inner]) =>
        path === '' && key === 'absent' ? [] : nulls(inner, path === '' ? key : `${path}.${key}`),
      );
    };
    for (const path of nulls(host, '')) expect(Object.keys(host.absent)).toContain(path);
    for (const reason of Object.values(host.absent))
      expect(reason).toMatch(/^(unsupported|denied|lost|late|error.*|notYet)$/);
  });
});

describe('/metrics tells the truth about', () => {
  test('CPU time, memory, network and disk', async () => {
    const {
      before,
      value: page,
      after,
      all,
    } = await bracket(readPage, (seen) => (seen.get('compute_node_sample_timestamp_seconds') ?? 0) * 1000);
    const cpu = labelled(page, 'compute_node_cpu_seconds_total');
    for (const mode of ['user', 'nice', 'system', 'idle', 'softirq'])
      expectBetween(`cpu ${mode}`, cpu[mode], before.cpuSeconds[mode], after.cpuSeconds[mode], STEP_SECONDS);
    const total = before.memory.MemTotal ?? 0;
    expect(page.get('compute_node_memory_total_bytes')).toBe(total);
    expectNear(page.get('compute_node_memory_available_bytes'), all, 'MemAvailable');
    const columns: [
      metric: string,
      low: Readonly<Record<string, number>>,
      high: Readonly<Record<string, number>>,
    ][] = [
      ['compute_node_network_receive_bytes_total', before.receiveBytes, after.receiveBytes],
      ['compute_node_network_transmit_bytes_total', before.transmitBytes, after.transmitBytes],
      ['compute_node_disk_read_bytes_total', before.readBytes, after.readBytes],
      ['compute_node_disk_written_bytes_total', before.writtenBytes, after.writtenBytes],
    ];
    for (const [metric, low, high] of columns) {
      const series = labelled(page, metric);
      expect(Object.keys(series), metric).not.toHaveLength(0);
      for (const [label, value] of Object.entries(series))
        expectBetween(`${metric} ${label}`, value, low[label], high[label], 0);
    }
  });

  test('the present: its stamp is never older than two windows', async () => {
    const ages: number[] = [];
    for (let i = 0; i < 15; i++) {
      const stamp = (await readPage()).get('compute_node_sample_timestamp_seconds') ?? 0;
      ages.push(Date.now() / 1000 - stamp);
      await pause(100);
    }
    // Of this process or of the agent a busy machine may take a turn away, but not most of them.
    const young = ages.filter((seconds) => seconds < 2.5);
    expect(young.length, ages.join(' ')).toBeGreaterThan(ages.length / 2);
  });
});
