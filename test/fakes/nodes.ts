// Nodes as the scheduler's API shows them, with the devices of a fleet: for tests of everything that shows nodes.
import type { HostView, NodeView, OverviewView } from '../../src/protocol/api.ts';
import { nowhere } from '../../src/protocol/place.ts';
import { jobStates } from '../../src/protocol/result.ts';
import { totalsOfNodes } from '../../src/scheduler/fleet-totals.ts';
import { nodeDeviceViews } from '../../src/scheduler/node-devices.ts';
import { FLEET_MS, type Fleet } from './fleet.ts';

const noCordons = { node: null, devices: new Map() };

const host: HostView = {
  sampledAt: new Date(FLEET_MS).toISOString(),
  cpu: {
    busyRatio: 0.37,
    coreBusyRatio: {},
    secondsTotal: {},
    load1: 1,
    load5: 1,
    load15: 1,
    clockHertz: 3e9,
  },
  memory: {
    totalBytes: 2 ** 40,
    usedBytes: 2 ** 38,
    availableBytes: 2 ** 39,
    freeBytes: 2 ** 38,
    swapTotalBytes: 0,
    swapFreeBytes: 0,
  },
  disks: {},
  network: {},
  storage: {},
  pressure: {},
  powerWatts: 812,
  energyJoulesTotal: 1e6,
  sensors: {},
  absent: {},
};

export function sampleNode(
  name: string,
  fleet: Fleet | null,
  holders: (id: string) => readonly string[] = () => [],
): NodeView {
  return {
    id: `node-${name}`,
    name,
    state: 'ready',
    reason: 'connected and takes jobs',
    takesJobs: true,
    cordon: null,
    cloned: null,
    place: nowhere,
    labels: {},
    agentVersion: '0.1.0',
    bootId: 'boot',
    enrolledAt: new Date(FLEET_MS).toISOString(),
    connectedAt: new Date(FLEET_MS).toISOString(),
    lastSeenAt: new Date(FLEET_MS).toISOString(),
    inventory: null,
    resources: { cpus: { total: 64, held: 8 }, memoryBytes: { total: 2 ** 40, held: 0 } },
    jobs: [],
    host,
    hostAgeSeconds: 0.4,
    devices: fleet === null ? [] : nodeDeviceViews(fleet.records, fleet.window, noCordons, holders, FLEET_MS),
  };
}

export function sampleOverview(nodes: readonly NodeView[]): OverviewView {
  return {
    schedulerId: 'scheduler-fake',
    version: '0.1.0',
    nodes: nodes.map((node) => ({
      name: node.name,
      state: node.state,
      cpuThreads: 128,
      cpuBusyRatio: node.host?.cpu.busyRatio ?? null,
      memoryTotalBytes: node.host?.memory.totalBytes ?? null,
      memoryUsedBytes: node.host?.memory.usedBytes ?? null,
      powerWatts: node.host?.powerWatts ?? null,
      peakFlopsFp64: 4e12,
      devices: node.devices.length,
      hostAgeSeconds: node.hostAgeSeconds,
    })),
    jobs: Object.fromEntries(jobStates.map((state) => [state, 0])) as OverviewView['jobs'],
    fleet: totalsOfNodes(nodes),
  };
}
