// The same accelerators in the names of MindCluster's npu-exporter, so that its dashboards work. Its habits are kept
// here and nowhere else: everything is a gauge, also counters; a reading that failed is -1; labels of containers are
// there though empty; MB are 1 048 576 bytes, as its users read them. One vendor's devices only.
import type { ColumnFamilyName } from '../protocol/columns.ts';
import { catalogueNumber, type DeviceReader } from './device-reader.ts';
import { createMetricText, type MetricText } from './metric-text.ts';

const VENDOR = 'ascend';
const MIB = 1024 ** 2;
const MHZ = 1e6;
const FAILED = -1;
const MAX_ERROR_CODES = 10;

export interface NpuExporterOptions {
  readonly version: string;
}

type Row = readonly [
  name: string,
  help: string,
  family: ColumnFamilyName,
  factor: number,
  only: 'hbm' | 'ddr' | null,
  label?: string,
];

// biome-ignore format: a table, one metric a line
const rows: readonly Row[] = [
  ['npu_chip_info_utilization', 'AI Core utilization (in %)', 'accelerator.busyRatio', 100, null],
  ['npu_chip_info_overall_utilization', 'overall utilization (in %)', 'accelerator.engineBusyRatio', 100, null, 'overall'],
  ['npu_chip_info_vector_utilization', 'vector core utilization (in %)', 'accelerator.engineBusyRatio', 100, null, 'vector'],
  ['npu_chip_info_cube_utilization', 'cube utilization (in %)', 'accelerator.engineBusyRatio', 100, null, 'cube'],
  ['npu_chip_info_temperature', 'temperature (in C)', 'accelerator.temperatureCelsius', 1, null],
  ['npu_chip_info_power', 'power (in W)', 'accelerator.powerWatts', 1, null],
  ['npu_chip_info_aicore_current_freq', 'AI Core frequency (in MHz)', 'accelerator.clockHertz', 1 / MHZ, null],
  ['npu_chip_info_hbm_total_memory', 'HBM (in MB)', 'accelerator.memoryTotalBytes', 1 / MIB, 'hbm'],
  ['npu_chip_info_hbm_used_memory', 'HBM in use (in MB)', 'accelerator.memoryUsedBytes', 1 / MIB, 'hbm'],
  ['npu_chip_info_hbm_bandwidth_utilization', 'HBM bandwidth utilization (in %)', 'accelerator.memoryBusyRatio', 100, 'hbm'],
  ['npu_chip_info_hbm_temperature', 'HBM temperature (in C)', 'accelerator.memoryTemperatureCelsius', 1, 'hbm'],
  ['npu_chip_info_hbm_ecc_total_single_bit_error_cnt', 'HBM single-bit errors over the life of the chip', 'accelerator.eccCorrectedTotal', 1, 'hbm'],
  ['npu_chip_info_hbm_ecc_total_double_bit_error_cnt', 'HBM double-bit errors over the life of the chip', 'accelerator.eccUncorrectedTotal', 1, 'hbm'],
  ['npu_chip_info_total_memory', 'memory (in MB)', 'accelerator.memoryTotalBytes', 1 / MIB, 'ddr'],
  ['npu_chip_info_used_memory', 'memory in use (in MB)', 'accelerator.memoryUsedBytes', 1 / MIB, 'ddr'],
];

export function renderNpuExporter(all: readonly DeviceReader[], { version }: NpuExporterOptions): string {
  const metrics = createMetricText();
  const readers = all.filter(({ record }) => record.vendor === VENDOR);
  const chips = readers.filter(({ parent }) => parent === null);
  putMachine(metrics, chips, version);
  for (const chip of chips) putChip(metrics, chip);
  for (const part of readers) if (part.parent !== null) putPart(metrics, part);
  return metrics.text();
}

function putMachine(metrics: MetricText, chips: readonly DeviceReader[], version: string): void {
  const put = (name: string, help: string, value: number, labels: Record<string, string> = {}): void =>
    metrics.add(name, 'gauge', help, labels, value);
  const count = (healths: readonly string[]): number =>
    chips.filter(({ record }) => healths.includes(record.health)).length;
  put('npu_exporter_version_info', 'exporter version', 1, { exporterVersion: version });
  const driverVersion = chips[0]?.record.driverVersion ?? '';
  if (chips.length > 0)
    put('node_base_info', 'node base info', 1, { exporterVersion: version, driverVersion });
  put('machine_npu_nums', 'number of NPUs', chips.length);
  put('machine_healthy_npu_nums', 'number of healthy NPUs', count(['ok']));
  put('machine_unhealthy_npu_nums', 'number of unhealthy NPUs', count(['degraded', 'failed']));
  put('machine_unknown_npu_nums', 'number of NPUs of unknown health', count(['unknown']));
}

function cardLabels({ record, heldBy }: DeviceReader): Record<string, string> {
  return {
    id: String(record.index),
    model_name: record.name ?? '',
    vdie_id: record.id,
    pcie_bus_info: record.busId ?? '',
    namespace: '',
    pod_name: '',
    container_name: heldBy[0] ?? '',
    // What does not exist says so here too; the label is not there for real chips.
    ...(record.backend === 'simulated' ? { simulated: 'true' } : {}),
  };
}

/** A reading that failed is -1; one that the chip does not have is left out. */
function readingOf(
  reader: DeviceReader,
  family: ColumnFamilyName,
  factor: number,
  label?: string,
): number | null {
  const value = reader.value(family, label);
  if (value !== null) return Number((value * factor).toPrecision(15));
  return reader.reason(family, label) === 'unsupported' ? null : FAILED;
}

function putChip(metrics: MetricText, chip: DeviceReader): void {
  const { record, heldBy } = chip;
  const labels = cardLabels(chip);
  const put = (name: string, help: string, value: number | null, more: Record<string, string> = {}): void =>
    metrics.add(name, 'gauge', help, { ...labels, ...more }, value);
  const { model_name: name = '', ...card } = labels;
  metrics.add('npu_chip_info_name', 'gauge', 'chip name', { ...card, name }, 1);
  if (record.serial !== null)
    put('npu_chip_info_serial_number', 'serial number', 1, { serial_number: record.serial });
  const memory = (record.name ?? '').includes('310') ? 'ddr' : 'hbm';
  for (const [metric, help, family, factor, only, label] of rows)
    if (only === null || only === memory) put(metric, help, readingOf(chip, family, factor, label));
  const [total, used] = [
    chip.value('accelerator.memoryTotalBytes'),
    chip.value('accelerator.memoryUsedBytes'),
  ];
  if (memory === 'hbm' && total !== null && used !== null && total > 0)
    put('npu_chip_info_hbm_utilization', 'HBM in use (in %)', Number(((used / total) * 100).toFixed(2)));
  put(
    'npu_chip_info_health_status',
    '1 healthy, 0 unhealthy, -1 unknown',
    record.health === 'unknown' ? FAILED : Number(record.health === 'ok'),
  );
  record.faults
    .flatMap(({ code, active }) => (active ? (catalogueNumber(code) ?? []) : []))
    .slice(0, MAX_ERROR_CODES)
    .forEach((code, at) => {
      put(`npu_chip_info_error_code${at === 0 ? '' : `_${at}`}`, 'error code', code);
    });
  if (record.absent.processes === undefined || record.absent.processes === 'present') {
    put('npu_chip_info_process_info_num', 'number of processes', record.processes.length);
    for (const { pid, memoryBytes } of record.processes)
      put(
        'npu_chip_info_process_info',
        'memory of a process (in MB)',
        memoryBytes === null ? FAILED : memoryBytes / MIB,
        { process_id: String(pid), container_id: '' },
      );
  }
  if (heldBy.length === 0) return;
  put(
    'container_npu_utilization',
    'AI Core utilization of a held NPU (in %)',
    readingOf(chip, 'accelerator.busyRatio', 100),
  );
  put(
    'container_npu_total_memory',
    'memory of a held NPU (in MB)',
    readingOf(chip, 'accelerator.memoryTotalBytes', 1 / MIB),
  );
  put(
    'container_npu_used_memory',
    'memory in use of a held NPU (in MB)',
    readingOf(chip, 'accelerator.memoryUsedBytes', 1 / MIB),
  );
}

function putPart(metrics: MetricText, part: DeviceReader): void {
  const { record, parent, heldBy } = part;
  const labels = {
    id: String(parent?.index ?? 0),
    model_name: record.name ?? '',
    v_dev_id: String(record.index),
    aicore_count: /\d+/.exec(record.profile ?? '')?.[0] ?? '',
    namespace: '',
    pod_name: '',
    container_name: heldBy[0] ?? '',
    is_virtual: 'true',
  };
  const put = (name: string, help: string, family: ColumnFamilyName, factor: number): void =>
    metrics.add(name, 'gauge', help, labels, readingOf(part, family, factor));
  put('vnpu_pod_aicore_utilization', 'AI Core utilization of a vNPU (in %)', 'accelerator.busyRatio', 100);
  put('vnpu_pod_total_memory', 'memory of a vNPU (in KB)', 'accelerator.memoryTotalBytes', 1 / 1024);
  put('vnpu_pod_used_memory', 'memory in use of a vNPU (in KB)', 'accelerator.memoryUsedBytes', 1 / 1024);
}
