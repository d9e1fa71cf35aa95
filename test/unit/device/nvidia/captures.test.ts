// Every capture of nvidia-smi, read where it lies, against the index's truth.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ToolReading } from '../../../../src/device/accelerator.ts';
import { readingsOfLog } from '../../../../src/device/nvidia/log.ts';
import { parseNvidiaText } from '../../../../src/device/nvidia/text.ts';
import { treeAt, treeOfXml } from '../../../../src/device/nvidia/tree.ts';

const folder = resolve(import.meta.dirname, '../../../../../shared/fixtures');
const index = join(folder, 'INDEX.tsv');
const rows = existsSync(index)
  ? readFileSync(index, 'utf8')
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => line.split('\t'))
      .filter(([file]) => file?.startsWith('nvidia/'))
      .map(([file = '', command = '', , , , , , truth = '{}']) => ({
        file,
        command,
        truth: JSON.parse(truth),
      }))
  : [];

type Parse = (text: string, options: object, done: (error: Error | null, data: unknown) => void) => void;
const { parseString } = createRequire(import.meta.url)('xml2js') as { parseString: Parse };

/** As the package node-nvidia-smi reads it. */
function readXml(text: string): ToolReading[] {
  let tree = treeOfXml(null);
  parseString(text, { explicitArray: false, trim: true, async: false }, (error, data) => {
    if (error !== null) throw error;
    tree = treeOfXml(data);
  });
  return readingsOfLog(treeAt(tree, 'nvidia_smi_log'), text);
}

const read = (file: string): ToolReading[] => {
  const text = readFileSync(join(folder, file), 'utf8');
  return text.trimStart().startsWith('<?xml') ? readXml(text) : parseNvidiaText(text);
};
const of = (command: RegExp) =>
  rows.filter((row) => command.test(row.command) && !row.file.startsWith('nvidia/fail/'));
const devicesOf = (readings: readonly ToolReading[]) => readings.filter(({ parentId }) => parentId === null);
const numbers = (readings: readonly ToolReading[], name: string, scale = 1): (number | null)[] =>
  devicesOf(readings).map(({ numbers: { values } }) => {
    const value = (values as Record<string, unknown>)[name];
    return typeof value === 'number' ? Math.round((value / scale) * 100) / 100 : null;
  });
const MIB = 1024 * 1024;
const pids = (readings: readonly ToolReading[]): number[] =>
  devicesOf(readings).flatMap(({ processes }) => (processes ?? []).map(({ pid }) => pid));
const sorted = (list: readonly number[]): number[] => [...new Set(list)].sort((a, b) => a - b);

describe.skipIf(rows.length === 0)('captures of nvidia-smi', () => {
  it.each(of(/^nvidia-smi -q -x$/))('$file', ({ file, truth }) => {
    const readings = read(file);
    const devices = devicesOf(readings);
    expect(devices).toHaveLength(truth.gpu_elements);
    expect(devices.map(({ name }) => name)).toEqual(truth.names);
    expect(devices[0]?.driverVersion ?? null).toBe(truth.driver);
    expect(numbers(readings, 'memoryUsedBytes', MIB)).toEqual(truth.mem_used_mib);
    expect(numbers(readings, 'memoryTotalBytes', MIB)).toEqual(truth.mem_total_mib);
    expect(numbers(readings, 'powerWatts')).toEqual(truth.power_w);
    expect(numbers(readings, 'temperatureCelsius')).toEqual(truth.temp_c);
    expect(numbers(readings, 'busyRatio', 0.01)).toEqual(truth.util_pct);
    expect(readings.length - devices.length).toBe(truth.mig_devices);
    expect(sorted(pids(readings))).toEqual(sorted(truth.pids));
    expect(new Set(readings.map(({ id }) => id)).size).toBe(readings.length);
  });

  it.each(of(/^nvidia-smi (-q|--query \(same as -q\))$/))('$file', ({ file, truth }) => {
    const readings = read(file);
    const devices = devicesOf(readings);
    expect(devices).toHaveLength(truth.gpu_blocks);
    expect(devices.map(({ name }) => name)).toEqual(truth.names);
    expect(devices[0]?.driverVersion ?? null).toBe(truth.driver);
    expect(numbers(readings, 'memoryUsedBytes', MIB)).toEqual(truth.mem_used_mib);
    expect(numbers(readings, 'memoryTotalBytes', MIB)).toEqual(truth.mem_total_mib);
    expect(numbers(readings, 'temperatureCelsius')).toEqual(truth.temp_c);
    expect(sorted(pids(readings))).toEqual(sorted(truth.pids));
  });

  it.each(of(/^nvidia-smi$/))('$file', ({ file, truth }) => {
    const readings = read(file);
    const memory = readings.map(({ numbers: { values } }) =>
      [values.memoryUsedBytes, values.memoryTotalBytes].map((one) =>
        typeof one === 'number' ? one / MIB : null,
      ),
    );
    // The index counts the BAR1 line of each MIG instance as a row of its own.
    const isMig = readings.some(({ parentId }) => parentId !== null);
    const expected = (
      truth.mem_used_total_mib ??
      truth.mem_used_mib.map((used: number, at: number) => [used, truth.mem_total_mib[at]])
    ).filter((_: unknown, at: number) => !isMig || at === 0 || at % 2 === 1);
    expect(memory).toEqual(expected);
    if (truth.power_w !== undefined) {
      expect(numbers(readings, 'powerWatts')).toEqual(truth.power_w);
      expect(numbers(readings, 'temperatureCelsius')).toEqual(truth.temp_c);
    }
    expect(sorted(pids(readings))).toEqual(sorted(truth.pids));
    expect(readings.flatMap(({ problem }, at) => (problem === null ? [] : [at]))).toEqual(
      truth.err_gpu === undefined ? [] : [truth.err_gpu],
    );
  });

  it.each(of(/--query-gpu=/))('$file', ({ file, truth }) => {
    const readings = read(file);
    expect(
      readings.map(({ name, driverVersion }, at) => ({
        name,
        driver: driverVersion,
        mem_total_mib: numbers(readings, 'memoryTotalBytes', MIB)[at],
        mem_used_mib: numbers(readings, 'memoryUsedBytes', MIB)[at],
        util_pct: numbers(readings, 'busyRatio', 0.01)[at],
        temp_c: numbers(readings, 'temperatureCelsius')[at],
        power_w: numbers(readings, 'powerWatts')[at],
      })),
    ).toEqual(truth.rows.map(({ power_instant_w: _, mig: __, ...row }: Record<string, unknown>) => row));
  });

  it.each(of(/^nvidia-smi -L$/))('$file', ({ file, truth }) => {
    const readings = read(file);
    expect(devicesOf(readings)).toHaveLength(truth.gpus);
    expect(readings.length - devicesOf(readings).length).toBe(truth.mig);
  });

  it.each(of(/^nvidia-smi dmon /))('$file', ({ file, truth }) => {
    const text = readFileSync(join(folder, file), 'utf8');
    const samples = text.split('\n').filter((line) => /^ +0 /.test(line));
    expect(samples).toHaveLength(truth.data_rows);
    const [, powerWatts, temperatureCelsius] = (samples.at(-1) ?? '').trim().split(/ +/).map(Number);
    const readings = read(file);
    expect(readings).toHaveLength(1);
    expect(readings[0]?.numbers.values).toMatchObject({ powerWatts, temperatureCelsius });
  });

  it.each([...of(/^nvidia-smi pmon /), ...of(/--query-compute-apps=/)])('$file', ({ file, truth }) => {
    expect(sorted(pids(read(file)))).toEqual(sorted(truth.pids));
  });

  it.each([...of(/--query-accounted-apps=/), ...of(/--query-retired-pages=/)])('$file', ({ file, truth }) => {
    const readings = read(file);
    expect(readings).toHaveLength(truth.lines > 1 ? 1 : 0);
    // Processes that have ended are in these lists too: none of them is told as running.
    for (const { processes } of readings) expect(processes).toBeNull();
  });

  it.each(of(/^nvidia-smi topo /))('$file', ({ file, truth }) => {
    const readings = read(file);
    // The index has figures for the one with several devices only.
    expect(readings).toHaveLength(truth.gpus ?? 1);
    for (const { links } of readings) expect(links).toHaveLength((truth.gpus ?? 1) - 1);
    if (truth.gpus !== undefined) {
      expect(readings[0]?.links[0]).toEqual({ kind: 'nvlink', peer: 'nvidia-1', count: 18, up: null });
      expect(readings.map(({ numaNode }) => numaNode)).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    }
  });

  it.each(of(/^nvidia-smi nvlink /))('$file', ({ file, truth }) => {
    const readings = read(file);
    expect(readings).toHaveLength(truth.gpus ?? 1);
    const up = readings.flatMap(({ links }) => links).filter((link) => link.up === true);
    const total = up.reduce((sum, { count }) => sum + count, 0);
    expect(total).toBe(truth.links ?? (file.includes('h100-80gb') ? 18 : 0));
    // A card whose links nobody plugged anything into is well.
    expect(readings.flatMap(({ conditions }) => conditions)).toEqual([]);
  });

  it.each(of(/PAGE_RETIREMENT/))('$file', ({ file, truth }) => {
    const readings = read(file);
    expect(readings).toHaveLength(truth.gpus);
    expect(readings.map(({ conditions }) => (conditions.length === 0 ? 'No' : 'Yes'))).toEqual(truth.pending);
  });

  it.each(of(/(--version|--help-query-gpu)$/))('$file has no devices and is refused', ({ file }) => {
    expect(() => read(file)).toThrowError(/not one that this build can read/);
  });

  it('tells counts of uncorrected errors, and a device that is lost', () => {
    const [ecc, lost] = ['ecc', 'one-lost'].map((what) =>
      read(`nvidia/xml/mock-gb200-x2-${what}_580.65.06.xml`),
    );
    expect(ecc?.[0]?.numbers.values.eccUncorrectedTotal).toBeGreaterThan(0);
    expect(ecc?.[1]?.numbers.values.eccUncorrectedTotal).toBe(0);
    expect(lost?.[0]?.conditions.map(({ code }) => code)).toEqual(['row-remap-failed', 'ecc-uncorrected']);
    expect(lost?.[1]?.conditions.map(({ code, rung }) => [code, rung])).toEqual([
      ['device-lost', 'resetNeeded'],
    ]);
    expect(new Set(Object.values(lost?.[1]?.numbers.values ?? {}))).toEqual(new Set(['lost']));
  });

  it('no capture is left out', () => {
    // Kernel messages are read natively: test/integration/native.
    const known =
      /^nvidia-smi( -q -x| -q| --query \(same as -q\)| -L)?$|--query-(gpu|compute-apps|accounted-apps|retired-pages)=|^nvidia-smi (dmon|pmon|topo|nvlink) |PAGE_RETIREMENT|(--version|--help-query-gpu)$|^dmesg$/;
    const left = rows.filter(({ file, command }) => !known.test(command) && !file.startsWith('nvidia/fail/'));
    expect(left.map(({ file }) => file)).toEqual([]);
    expect(rows.length).toBeGreaterThan(140);
  });

  it.each(rows.filter(({ file }) => file.startsWith('nvidia/fail/')))('$file', ({ file, truth }) => {
    expect(truth.gpus).toBe(0);
    expect(() => read(file)).toThrowError(/driver|version mismatch|device handle/i);
  });
});
