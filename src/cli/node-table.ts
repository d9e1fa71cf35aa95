// Nodes as rows and as fields.
import type { HostView, NodeDeviceView, NodeView } from '../protocol/api.ts';
import { describePlace } from '../protocol/credential.ts';
import { healths } from '../protocol/device.ts';
import { type DeviceTotals, fleetTotals, headlineOf } from '../protocol/device-totals.ts';
import type { Labels } from '../protocol/place.ts';
import { describePower } from './power-source.ts';
import type { TableColumn } from './table.ts';
import { ABSENT, formatBytes, formatDecimal, formatRatio, formatSeconds } from './text.ts';

const GREEN = '32';
const YELLOW = '33';
const RED = '31';

const memoryUse = (host: HostView | null): string =>
  host === null ? ABSENT : `${formatBytes(host.memory.usedBytes)} / ${formatBytes(host.memory.totalBytes)}`;

/** Columns of accelerators stand only where a node of the list has some, ids where names do not tell them apart. */
export function nodeColumns(nodes: readonly NodeView[]): TableColumn<NodeView>[] {
  const withDevices = nodes.some(({ devices }) => devices.length > 0);
  const isByName = new Set(nodes.map(({ name }) => name)).size === nodes.length;
  return [
    { title: 'NAME', cell: (node) => node.name },
    {
      title: 'STATE',
      cell: (node) => node.state,
      colour: ({ state, cloned, takesJobs }) =>
        state !== 'ready' || cloned !== null ? RED : takesJobs ? GREEN : YELLOW,
    },
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
    ...(withDevices ? deviceColumns : []),
    { title: 'JOBS', align: 'right', cell: (node) => String(node.jobs.length) },
    { title: 'AGE', align: 'right', cell: (node) => formatSeconds(node.hostAgeSeconds) },
    { title: 'ID', wide: isByName, cell: (node) => node.id },
    { title: 'PLACE', wide: true, cell: (node) => describePlace(node.place) ?? ABSENT },
    { title: 'LABELS', wide: true, cell: (node) => labelText(node.labels) },
    { title: 'AGENT', wide: true, cell: (node) => node.agentVersion ?? ABSENT },
    { title: 'REASON', cell: (node) => node.reason },
  ];
}

const deviceColumns: readonly TableColumn<NodeView>[] = [
  { title: 'ACCELERATORS', cell: (node) => freeText(node) },
  {
    title: 'HEALTH',
    cell: (node) => healthText(totalsOf(node)),
    colour: (node) => {
      const { health, devices } = totalsOf(node);
      return devices === 0 ? null : health.failed > 0 ? RED : health.ok < devices ? YELLOW : GREEN;
    },
  },
  { title: 'ACC PEAK', align: 'right', cell: (node) => accelerated(totalsOf(node)) },
  {
    title: 'ACC POWER',
    align: 'right',
    cell: (node) => formatDecimal(totalsOf(node).powerWatts.value, 'W'),
  },
];

const isHeld = ({ heldBy, partitions }: NodeDeviceView): boolean =>
  heldBy.length > 0 || partitions.some(isHeld);

/** Of one node: its own devices, whether it can be reached or not. */
function totalsOf({ devices }: Pick<NodeView, 'devices'>): DeviceTotals {
  return fleetTotals(devices.map((view) => ({ view, held: isHeld(view), reachable: true }))).all;
}

/** `6 of 8 free, simulated`: free is what may be given to a job now. */
function freeText({ devices, takesJobs }: NodeView): string {
  if (devices.length === 0) return ABSENT;
  const free = takesJobs ? devices.filter((each) => each.takesJobs && !isHeld(each)).length : 0;
  return `${free} of ${devices.length} free${devices.some(({ simulated }) => simulated) ? ', simulated' : ''}`;
}

function healthText({ devices, health, cordoned }: DeviceTotals): string {
  if (devices === 0) return ABSENT;
  const parts = healths.filter((each) => health[each] > 0).map((each) => `${health[each]} ${each}`);
  return [...parts, ...(cordoned === 0 ? [] : [`${cordoned} cordoned`])].join(', ');
}

function accelerated({ peakFlops }: DeviceTotals): string {
  const headline = headlineOf(peakFlops);
  return headline === null
    ? ABSENT
    : `${formatDecimal(peakFlops[headline].value, 'FLOPS')} ${headline.toUpperCase()}`;
}

/** Jobs by the device that they hold, as the device table takes them. */
export function heldByOf(devices: readonly NodeDeviceView[]): ReadonlyMap<string, readonly string[]> {
  return new Map(devices.flatMap((each) => [each, ...each.partitions]).map(({ id, heldBy }) => [id, heldBy]));
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
    ['place', describePlace(node.place) ?? 'nowhere'],
    ['labels', labelText(node.labels)],
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
    ['accelerators', node.devices.length === 0 ? 'none' : freeText(node)],
    ['jobs', node.jobs.join(' ') || ABSENT],
    ...(host === null ? [['figures', 'none yet'] as const] : hostFields(host)),
    ['age of figures', formatSeconds(node.hostAgeSeconds)],
    ...(inventory?.limitations ?? []).map((sentence) => ['limitation', sentence] as const),
  ];
}

/** `rack=b7 zone=a` */
export function labelText(labels: Labels): string {
  return (
    Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(' ') || ABSENT
  );
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
