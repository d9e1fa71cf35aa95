import { describe, expect, it } from 'vitest';
import { renderDcgm } from '../../../src/exporter/dcgm-page.ts';
import { createDevicePage } from '../../../src/exporter/device-page.ts';
import { readDevices } from '../../../src/exporter/device-reader.ts';
import { renderNpuExporter } from '../../../src/exporter/npu-exporter-page.ts';
import { FLEET_MS, type Fleet, sampleFault, sampleFleet, withPartition } from '../../fakes/fleet.ts';
import { parsePage } from '../../system/exposition.ts';

const holders = (id: string) => (id.endsWith('0000') ? ['job-a'] : []);
const exported = ({ records }: Fleet) => ({ records, heldBy: holders });
const native = (fleet: Fleet, window: Fleet['window'] | null = fleet.window) =>
  createDevicePage().render(exported(fleet), window, FLEET_MS);
const readers = (fleet: Fleet) => readDevices(exported(fleet), fleet.window);
const dcgm = (fleet: Fleet, hostLabel: 'Hostname' | 'hostname' = 'Hostname') =>
  renderDcgm(readers(fleet), { hostname: 'h', hostLabel });
const npu = (fleet: Fleet) => renderNpuExporter(readers(fleet), { version: '0.1.0' });

/** Values of a metric, keyed by one of its labels. */
function by(text: string, metric: string, label: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [series, value] of parsePage(text)) {
    const key = series.startsWith(`${metric}{`)
      ? new RegExp(`[{,]${label}="([^"]*)"`).exec(series)?.[1]
      : undefined;
    if (key !== undefined) found[key] = value;
  }
  return found;
}

/** What every scraper asks of a page. */
function expectClean(text: string): void {
  const heads = [...text.matchAll(/^# TYPE (\S+) (gauge|counter)$/gm)].map(([, name]) => name);
  expect(new Set(heads).size).toBe(heads.length);
  let head = '';
  const seen = new Set<string>();
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const type = /^# TYPE (\S+)/.exec(line)?.[1];
    if (type !== undefined) head = type;
    if (line.startsWith('#')) continue;
    const match = /^([a-zA-Z_]+)(?:\{(?:[a-zA-Z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[\d.e+-]+)$/.exec(
      line,
    );
    expect(match, line).not.toBeNull();
    expect(match?.[1]).toBe(head);
    const series = line.slice(0, line.lastIndexOf(' '));
    expect(seen.has(series), series).toBe(false);
    seen.add(series);
  }
}

const mixed = sampleFleet('2xH100,2xAscend910B3', {
  busy: 3,
  records: {
    1: {
      health: 'failed',
      rung: 'resetNeeded',
      faults: [sampleFault(), sampleFault({ code: 'row-remap', count: 1 })],
    },
    3: { health: 'unknown', faults: [sampleFault({ code: 'ascend-2148', rung: 'warn' })] },
  },
  values: { '1/accelerator.powerWatts': 'lost', '3/accelerator.temperatureCelsius': 'late' },
});

describe('the native page of accelerators', () => {
  const text = native(withPartition(mixed, 0, '1g.10gb'));

  it('is clean, and its counters alone end in _total', () => {
    expectClean(text);
    for (const [, name = '', kind] of text.matchAll(/^# TYPE (\S+) (gauge|counter)$/gm))
      expect(name.endsWith('_total'), name).toBe(kind === 'counter');
  });

  it('has base units, three labels on hot series, and all else in the info', () => {
    expect(text).toMatch(
      /^accelerator_power_watts\{device="0",uuid="GPU-sim-[^"]+",vendor="nvidia"\} [\d.]+$/m,
    );
    expect(text).toMatch(/^accelerator_info\{.*model="NVIDIA H100 80GB HBM3".*simulated="true"\} 1$/m);
    expect(by(text, 'accelerator_memory_total_bytes', 'vendor')).toEqual({
      nvidia: 80 * 2 ** 30,
      ascend: 64 * 2 ** 30,
    });
    expect(by(text, 'accelerator_clock_hertz', 'domain')).toMatchObject({
      sm: expect.any(Number),
      aicore: expect.any(Number),
    });
    expect(by(text, 'accelerator_peak_flops', 'precision')).toMatchObject({ bf16: 294.9e12, fp8: 1978.9e12 });
    expect(by(text, 'accelerator_engine_utilization_ratio', 'engine').cube).toBeGreaterThan(0);
    expect(by(text, 'accelerator_estimated_flops', 'method').estimate).toBeGreaterThan(0);
    expect(text).toMatch(/^accelerator_job_info\{device="0",.*job_id="job-a"\} 1$/m);
  });

  it('leaves out what is absent and counts it by reason', () => {
    const page = parsePage(text);
    const power = [...page.keys()].filter((series) => series.startsWith('accelerator_power_watts{'));
    expect(power).toHaveLength(3);
    expect(by(text, 'accelerator_absent_values', 'reason')).toMatchObject({ lost: 1, late: 1 });
    expect(text).not.toMatch(/ (?:NaN|-1|null|undefined)$/m);
  });

  it('tells health, faults and whether jobs may come', () => {
    expect(text).toMatch(/^accelerator_health_state\{device="0",[^}]*vendor="nvidia"\} 1$/m);
    expect(text).toMatch(/^accelerator_health_state\{device="1",[^}]*vendor="nvidia"\} 0$/m);
    expect(text).not.toMatch(/^accelerator_health_state\{device="1",[^}]*vendor="ascend"\}/m);
    expect(by(text, 'accelerator_error_events_total', 'code')).toMatchObject({ 'xid-79': 2, 'row-remap': 1 });
    expect(text).toMatch(/^accelerator_error_last_code\{device="1",[^}]*vendor="nvidia"\} 79$/m);
    expect(text).toMatch(/^accelerator_takes_jobs\{device="1",[^}]*vendor="nvidia"\} 0$/m);
    expect(by(text, 'flopd_agent_collector_success', 'collector')).toEqual({ nvidia: 1, ascend: 1 });
  });

  it('names partitions apart, so that a sum over devices counts nothing twice', () => {
    expect(text).toMatch(/^accelerator_partition_memory_total_bytes\{device="0",partition="0",/m);
    expect(
      [...parsePage(text).keys()].filter((each) => each.startsWith('accelerator_memory_total_bytes{')),
    ).toHaveLength(4);
  });

  it('keeps what it knows without a window, and shows no number of it', () => {
    const old = native(mixed, null);
    expectClean(old);
    expect(old).toContain('accelerator_info{');
    expect(old).not.toContain('accelerator_power_watts');
    expect(native(sampleFleet('1xH100'), null)).toContain('accelerator_peak_flops{');
    expect(createDevicePage().render({ records: [], heldBy: () => [] }, null, FLEET_MS)).toBe('');
  });

  it('survives any names, and two devices with one id', () => {
    const [first] = mixed.records;
    if (first === undefined) throw new Error('no record');
    const name = 'a"b\\c\nd';
    const text = native({
      records: [
        { ...first, name },
        { ...first, slot: 9 },
      ],
      window: mixed.window,
    });
    expectClean(text);
    expect(text).toContain('model="a\\"b\\\\c\\nd"');
  });

  it('is rendered once per window and list of records', () => {
    const page = createDevicePage();
    const devices = exported(mixed);
    const once = page.render(devices, mixed.window, FLEET_MS);
    expect(page.render(devices, mixed.window, FLEET_MS)).toBe(once);
    expect(page.render({ ...devices, records: mixed.records.slice(0, 1) }, mixed.window, FLEET_MS)).not.toBe(
      once,
    );
  });
});

describe('the page in the names of dcgm-exporter', () => {
  const text = dcgm(withPartition(mixed, 0, '1g.10gb'));

  it('is clean, has one vendor alone and its units', () => {
    expectClean(text);
    expect(text).not.toContain('910B3');
    expect(by(text, 'DCGM_FI_DEV_SM_CLOCK', 'gpu')['0']).toBeLessThan(3000);
    const used = by(text, 'DCGM_FI_DEV_FB_USED', 'gpu')['1'] ?? 0;
    const free = by(text, 'DCGM_FI_DEV_FB_FREE', 'gpu')['1'] ?? 0;
    expect(used + free).toBeCloseTo(80 * 1024, 3);
    expect(by(text, 'DCGM_FI_DEV_GPU_UTIL', 'gpu')['0']).toBeGreaterThan(1);
    const joules = by(native(mixed), 'accelerator_energy_joules_total', 'uuid');
    const millijoules = by(text, 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'UUID');
    for (const [uuid, value] of Object.entries(millijoules))
      expect(value).toBeCloseTo((joules[uuid] ?? 0) * 1000, 0);
  });

  it('has the labels that dashboards ask for, and leaves out what is absent', () => {
    expect(text).toMatch(
      /^DCGM_FI_DEV_GPU_TEMP\{gpu="0",UUID="GPU-sim-[^"]+",pci_bus_id="[^"]+",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="h",DCGM_FI_DRIVER_VERSION="simulated",simulated="true"\}/m,
    );
    expect(Object.keys(by(text, 'DCGM_FI_DEV_POWER_USAGE', 'gpu'))).toEqual(['0']);
    expect(text).toMatch(/^DCGM_FI_DEV_FB_USED\{gpu="0",.*GPU_I_PROFILE="1g\.10gb",GPU_I_ID="0"/m);
    expect(dcgm(mixed, 'hostname')).toContain(',hostname="h"');
  });

  it('tells the last Xid, and 0 where there was none', () => {
    expect(by(text, 'DCGM_FI_DEV_XID_ERRORS', 'gpu')).toEqual({ '0': 0, '1': 79 });
    expect(text).toContain('err_code="79"');
  });
});

describe('the page in the names of npu-exporter', () => {
  const text = npu(mixed);

  it('is clean, all gauges, and has one vendor alone', () => {
    expectClean(text);
    expect(text).not.toContain(' counter\n');
    expect(text).not.toContain('H100');
    expect(parsePage(text).get('machine_npu_nums')).toBe(2);
    expect(parsePage(text).get('machine_unknown_npu_nums')).toBe(1);
    expect(parsePage(npu(sampleFleet('1xH100'))).get('machine_npu_nums')).toBe(0);
  });

  it('has its units and labels, and -1 for a reading that failed', () => {
    expect(text).toMatch(
      /^npu_chip_info_power\{id="0",model_name="910B3",vdie_id="NPU-sim-[^"]+",pcie_bus_info="[^"]+",namespace="",pod_name="",container_name="job-a",simulated="true"\} [\d.]+$/m,
    );
    expect(by(text, 'npu_chip_info_hbm_total_memory', 'id')).toEqual({ '0': 65_536, '1': 65_536 });
    expect(by(text, 'npu_chip_info_temperature', 'id')['1']).toBe(-1);
    expect(by(text, 'npu_chip_info_health_status', 'id')).toEqual({ '0': 1, '1': -1 });
    expect(by(text, 'npu_chip_info_error_code', 'id')).toEqual({ '1': 2148 });
    expect(by(text, 'container_npu_total_memory', 'id')).toEqual({ '0': 65_536 });
  });

  it('leaves out what a chip does not have', () => {
    expect(text).not.toContain('npu_chip_info_overall_utilization');
    expect(text).not.toContain('npu_chip_info_total_memory');
    expect(npu(sampleFleet('1x310P3'))).toContain('npu_chip_info_total_memory{');
  });
});
