// The host's part of the Prometheus page: rendered when somebody asks, at most once per window, into one string.
// What is absent is left out; the age of the numbers is a series of its own, because samples carry no stamps.
import type { ColumnFamilyName, Window } from '../protocol/columns.ts';
import { columnFamilies, statistic, windowStatistics } from '../protocol/columns.ts';
import type { Inventory } from '../protocol/control.ts';
import { headOf, metricHead, metricName, seriesName } from './names.ts';

export interface Page {
  /** The series of this window; the text of the last call where nothing has changed. */
  host(window: Window): string;
  /** The series that say what the host is. */
  inventory(inventory: Inventory): string;
}

/** One family of a generation: its head and, for each column, the text before the value and where the value is. */
interface Section {
  readonly head: string;
  readonly series: readonly { readonly prefix: string; readonly column: number; readonly at: number }[];
}

export function createPage(): Page {
  let sections: readonly Section[] = [];
  let columns: Window['columns'] | null = null;
  let window: Window | null = null;
  let text = '';
  let inventory: Inventory | null = null;
  let inventoryText = '';
  return {
    host(next) {
      if (next === window) return text;
      if (next.columns !== columns) {
        sections = sectionsOf(next.columns);
        columns = next.columns;
      }
      window = next;
      text = renderHost(sections, next);
      return text;
    },
    inventory(next) {
      if (next !== inventory) inventoryText = renderInventory(next);
      inventory = next;
      return inventoryText;
    },
  };
}

function sectionsOf(columns: Window['columns']): Section[] {
  const byFamily = new Map<ColumnFamilyName, { prefix: string; column: number; at: number }[]>();
  const known = new Set<string>();
  columns.forEach(({ family, owner, label }, column) => {
    const labelName = columnFamilies[family].label;
    if (owner !== 'host' || (labelName === null) !== (label === null)) return;
    const name = metricName(family);
    const series = labelName === null || label === null ? name : seriesName(name, { [labelName]: label });
    // The same series twice would make the whole page invalid.
    if (known.has(series)) return;
    known.add(series);
    const list = byFamily.get(family) ?? [];
    byFamily.set(family, list);
    list.push({ prefix: `${series} `, column, at: column * windowStatistics + shownStatistic(family) });
  });
  return [...byFamily].map(([family, series]) => ({ head: metricHead(family), series }));
}

/** Shares are shown as means over the window, all else as the last value: as in protocol/host.ts. */
function shownStatistic(family: ColumnFamilyName): number {
  return columnFamilies[family].unit === 'ratio' ? statistic.mean : statistic.last;
}

function renderHost(sections: readonly Section[], { endMs, values, reasons }: Window): string {
  const stamp = 'compute_node_sample_timestamp_seconds';
  let text = `${headOf(stamp, 'gauge', 'When the host was read last')}${stamp} ${endMs / 1000}\n`;
  for (const { head, series } of sections) {
    let lines = '';
    for (const { prefix, column, at } of series) {
      const value = values[at] ?? Number.NaN;
      if (reasons[column] === 0 && Number.isFinite(value)) lines += `${prefix}${value}\n`;
    }
    if (lines !== '') text += head + lines;
  }
  return text;
}

function renderInventory(inventory: Inventory): string {
  const info = {
    hostname: inventory.hostname,
    os: inventory.os ?? '',
    kernel: inventory.kernel ?? '',
    architecture: inventory.architecture,
    virtualisation: inventory.virtualisation ?? '',
    cpu_model: inventory.cpuModel ?? '',
  };
  const gauges: [name: string, help: string, value: number | null][] = [
    ['cpu_sockets', 'CPU packages', inventory.cpuSockets],
    ['cpu_cores', 'CPU cores', inventory.cpuCores],
    ['cpu_threads', 'Hardware threads', inventory.cpuThreads],
    ['job_cpus', 'CPUs that jobs may use', inventory.jobCpus],
    ['job_memory_bytes', 'Memory that jobs may use', inventory.jobMemoryBytes],
  ];
  const name = 'compute_node_info';
  let text = `${headOf(name, 'gauge', 'What this host is')}${seriesName(name, info)} 1\n`;
  for (const [short, help, value] of gauges) {
    if (value !== null)
      text += `${headOf(`compute_node_${short}`, 'gauge', help)}compute_node_${short} ${value}\n`;
  }
  return text + renderPeaks(inventory.cpuPeakFlops);
}

function renderPeaks(peaks: Inventory['cpuPeakFlops']): string {
  const name = 'compute_node_peak_flops';
  let lines = '';
  for (const method of ['computed', 'measured'] as const) {
    for (const precision of ['fp64', 'fp32'] as const) {
      const value = peaks[method][precision];
      if (value !== null) lines += `${seriesName(name, { precision, method })} ${value}\n`;
    }
  }
  const help =
    'Peak floating-point operations per second of the CPUs: nominal, and as measured by a kernel at start';
  return lines === '' ? '' : headOf(name, 'gauge', help) + lines;
}
