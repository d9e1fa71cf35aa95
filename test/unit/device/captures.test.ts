// Every capture of a vendor's tool but one, read in place: what the index says of it must come out. Where the parser
// says something else, or leaves something out, that stands here with its reason.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { ToolReading, Vendor } from '../../../src/device/accelerator.ts';
import { parseNpuSmi } from '../../../src/device/ascend/npu-smi.ts';
import { parseMxTopology } from '../../../src/device/metax.ts';
import { createVendors } from '../../../src/device/vendors.ts';
import { createScriptedRunner } from './scripted-runner.ts';

const folder = fileURLToPath(new URL('../../../../shared/fixtures/', import.meta.url));
const isHere = existsSync(`${folder}INDEX.tsv`);
const MIB = 1024 * 1024;

interface Row {
  readonly file: string;
  readonly devices: number;
  readonly expected: Expected;
}

/** What the index may hold of a capture; each row has the part that its tool tells. */
interface Expected {
  readonly driver: string;
  readonly chips: number &
    readonly {
      readonly name: string;
      readonly bus: string;
      readonly health: string;
      readonly power_w: number | null;
      readonly temp_c: number;
      readonly core_pct: number;
      readonly mem_used_mib: number;
      readonly mem_total_mib: number;
    }[];
  readonly procs: readonly { readonly pid: number; readonly name: string; readonly mem_mib: number }[];
  readonly map: readonly (readonly unknown[])[];
  readonly kv: readonly (readonly [string, string])[];
  readonly npus: readonly number[];
  readonly all_links: string;
  readonly affinity: readonly string[];
  readonly cards: number;
  readonly gpus: number;
  readonly c0: Readonly<Record<string, number>>;
  readonly t0: Readonly<Record<string, string>>;
  readonly temp_c: readonly number[];
  readonly power_w: readonly (number | null)[];
  readonly cap_w: readonly number[];
  readonly use_pct?: readonly number[];
  readonly util_pct: readonly number[];
  readonly used_pct: readonly number[];
  readonly mem_used_mib: readonly number[];
  readonly mem_total_mib: readonly number[];
  readonly mem_used_mb: readonly number[];
  readonly mem_total_mb: readonly number[];
  readonly mem_used_total_mib: readonly (readonly number[])[];
  readonly power_cap_w: readonly (readonly number[])[];
}

const rows: Row[] = (isHere ? readFileSync(`${folder}INDEX.tsv`, 'utf8') : '')
  .split('\n')
  .slice(1)
  .flatMap((line) => {
    const cells = line.split('\t');
    const [file = ''] = cells;
    if (file === '' || /^(?:nvidia|host)\//.test(file)) return [];
    return [{ file, devices: Number(cells[4]), expected: JSON.parse(cells.at(-1) ?? 'null') as Expected }];
  });
const read = (file: string): string => readFileSync(`${folder}${file}`, 'utf8');
const of = (start: string): Row[] => rows.filter(({ file }) => file.startsWith(start));

function vendor(name: string): Vendor {
  const found = createVendors().find((each) => each.name === name);
  if (found === undefined) throw new Error(`no vendor ${name}`);
  return found;
}

/** What the vendor makes of one text, when its tool prints it for `args` and nothing for anything else. */
function ask(name: string, text: string, args: RegExp): Promise<readonly ToolReading[]> {
  const { tools, query } = vendor(name);
  return query(createScriptedRunner(tools[0] ?? '', (line) => (args.test(line) ? text : null)));
}

const all = (readings: readonly ToolReading[], name: keyof ToolReading['numbers']['values']): unknown[] =>
  readings.map(({ numbers }) => numbers.values[name]);
const scaled = (values: readonly (number | null)[], factor: number): unknown[] =>
  values.map((value) => (value === null ? 'unsupported' : value * factor));

describe.skipIf(!isHere)(
  isHere ? 'captures' : 'captures (skipped: there is no ../shared/fixtures here)',
  () => {
    test('are all read by a test below', () => {
      expect(rows).toHaveLength(62);
      const folders = new Set(rows.map(({ file }) => file.split('/').slice(0, -1).join('/')));
      expect([...folders].sort()).toEqual([
        'amd',
        'ascend/info',
        'ascend/info-m',
        'ascend/sub',
        'cambricon',
        'enflame',
        'hygon',
        'iluvatar',
        'kunlunxin',
        'metax',
        'tenstorrent',
      ]);
    });

    test.each(of('ascend/info/'))('npu-smi info: $file', async ({ file, devices, expected }) => {
      const readings = await ask('ascend', read(file), /^info$/);
      expect(readings).toHaveLength(devices);
      const levels: Record<string, readonly string[]> = {
        OK: [],
        Warning: ['health-warning warn'],
        Alarm: ['health-alarm noNewJobs'],
      };
      for (const [at, chip] of expected.chips.entries()) {
        const reading = readings[at];
        const { values } = reading?.numbers ?? { values: {} };
        expect(reading).toMatchObject({
          name: chip.name,
          // The tool prints NA for a chip that is not on the bus.
          busId: chip.bus === 'NA' ? null : chip.bus,
          driverVersion: expected.driver,
          healthKnown: true,
        });
        expect(reading?.conditions.map(({ code, rung }) => `${code} ${rung}`)).toEqual(levels[chip.health]);
        expect(values).toMatchObject({
          // NA, and `-` at the second chip of a card, whose power stands at the first.
          powerWatts: chip.power_w ?? 'unsupported',
          temperatureCelsius: chip.temp_c,
          busyRatio: chip.core_pct / 100,
          memoryUsedBytes: chip.mem_used_mib * MIB,
          memoryTotalBytes: chip.mem_total_mib * MIB,
        });
      }
      const told = readings.flatMap(({ processes }) => processes ?? []);
      expect(told).toEqual(
        expected.procs.map((each: { pid: number; name: string; mem_mib: number }) => ({
          pid: each.pid,
          name: each.name,
          memoryBytes: each.mem_mib * MIB,
        })),
      );
      // A table without the part about processes tells nothing of them: not that there are none.
      const isTold = /Process id/.test(read(file));
      expect(readings.every(({ processes }) => (processes === null) !== isTold)).toBe(true);
    });

    test.each([...of('ascend/info-m/'), ...of('ascend/sub/m_')])(
      'npu-smi info -m: $file',
      ({ file, expected }) => {
        const output = parseNpuSmi(read(file));
        const places = output.kind === 'map' ? output.places : [];
        // Rows without a logic id are the boards' controllers.
        const chips = expected.map.filter((each) => each[2] !== null);
        expect(places.map(({ npu, chip, logicId, name }) => [npu, chip, logicId, name])).toEqual(chips);
      },
    );

    /** Fields of the block of the board's controller (MCU), at the end: not the chip's, so left out. */
    const controllerFields: Record<string, number> = {
      'ascend/sub/common_910B-busy.txt': 2,
      'ascend/sub/common_910B1.txt': 2,
      'ascend/sub/temp_910B3-25.5.1.txt': 3,
    };
    const forms = of('ascend/sub/').filter(({ file }) =>
      /\/(?:board|common|ecc|health|power|product|temp|usages)/.test(file),
    );
    test.each(forms)('npu-smi info -t: $file', ({ file, expected }) => {
      const output = parseNpuSmi(read(file));
      const pairs = output.kind === 'fields' ? output.blocks.flatMap(({ fields }) => [...fields]) : [];
      expect(pairs).toEqual(expected.kv.slice(0, expected.kv.length - (controllerFields[file] ?? 0)));
      expect(pairs.length).toBeGreaterThan(2);
    });

    test('npu-smi: list, topology and a driver that is not ready', () => {
      const list = parseNpuSmi(read('ascend/sub/l_910B3-x8-25.5.1.txt'));
      const npus =
        list.kind === 'fields' ? list.blocks.flatMap(({ fields }) => fields.get('NPU ID') ?? []) : [];
      expect(npus.map(Number)).toEqual(of('ascend/sub/l_')[0]?.expected.npus);

      const topology = parseNpuSmi(read('ascend/sub/topo_910B1-x8.txt'));
      const expected = of('ascend/sub/topo_')[0]?.expected;
      if (topology.kind !== 'topology') throw new Error(topology.kind);
      expect(topology.links).toHaveLength(8 * 7);
      expect(new Set(topology.links.map(({ kind }) => kind))).toEqual(new Set([expected?.all_links]));
      expect([...topology.affinity.values()]).toEqual(expected?.affinity);

      expect(() => parseNpuSmi(read('ascend/sub/fail_dcmi-8005.txt'))).toThrow(/-8005/);
    });

    // hccn_tool belongs to the network ports of the chips, which no number of the contract tells of: never asked.
    test.each(of('ascend/sub/hccn_'))('hccn_tool is another tool, and refused: $file', ({ file }) => {
      expect(() => parseNpuSmi(read(file))).toThrow(
        expect.objectContaining({ code: 'DEVICE_OUTPUT_UNKNOWN' }),
      );
    });

    const cards = rows.filter(({ file }) => /^(?:amd|hygon)\//.test(file));
    test.each(cards.filter(({ file }) => file.endsWith('.json')))(
      'rocm-smi and hy-smi as JSON: $file',
      async (row) => {
        const { file, expected } = row;
        const readings = await ask(file.split('/')[0] ?? '', read(file), /--json/);
        const { c0 } = expected;
        expect(readings).toHaveLength(expected.cards);
        expect(readings[0]?.numbers.values).toMatchObject({
          temperatureCelsius: c0.temp_edge_c,
          powerWatts: c0.power_w,
          busyRatio: (c0.use_pct ?? Number.NaN) / 100,
          memoryTotalBytes: c0.vram_total_b ?? (c0.vram_total_mib ?? 0) * MIB,
          memoryUsedBytes: c0.vram_used_b ?? (c0.vram_used_mib ?? 0) * MIB,
        });
        expect(new Set(readings.map(({ id }) => id)).size).toBe(expected.cards);
        const names: Record<string, string | null> = {
          'amd/rx7800xt_rocm624.json': 'Navi 32 [Radeon RX 7700 XT / 7800 XT]',
          'amd/vega-20-WKS-GL-XE.json': 'Radeon Instinct MI50 32GB',
          // It prints the vendor's number where the name should stand.
          'amd/rx6700xt_rocm430.json': null,
          'hygon/hygon_24.04.3.json': 'DCU xxxx',
        };
        if (file in names) expect(readings[0]?.name).toBe(names[file]);
      },
    );

    test.each(cards.filter(({ file }) => file.endsWith('.txt')))(
      'rocm-smi and hy-smi as a table: $file',
      async (row) => {
        const { file, expected } = row;
        const readings = await ask(file.split('/')[0] ?? '', read(file), /^$/);
        expect(readings).toHaveLength(expected.gpus);
        expect(all(readings, 'temperatureCelsius')).toEqual(expected.temp_c);
        expect(all(readings, 'powerWatts')).toEqual(expected.power_w);
        expect(all(readings, 'powerLimitWatts')).toEqual(expected.cap_w);
        expect(all(readings, 'busyRatio')).toEqual(
          (expected.use_pct ?? expected.power_w.map(() => 0)).map((percent) => percent / 100),
        );
        // The table has a percentage of memory in use and no size: no bytes follow from it.
        expect(new Set(all(readings, 'memoryUsedBytes'))).toEqual(new Set([undefined]));
      },
    );

    test.each(of('cambricon/'))('cnmon: $file', async ({ file, expected }) => {
      const readings = await ask('cambricon', read(file), /^$/);
      expect(readings.map(({ name, index }) => [index, name])).toEqual([
        [0, 'MLU370-X8'],
        [1, 'MLU370-X8'],
      ]);
      expect(all(readings, 'temperatureCelsius')).toEqual(expected.temp_c);
      expect(all(readings, 'powerWatts')).toEqual(expected.power_w);
      expect(all(readings, 'powerLimitWatts')).toEqual(expected.cap_w);
      expect(all(readings, 'memoryUsedBytes')).toEqual(scaled(expected.mem_used_mib, MIB));
      expect(all(readings, 'memoryTotalBytes')).toEqual(scaled(expected.mem_total_mib, MIB));
      expect(all(readings, 'busyRatio')).toEqual(scaled(expected.util_pct, 0.01));
      // Ecc-Error is N/A.
      expect(all(readings, 'eccUncorrectedTotal')).toEqual(['unsupported', 'unsupported']);
      expect(readings.map(({ processes }) => processes)).toEqual([[], []]);
    });

    test.each(of('enflame/'))('efsmi: $file', async ({ file, expected }) => {
      const readings = await ask('enflame', read(file), /^$/);
      expect(readings.map(({ name }) => name)).toEqual(['S60', 'S60']);
      expect(all(readings, 'temperatureCelsius')).toEqual(expected.temp_c);
      expect(all(readings, 'powerWatts')).toEqual(expected.power_w);
      expect(all(readings, 'powerLimitWatts')).toEqual(expected.cap_w);
      expect(all(readings, 'memoryTotalBytes')).toEqual(scaled(expected.mem_total_mib, MIB));
      // `used_pct` is the load: the cell Mem holds the size alone. `state` (Dpm) is no number of the contract.
      expect(all(readings, 'busyRatio')).toEqual(scaled(expected.used_pct, 0.01));
    });

    test.each(of('iluvatar/'))('ixsmi: $file', async ({ file, expected }) => {
      const readings = await ask('iluvatar', read(file), /^$/);
      expect(readings).toHaveLength(expected.gpus);
      expect(new Set(readings.map(({ name }) => name))).toEqual(new Set(['Iluvatar BI-V150']));
      expect(all(readings, 'temperatureCelsius')).toEqual(expected.temp_c);
      expect(all(readings, 'powerWatts')).toEqual(scaled(expected.power_w, 1));
      expect(all(readings, 'memoryUsedBytes')).toEqual(scaled(expected.mem_used_mib, MIB));
      expect(all(readings, 'memoryTotalBytes')).toEqual(scaled(expected.mem_total_mib, MIB));
      expect(new Set(all(readings, 'clockHertz'))).toEqual(new Set([1.5e9]));
    });

    test.each(of('kunlunxin/'))('xpu_smi: $file', async ({ file, expected }) => {
      const readings = await ask('kunlunxin', read(file), /^$/);
      expect(
        readings.map(({ name, nodeNumber, driverVersion }) => [name, nodeNumber, driverVersion]),
      ).toEqual([
        ['R300', 0, '4.0'],
        ['R300', 1, '4.0'],
      ]);
      expect(all(readings, 'busyRatio')).toEqual(scaled(expected.use_pct ?? [], 0.01));
      expect(all(readings, 'memoryUsedBytes')).toEqual(scaled(expected.mem_used_mb, MIB));
      expect(all(readings, 'memoryTotalBytes')).toEqual(scaled(expected.mem_total_mb, MIB));
    });

    test('mx-smi: the table and the matrix of its links', async () => {
      const { expected } = of('metax/c500-x8_')[0] ?? {};
      const readings = await ask('metax', read('metax/c500-x8_2.2.9.txt'), /^$/);
      expect(readings).toHaveLength(expected?.cards ?? -1);
      expect(new Set(readings.map(({ name }) => name))).toEqual(new Set(['MetaX C500']));
      expect(all(readings, 'temperatureCelsius')).toEqual(expected?.temp_c);
      const pairs = (one: unknown[], two: unknown[]): unknown[] => one.map((value, at) => [value, two[at]]);
      expect(pairs(all(readings, 'powerWatts'), all(readings, 'powerLimitWatts'))).toEqual(
        expected?.power_cap_w,
      );
      const memory = expected?.mem_used_total_mib.map((each) => each.map((value) => value * MIB));
      expect(pairs(all(readings, 'memoryUsedBytes'), all(readings, 'memoryTotalBytes'))).toEqual(memory);

      const links = parseMxTopology(read('metax/c500-x8-topo.txt'));
      expect(links).toHaveLength(of('metax/c500-x8-topo')[0]?.expected.gpus ?? -1);
      expect(links[0]?.links.map(({ kind }) => kind)).toEqual([
        'MX',
        'MX',
        'MX',
        'NODE',
        'NODE',
        'NODE',
        'NODE',
      ]);
    });

    test.each(of('tenstorrent/'))('tt-smi: $file', async ({ file, expected }) => {
      const readings = await ask('tenstorrent', read(file), /^-s$/);
      expect(readings).toHaveLength(expected.chips);
      // Voltage, current and heartbeat are no numbers of the contract.
      expect(readings[0]?.numbers.values).toMatchObject({
        powerWatts: Number(expected.t0.power),
        temperatureCelsius: Number(expected.t0.asic_temperature),
        clockHertz: Number(expected.t0.aiclk) * 1e6,
      });
      expect(new Set(readings.map(({ id }) => id)).size).toBe(expected.chips);
    });
  },
);
