// Nodes as rows and as fields.
import type { HostView, NodeView } from '../protocol/api.ts';
import { describePower } from './power-source.ts';
import type { TableColumn } from './table.ts';
import { ABSENT, formatBytes, formatDecimal, formatRatio, formatSeconds } from './text.ts';

const GREEN = '32';
const RED = '31';

const memoryUse = (host: HostView | null): string =>
  host === null ? ABSENT : `${formatBytes(host.memory.usedBytes)} / ${formatBytes(host.memory.totalBytes)}`;

export function nodeColumns(): TableColumn<NodeView>[] {
  return [
    { title: 'NAME', cell: (node) => node.name },
    { title: 'STATE', cell: (node) => node.state, colour: (node) => (node.state === 'ready' ? GREEN : RED) },
    {
      title: 'CPUS',
      align: 'right',
      cell: ({ resources }) =>
        resources === null ? ABSENT : `${resources.cpus.held}/${resources.cpus.total}`,
    },
    { title: 'BUSY', align: 'right', cell: (node) => formatRatio(node.host?.cpu.busyRatio ?? null) },
    { title: 'MEMORY', align: 'right', cell: (node) => memoryUse(node.host) },
    { title: 'POWER', align: 'right', cell: (node) => formatDecimal(node.host?.powerWatts ?? null, 'W') },
    { title: 'PEAK FP64', align: 'right', wide: true, cell: (node) => formatDecimal(peak(node), 'FLOPS') },
    { title: 'ACCELERATORS', align: 'right', cell: (node) => String(node.devices.length) },
    { title: 'JOBS', align: 'right', cell: (node) => String(node.jobs.length) },
    { title: 'AGE', align: 'right', cell: (node) => formatSeconds(node.hostAgeSeconds) },
    { title: 'ID', wide: true, cell: (node) => node.id },
    { title: 'AGENT', wide: true, cell: (node) => node.agentVersion ?? ABSENT },
    { title: 'REASON', cell: (node) => node.reason },
  ];
}

function peak({ inventory }: NodeView): number | null {
  const flops = inventory?.cpuPeakFlops;
  return flops === undefined ? null : (flops.measured.fp64 ?? flops.computed.fp64);
}

export function nodeFields(node: NodeView): (readonly [string, string])[] {
  const { inventory, resources, host } = node;
  const flops = inventory?.cpuPeakFlops ?? null;
  return [
    [node.state, node.reason],
    ['id', node.id],
    ['name', node.name],
    ['agent', node.agentVersion ?? ABSENT],
    ['enrolled', node.enrolledAt],
    ['connected', node.connectedAt ?? ABSENT],
    ['last seen', node.lastSeenAt ?? ABSENT],
    ['host', inventory?.hostname ?? ABSENT],
    [
      'system',
      [inventory?.os, inventory?.kernel, inventory?.architecture, inventory?.virtualisation]
        .filter(Boolean)
        .join(', ') || ABSENT,
    ],
    [
      'CPU',
      inventory === null ? ABSENT : `${inventory.cpuModel ?? 'unknown'}, ${inventory.cpuThreads} threads`,
    ],
    ['memory', formatBytes(inventory?.memoryBytes ?? null)],
    ['peak computed', flops === null ? ABSENT : peakText(flops.computed)],
    ['peak measured', flops === null ? ABSENT : peakText(flops.measured)],
    ['CPUs for jobs', resources === null ? ABSENT : `${resources.cpus.held} held of ${resources.cpus.total}`],
    [
      'memory for jobs',
      resources === null
        ? ABSENT
        : `${formatBytes(resources.memoryBytes.held)} held of ${formatBytes(resources.memoryBytes.total)}`,
    ],
    ['accelerators', String(node.devices.length)],
    ['jobs', node.jobs.join(' ') || ABSENT],
    ...(host === null ? [['figures', 'none yet'] as const] : hostFields(host)),
    ['age of figures', formatSeconds(node.hostAgeSeconds)],
    ...(inventory?.limitations ?? []).map((sentence) => ['limitation', sentence] as const),
  ];
}

function peakText({
  fp64,
  fp32,
  source,
}: {
  fp64: number | null;
  fp32: number | null;
  source: string;
}): string {
  return `FP64 ${formatDecimal(fp64, 'FLOPS')}, FP32 ${formatDecimal(fp32, 'FLOPS')} (${source})`;
}

/** The present figures of a host, for `node`, `devices` and `top`. */
export function hostFields(host: HostView): (readonly [string, string])[] {
  return [
    ['CPU busy', formatRatio(host.cpu.busyRatio)],
    [
      'load',
      [host.cpu.load1, host.cpu.load5, host.cpu.load15].map((load) => load?.toFixed(2) ?? ABSENT).join(' '),
    ],
    ['memory used', memoryUse(host)],
    ['power', describePower(host)],
    ['energy', formatDecimal(host.energyJoulesTotal, 'J')],
  ];
}
