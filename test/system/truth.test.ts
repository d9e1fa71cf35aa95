// What `nodes -o json` and /metrics say, beside /proc read just before and just after the window they show: a counter
// lies between the two readings, so nothing has to be believed about timing.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
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

/** The reader's last tick may lie this long before the end of its window. */
const TICK_MS = 300;
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

/** /proc, then a window that ended after that, then /proc again. */
async function bracket<T>(
  read: () => Promise<T>,
  endMs: (value: T) => number,
): Promise<{ before: ProcReading; value: T; after: ProcReading }> {
  const before = readProc();
  await makeTraffic();
  const value = await until('a window that began after the first reading', async () => {
    const seen = await read();
    return endMs(seen) > before.wallMs + TICK_MS && seen;
  });
  return { before, value, after: readProc() };
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

/** A gauge lies between the readings, or no further from them than one per cent of its scale. */
function expectNear(
  name: string,
  value: number | undefined,
  a: number | undefined,
  b: number | undefined,
  scale: number,
): void {
  const low = Math.min(a ?? Number.NaN, b ?? Number.NaN);
  const high = Math.max(a ?? Number.NaN, b ?? Number.NaN);
  expectBetween(name, value, low, high, scale * 0.01);
}

describe('nodes -o json tells the truth about', () => {
  test('CPU time, memory, network and disk', async () => {
    const {
      before,
      value: host,
      after,
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
    expectNear(
      'available',
      host.memory.availableBytes,
      before.memory.MemAvailable,
      after.memory.MemAvailable,
      total,
    );
    expectNear('free', host.memory.freeBytes, before.memory.MemFree, after.memory.MemFree, total);
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
    const before = readProc();
    const ratios: number[] = [];
    let last = '';
    while (ratios.length < 5) {
      const host = await readHost();
      if (host.sampledAt !== last && Date.parse(host.sampledAt) > before.wallMs + 1000)
        ratios.push(host.cpu.busyRatio);
      last = host.sampledAt;
      await pause(50);
    }
    const truth = busyBetween(before, readProc());
    const told = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    expect(truth).toBeGreaterThan(0.3);
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
    } = await bracket(readPage, (seen) => (seen.get('compute_node_sample_timestamp_seconds') ?? 0) * 1000);
    const cpu = labelled(page, 'compute_node_cpu_seconds_total');
    for (const mode of ['user', 'nice', 'system', 'idle', 'softirq'])
      expectBetween(`cpu ${mode}`, cpu[mode], before.cpuSeconds[mode], after.cpuSeconds[mode], STEP_SECONDS);
    const total = before.memory.MemTotal ?? 0;
    expect(page.get('compute_node_memory_total_bytes')).toBe(total);
    expectNear(
      'available',
      page.get('compute_node_memory_available_bytes'),
      before.memory.MemAvailable,
      after.memory.MemAvailable,
      total,
    );
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
    for (let i = 0; i < 10; i++) {
      const stamp = (await readPage()).get('compute_node_sample_timestamp_seconds') ?? 0;
      expect(Date.now() / 1000 - stamp).toBeLessThan(2.5);
      await pause(150);
    }
  });
});
