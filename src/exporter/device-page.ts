// The accelerators' part of the native page: `accelerator_*` in base units. Hot series carry three labels; all else
// about a device stands in `accelerator_info`. Partitions have names of their own, `accelerator_partition_*`, so that a
// sum over devices counts nothing twice. What is absent is left out and counted in `accelerator_absent_values`.
import type { Window } from '../protocol/columns.ts';
import { type DeviceRecord, precisions, rungs, takesJobs } from '../protocol/device.ts';
import { catalogueNumber, type DeviceReader, type ExportedDevices, readDevices } from './device-reader.ts';
import { createMetricText, type MetricText } from './metric-text.ts';
import { clockDomain } from './vendor-word.ts';

type Labels = Readonly<Record<string, string>>;
type Put = (name: string, help: string, value: number | null, labels?: Labels) => void;

export interface DevicePage {
  /** Rendered once per window and list of records. */
  render(devices: ExportedDevices, window: Window | null, nowMs: number): string;
}

export function createDevicePage(): DevicePage {
  let before: { window: Window | null; records: readonly DeviceRecord[] } | null = null;
  let text = '';
  return {
    render(devices, window, nowMs) {
      if (before !== null && before.window === window && before.records === devices.records) return text;
      before = { window, records: devices.records };
      text = renderPage(readDevices(devices, window), nowMs);
      return text;
    },
  };
}

function renderPage(readers: readonly DeviceReader[], nowMs: number): string {
  const metrics = createMetricText();
  for (const reader of readers) putInfo(metrics, reader);
  for (const reader of readers) putDevice(metrics, reader, nowMs);
  for (const vendor of new Set(readers.map(({ record }) => record.vendor))) {
    const isRead = readers.every(({ record }) => record.vendor !== vendor || record.problem === null);
    metrics.add(
      'flopd_agent_collector_success',
      'gauge',
      'Whether the last reading of all accelerators of this vendor went well',
      { collector: vendor },
      isRead ? 1 : 0,
    );
  }
  return metrics.text();
}

function labelsOf({ record, parent }: DeviceReader): Record<string, string> {
  if (parent === null) return { device: String(record.index), uuid: record.id, vendor: record.vendor };
  const { index, id } = record;
  return { device: String(parent.index), partition: String(index), uuid: id, vendor: record.vendor };
}

const prefixOf = ({ parent }: DeviceReader): string =>
  parent === null ? 'accelerator' : 'accelerator_partition';

function putInfo(metrics: MetricText, reader: DeviceReader): void {
  const { record, heldBy } = reader;
  const labels = labelsOf(reader);
  metrics.add(
    `${prefixOf(reader)}_info`,
    'gauge',
    'What this accelerator is and how it is read',
    {
      ...labels,
      model: record.name ?? '',
      pci_bus_id: record.busId ?? '',
      serial: record.serial ?? '',
      driver_version: record.driverVersion ?? '',
      firmware_version: record.firmwareVersion ?? '',
      numa_node: record.numaNode === null ? '' : String(record.numaNode),
      ...(record.profile === null ? {} : { profile: record.profile }),
      backend: record.backend,
      level: record.level,
      peak_method: record.peakMethod ?? '',
      energy_method: record.energyMethod ?? '',
      simulated: String(record.backend === 'simulated'),
    },
    1,
  );
  for (const job of heldBy)
    metrics.add(
      'accelerator_job_info',
      'gauge',
      'A job that holds this accelerator',
      { ...labels, job_id: job },
      1,
    );
}

function putDevice(metrics: MetricText, reader: DeviceReader, nowMs: number): void {
  const base = labelsOf(reader);
  const prefix = prefixOf(reader);
  const as =
    (kind: 'gauge' | 'counter'): Put =>
    (name, help, value, labels = {}) =>
      metrics.add(`${prefix}_${name}`, kind, help, { ...base, ...labels }, value);
  const gauge = as('gauge');
  const counter = as('counter');
  putLoad(reader, gauge);
  putElectrical(reader, gauge, counter);
  putTraffic(reader, gauge, counter);
  putFlops(reader, gauge);
  putHealth(reader, gauge, counter, nowMs);
  for (const [reason, count] of reader.absent())
    gauge('absent_values', 'Values of this accelerator that are absent, by reason', count, { reason });
}

function putLoad({ record, value, labels }: DeviceReader, gauge: Put): void {
  gauge(
    'utilization_ratio',
    'Share of time in which the device worked, as its vendor defines it; not a measure of FLOPS',
    value('accelerator.busyRatio'),
  );
  for (const engine of labels('accelerator.engineBusyRatio'))
    gauge(
      'engine_utilization_ratio',
      'Share of time in which one engine of the device worked',
      value('accelerator.engineBusyRatio', engine),
      { engine },
    );
  for (const pipe of labels('accelerator.pipeActiveRatio'))
    gauge(
      pipeNames[pipe] ?? 'pipe_active_ratio',
      'Share of peak cycles in which this part was active, by hardware counters',
      value('accelerator.pipeActiveRatio', pipe),
      pipeNames[pipe] === undefined ? { pipe } : {},
    );
  gauge(
    'memory_active_ratio',
    'Share of time, or of bandwidth, in which device memory was read or written',
    value('accelerator.memoryBusyRatio'),
  );
  gauge(
    'memory_total_bytes',
    'Device memory',
    value('accelerator.memoryTotalBytes') ?? record.memoryTotalBytes,
  );
  gauge('memory_used_bytes', 'Device memory in use', value('accelerator.memoryUsedBytes'));
  if (record.absent.processes === undefined || record.absent.processes === 'present')
    gauge('processes', 'Processes that use the device', record.processes.length);
}

/** Pipes with metrics of their own; the others share one with a label. */
const pipeNames: Readonly<Record<string, string>> = {
  graphics: 'engine_active_ratio',
  sm: 'sm_active_ratio',
  occupancy: 'sm_occupancy_ratio',
  tensor: 'tensor_active_ratio',
};

function putElectrical({ record, value, labels }: DeviceReader, gauge: Put, counter: Put): void {
  gauge('power_watts', 'Electrical power of the device', value('accelerator.powerWatts'));
  gauge('power_limit_watts', 'Power limit in force', value('accelerator.powerLimitWatts'));
  counter(
    'energy_joules_total',
    'Energy used since the agent first saw the device: its own counter where it has one, else the integral of its power',
    value('accelerator.energyJoulesTotal'),
  );
  gauge(
    'energy_measured_ratio',
    'Share of the time since then that the energy was measured for',
    value('accelerator.energyMeasuredRatio'),
  );
  const heat = 'Temperature';
  gauge('temperature_celsius', heat, value('accelerator.temperatureCelsius'), { sensor: 'core' });
  gauge('temperature_celsius', heat, value('accelerator.memoryTemperatureCelsius'), { sensor: 'memory' });
  const clock = 'Present clock';
  gauge('clock_hertz', clock, value('accelerator.clockHertz'), { domain: clockDomain(record.vendor) });
  gauge('clock_hertz', clock, value('accelerator.memoryClockHertz'), { domain: 'memory' });
  gauge('fan_ratio', 'Fan speed as a share of the highest', value('accelerator.fanRatio'));
  for (const reason of labels('accelerator.throttledRatio'))
    gauge(
      'throttled_ratio',
      'Share of time in which the clock was held back for this reason',
      value('accelerator.throttledRatio', reason),
      { reason },
    );
}

function putTraffic({ record, value }: DeviceReader, gauge: Put, counter: Put): void {
  gauge(
    'pcie_receive_bytes_per_second',
    'Bytes received over PCIe',
    value('accelerator.pcieReceiveBytesPerSecond'),
  );
  gauge(
    'pcie_transmit_bytes_per_second',
    'Bytes sent over PCIe',
    value('accelerator.pcieTransmitBytesPerSecond'),
  );
  counter('pcie_replays_total', 'PCIe packets sent again', value('accelerator.pcieReplaysTotal'));
  counter(
    'link_receive_bytes_total',
    'Bytes received over links between devices',
    value('accelerator.linkReceiveBytesTotal'),
  );
  counter(
    'link_transmit_bytes_total',
    'Bytes sent over links between devices',
    value('accelerator.linkTransmitBytesTotal'),
  );
  for (const { kind, peer, up } of record.links)
    gauge('link_up', 'Whether the link works', up === null ? null : Number(up), {
      link: peer === null ? kind : `${kind}/${peer}`,
    });
}

function putFlops({ record, value }: DeviceReader, gauge: Put): void {
  const available = value('accelerator.availableRatio');
  for (const precision of precisions) {
    const peak = record.peakFlops[precision];
    gauge('peak_flops', 'Peak floating-point operations per second; int8: operations', peak, {
      precision,
      sparsity: 'dense',
    });
    gauge(
      'available_flops',
      'Peak at the present clock limits, less what is faulty or cordoned',
      peak === null || available === null ? null : peak * available,
      { precision, sparsity: 'dense' },
    );
  }
  if (record.achievedMethod === null) return;
  const labels = { precision: 'all', method: record.achievedMethod };
  gauge(
    'estimated_flops',
    'Floating-point operations per second done now; the method names the evidence',
    value('accelerator.achievedFlops'),
    labels,
  );
  const [low, high] = [value('accelerator.achievedLowFlops'), value('accelerator.achievedHighFlops')];
  gauge('estimated_low_flops', 'Lower end of the error band of that estimate', low, labels);
  gauge('estimated_high_flops', 'Upper end of the error band of that estimate', high, labels);
}

function putHealth({ record, value }: DeviceReader, gauge: Put, counter: Put, nowMs: number): void {
  const { health, rung, cordon, faults } = record;
  gauge('health_state', '1 healthy, 0 not', health === 'unknown' ? null : Number(health === 'ok'));
  gauge(
    'health_rung',
    'Rung of the health ladder: 0 ok, 1 observe, 2 warn, 3 no new jobs, 4 stop jobs, 5 reset needed, 6 replace',
    health === 'unknown' ? null : rungs.indexOf(rung),
  );
  gauge(
    'takes_jobs',
    'Whether new jobs may come, as far as the node knows',
    Number(takesJobs(record, nowMs)),
  );
  gauge('cordoned', 'Whether the node keeps new jobs away', Number(cordon !== null));
  for (const { code, count } of faults)
    counter('error_events_total', 'How often a fault was seen', count, { code });
  const last = faults
    .filter(({ code }) => catalogueNumber(code) !== null)
    .reduce<(typeof faults)[number] | null>(
      (latest, fault) => (latest === null || fault.lastAtMs > latest.lastAtMs ? fault : latest),
      null,
    );
  if (last !== null) {
    gauge(
      'error_last_code',
      "Number of the last fault in the vendor's catalogue",
      catalogueNumber(last.code),
    );
    gauge('error_last_timestamp_seconds', 'When it was seen last', last.lastAtMs / 1000);
  }
  const ecc = 'Memory errors over the life of the device';
  const lifetime = { lifetime: 'aggregate' };
  const corrected = { severity: 'corrected', ...lifetime };
  counter('ecc_errors_total', ecc, value('accelerator.eccCorrectedTotal'), corrected);
  const uncorrected = { severity: 'uncorrected', ...lifetime };
  counter('ecc_errors_total', ecc, value('accelerator.eccUncorrectedTotal'), uncorrected);
}
