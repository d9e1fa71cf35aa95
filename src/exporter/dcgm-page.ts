// The same accelerators in the names of dcgm-exporter, so that its dashboards work: capitals, MiB, MHz, per cent and
// millijoules, one vendor's devices only, what is absent left out.
import type { ColumnFamilyName } from '../protocol/columns.ts';
import { catalogueNumber, type DeviceReader } from './device-reader.ts';
import { createMetricText } from './metric-text.ts';

const VENDOR = 'nvidia';
const MIB = 1024 ** 2;
const MHZ = 1e6;

export interface DcgmOptions {
  readonly hostname: string;
  /** `Hostname` in releases up to 4.5.3-4.8.2, `hostname` later. */
  readonly hostLabel: 'Hostname' | 'hostname';
}

type Row = readonly [
  name: string,
  kind: 'gauge' | 'counter',
  help: string,
  family: ColumnFamilyName,
  factor: number,
  label?: string,
];

// biome-ignore format: a table, one metric a line
const rows: readonly Row[] = [
  ['DCGM_FI_DEV_SM_CLOCK', 'gauge', 'SM clock frequency (in MHz).', 'accelerator.clockHertz', 1 / MHZ],
  ['DCGM_FI_DEV_MEM_CLOCK', 'gauge', 'Memory clock frequency (in MHz).', 'accelerator.memoryClockHertz', 1 / MHZ],
  ['DCGM_FI_DEV_MEMORY_TEMP', 'gauge', 'Memory temperature (in C).', 'accelerator.memoryTemperatureCelsius', 1],
  ['DCGM_FI_DEV_GPU_TEMP', 'gauge', 'GPU temperature (in C).', 'accelerator.temperatureCelsius', 1],
  ['DCGM_FI_DEV_POWER_USAGE', 'gauge', 'Power draw (in W).', 'accelerator.powerWatts', 1],
  ['DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'counter', 'Energy used (in mJ).', 'accelerator.energyJoulesTotal', 1000],
  ['DCGM_FI_DEV_PCIE_REPLAY_COUNTER', 'counter', 'PCIe packets sent again.', 'accelerator.pcieReplaysTotal', 1],
  ['DCGM_FI_DEV_GPU_UTIL', 'gauge', 'GPU utilization (in %).', 'accelerator.busyRatio', 100],
  ['DCGM_FI_DEV_MEM_COPY_UTIL', 'gauge', 'Memory utilization (in %).', 'accelerator.memoryBusyRatio', 100],
  ['DCGM_FI_DEV_ENC_UTIL', 'gauge', 'Encoder utilization (in %).', 'accelerator.engineBusyRatio', 100, 'encoder'],
  ['DCGM_FI_DEV_DEC_UTIL', 'gauge', 'Decoder utilization (in %).', 'accelerator.engineBusyRatio', 100, 'decoder'],
  ['DCGM_FI_DEV_FB_USED', 'gauge', 'Frame buffer memory used (in MiB).', 'accelerator.memoryUsedBytes', 1 / MIB],
  ['DCGM_FI_DEV_ECC_SBE_AGG_TOTAL', 'counter', 'Single-bit ECC errors over the life of the device.', 'accelerator.eccCorrectedTotal', 1],
  ['DCGM_FI_DEV_ECC_DBE_AGG_TOTAL', 'counter', 'Double-bit ECC errors over the life of the device.', 'accelerator.eccUncorrectedTotal', 1],
  ['DCGM_FI_PROF_GR_ENGINE_ACTIVE', 'gauge', 'Share of time in which the graphics engine was active.', 'accelerator.pipeActiveRatio', 1, 'graphics'],
  ['DCGM_FI_PROF_SM_ACTIVE', 'gauge', 'Share of cycles in which an SM had a warp.', 'accelerator.pipeActiveRatio', 1, 'sm'],
  ['DCGM_FI_PROF_SM_OCCUPANCY', 'gauge', 'Resident warps as a share of what an SM can hold.', 'accelerator.pipeActiveRatio', 1, 'occupancy'],
  ['DCGM_FI_PROF_PIPE_TENSOR_ACTIVE', 'gauge', 'Share of cycles in which the tensor pipe was active.', 'accelerator.pipeActiveRatio', 1, 'tensor'],
  ['DCGM_FI_PROF_PIPE_FP64_ACTIVE', 'gauge', 'Share of cycles in which the FP64 pipe was active.', 'accelerator.pipeActiveRatio', 1, 'fp64'],
  ['DCGM_FI_PROF_PIPE_FP32_ACTIVE', 'gauge', 'Share of cycles in which the FP32 pipe was active.', 'accelerator.pipeActiveRatio', 1, 'fp32'],
  ['DCGM_FI_PROF_PIPE_FP16_ACTIVE', 'gauge', 'Share of cycles in which the FP16 pipe was active.', 'accelerator.pipeActiveRatio', 1, 'fp16'],
  ['DCGM_FI_PROF_DRAM_ACTIVE', 'gauge', 'Share of cycles in which the memory interface was active.', 'accelerator.pipeActiveRatio', 1, 'memory'],
  ['DCGM_FI_PROF_PCIE_TX_BYTES', 'gauge', 'Bytes sent over PCIe per second.', 'accelerator.pcieTransmitBytesPerSecond', 1],
  ['DCGM_FI_PROF_PCIE_RX_BYTES', 'gauge', 'Bytes received over PCIe per second.', 'accelerator.pcieReceiveBytesPerSecond', 1],
];

export function renderDcgm(readers: readonly DeviceReader[], options: DcgmOptions): string {
  const metrics = createMetricText();
  for (const reader of readers) {
    if (reader.record.vendor !== VENDOR) continue;
    const labels = labelsOf(reader, options);
    for (const [name, kind, help, family, factor, label] of rows) {
      const value = reader.value(family, label);
      metrics.add(name, kind, help, labels, value === null ? null : rounded(value * factor));
    }
    const [total, used] = [
      reader.value('accelerator.memoryTotalBytes') ?? reader.record.memoryTotalBytes,
      reader.value('accelerator.memoryUsedBytes'),
    ];
    const free = total === null || used === null ? null : Math.max(0, total - used) / MIB;
    metrics.add('DCGM_FI_DEV_FB_FREE', 'gauge', 'Frame buffer memory free (in MiB).', labels, free);
    const xid = lastXid(reader);
    if (xid !== null)
      metrics.add(
        'DCGM_FI_DEV_XID_ERRORS',
        'gauge',
        'Number of the last Xid error.',
        { ...labels, ...xid.labels },
        xid.code,
      );
  }
  return metrics.text();
}

function labelsOf({ record, parent }: DeviceReader, options: DcgmOptions): Record<string, string> {
  const device = parent ?? record;
  return {
    gpu: String(device.index),
    UUID: device.id,
    pci_bus_id: device.busId ?? '',
    device: `nvidia${device.index}`,
    modelName: device.name ?? '',
    ...(parent === null ? {} : { GPU_I_PROFILE: record.profile ?? '', GPU_I_ID: String(record.index) }),
    [options.hostLabel]: options.hostname,
    DCGM_FI_DRIVER_VERSION: device.driverVersion ?? '',
    // What does not exist says so here too; the label is not there for real devices.
    ...(device.backend === 'simulated' ? { simulated: 'true' } : {}),
  };
}

/** The last Xid that stands on the device; 0 where it is known to have none. */
function lastXid({ record, parent }: DeviceReader): { code: number; labels: Record<string, string> } | null {
  if (parent !== null) return null;
  const [last] = record.faults
    .filter(({ code }) => /^xid-\d+$/.test(code))
    .sort((one, other) => other.lastAtMs - one.lastAtMs);
  if (last === undefined)
    return record.health === 'unknown' ? null : { code: 0, labels: { err_code: '0', err_msg: 'No Error' } };
  const code = catalogueNumber(last.code) ?? 0;
  return { code, labels: { err_code: String(code), err_msg: last.text } };
}

/** Past the noise of binary fractions. */
const rounded = (value: number): number => Number(value.toPrecision(15));
