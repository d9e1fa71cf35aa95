import { describe, expect, it } from 'vitest';
import { metricName } from '../../../src/exporter/names.ts';
import { createPage } from '../../../src/exporter/page.ts';
import type { ColumnFamilyName } from '../../../src/protocol/columns.ts';
import { columnFamilies } from '../../../src/protocol/columns.ts';
import type { Inventory } from '../../../src/protocol/control.ts';
import { inventory } from '../protocol/messages.ts';
import { column, families, makeWindow } from '../protocol/windows.ts';

const series = (text: string) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

describe('the names of metrics', () => {
  it.each(families.filter((each) => !each.startsWith('accelerator.')))(
    'follow the rules for %s',
    (family: ColumnFamilyName) => {
      const name = metricName(family);
      const { kind, unit } = columnFamilies[family];
      expect(name).toMatch(/^compute_node(_[a-z0-9]+)+$/);
      expect(name.endsWith('_total')).toBe(kind === 'counter');
      const words = name.split('_');
      expect(words.filter((word, at) => word === words[at + 1])).toEqual([]);
      const suffix = {
        ratio: 'ratio',
        seconds: 'seconds',
        bytes: 'bytes',
        bytesPerSecond: 'bytes_per_second',
        hertz: 'hertz',
        watts: 'watts',
        joules: 'joules',
        celsius: 'celsius',
        volts: 'volts',
        rpm: 'rpm',
        count: '',
        flops: 'flops',
      }[unit];
      expect(name.replace(/_total$/, '').endsWith(suffix)).toBe(true);
    },
  );

  it('are all different', () => {
    expect(new Set(families.map(metricName)).size).toBe(families.length);
  });

  it('are those that dashboards use', () => {
    expect(metricName('cpu.busyRatio')).toBe('compute_node_cpu_busy_ratio');
    expect(metricName('network.receiveBytesTotal')).toBe('compute_node_network_receive_bytes_total');
    expect(metricName('power.energyJoulesTotal')).toBe('compute_node_energy_joules_total');
    expect(metricName('pressure.waitingSecondsTotal')).toBe('compute_node_pressure_waiting_seconds_total');
  });
});

describe('the page of the host', () => {
  it('shows shares as means, all else as last values, with help and type once per family', () => {
    const columns = [
      column('cpu.busyRatio'),
      column('disk.readBytesTotal{vda}'),
      column('cpu.load1'),
      column('disk.readBytesTotal{vdb}'),
    ];
    const text = createPage().host(
      makeWindow(columns, [[0, 0.25, 1, 0.75], 123456789012345, [1, 2, 4, 3], 0]),
    );
    expect(text).toBe(`# HELP compute_node_sample_timestamp_seconds When the host was read last
# TYPE compute_node_sample_timestamp_seconds gauge
compute_node_sample_timestamp_seconds 1795000000
# HELP compute_node_cpu_busy_ratio ${columnFamilies['cpu.busyRatio'].help}
# TYPE compute_node_cpu_busy_ratio gauge
compute_node_cpu_busy_ratio 0.25
# HELP compute_node_disk_read_bytes_total Bytes read
# TYPE compute_node_disk_read_bytes_total counter
compute_node_disk_read_bytes_total{disk="vda"} 123456789012345
compute_node_disk_read_bytes_total{disk="vdb"} 0
# HELP compute_node_cpu_load1 Load average over 1 minute
# TYPE compute_node_cpu_load1 gauge
compute_node_cpu_load1 3
`);
  });

  it('leaves out what is absent, whole families and single series', () => {
    const columns = [
      column('cpu.load1'),
      column('network.speedBytesPerSecond{lo}'),
      column('network.speedBytesPerSecond{eth0}'),
      column('cpu.load5'),
    ];
    const text = createPage().host(
      makeWindow(columns, ['unsupported', 'unsupported', 125000000, Number.NaN]),
    );
    expect(series(text)).toEqual([
      'compute_node_sample_timestamp_seconds 1795000000',
      'compute_node_network_speed_bytes_per_second{interface="eth0"} 125000000',
    ]);
    expect(text).not.toContain('load');
  });

  it('escapes label values and never shows a series twice', () => {
    const columns = [column('storage.freeBytes{/a"b\\c\nd}'), column('cpu.load1'), column('cpu.load1')];
    columns.push(
      { family: 'cpu.load5', owner: 0, label: null },
      { family: 'disk.readsTotal', owner: 'host', label: null },
    );
    const text = createPage().host(makeWindow(columns, [1, 2, 3, 4, 5]));
    expect(series(text).slice(1)).toEqual([
      'compute_node_storage_free_bytes{mount="/a\\"b\\\\c\\nd"} 1',
      'compute_node_cpu_load1 2',
    ]);
  });

  it('is rendered at most once per window, though the memory of windows is used again', () => {
    const page = createPage();
    const first = makeWindow([column('cpu.load1')], [1]);
    const text = page.host(first);
    first.values.fill(2);
    expect(page.host(first)).toBe(text);
    expect(series(page.host({ ...first, sequence: 2 }))[1]).toBe('compute_node_cpu_load1 2');
  });

  it('says what the host is, and leaves out what is not known', () => {
    const page = createPage();
    const lines = series(page.inventory(inventory));
    expect(lines).toContain(
      'compute_node_info{hostname="host-1",os="Debian GNU/Linux 12 (bookworm)",kernel="Linux 6.1.0",architecture="x64",virtualisation="kvm",cpu_model="AMD EPYC"} 1',
    );
    expect(lines).toContain('compute_node_peak_flops{precision="fp64",method="computed"} 78000000000');
    expect(lines.filter((line) => line.includes('measured'))).toEqual([]);
    const unknown: Inventory = {
      ...inventory,
      os: null,
      cpuSockets: null,
      cpuPeakFlops: { computed: inventory.cpuPeakFlops.measured, measured: inventory.cpuPeakFlops.measured },
    };
    const text = page.inventory(unknown);
    expect(text).toContain('os=""');
    expect(text).not.toMatch(/sockets|peak_flops/);
  });
});
