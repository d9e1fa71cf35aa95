// No new jobs for a node or one device of it, because an operator says so; written into the node's record, so that it
// outlives this process. What runs goes on.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { type AuditSink, noAudit } from '../protocol/audit.ts';
import type { Cordon } from '../protocol/device.ts';
import type { Fleet } from './fleet.ts';
import { cordonsOf } from './node-devices.ts';
import type { Queue } from './queue/queue.ts';

/** Devices of one node that may be cordoned at a time; ids of devices that are gone count until they are resumed. */
const MAX_CORDONS = 4096;

export interface Drains {
  /** `device` is as a person names it; null for the whole node. Resolves when it is on disk. */
  drain(nodeId: string, device: string | null, why: DrainReason): Promise<void>;
  resume(nodeId: string, device: string | null, by: string): Promise<void>;
}

export interface DrainReason {
  readonly by: string;
  readonly reason: string;
  readonly forMs: number | null;
}

export interface DrainParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
  readonly audit?: AuditSink;
  /** Looks for work for what has become free. */
  readonly place: () => void;
}

export function createDrains({ queue, fleet, clock, log, place, audit = noAudit }: DrainParts): Drains {
  async function put(
    nodeId: string,
    deviceId: string | null,
    by: string,
    cordon: Cordon | null,
  ): Promise<void> {
    const failure = queue.failure();
    if (failure !== null) throw failure;
    const record = queue.node(nodeId);
    if (record === null) throw new Fault('FLEET_NODE_UNKNOWN', `there is no node ${nodeId}`);
    const { node, devices } = cordonsOf(record, clock.wallMs());
    const changed = new Map(devices);
    if (deviceId !== null && cordon !== null) changed.set(deviceId, cordon);
    else if (deviceId !== null) changed.delete(deviceId);
    if (changed.size > MAX_CORDONS)
      throw new Fault('API_INVALID', `${MAX_CORDONS} devices of this node are cordoned already`, {
        field: 'device',
        remedy: 'drain the whole node',
      });
    const stored = queue.putNode({
      ...record,
      cordons: { node: deviceId === null ? cordon : node, devices: Object.fromEntries(changed) },
    });
    // At once, so that no job is placed between; a store that fails takes its record back.
    fleet.refresh(nodeId);
    try {
      await stored;
    } finally {
      fleet.refresh(nodeId);
    }
    log.info({ nodeId, deviceId, cordon }, cordon === null ? 'resumed' : 'drained');
    const facts = { nodeId, device: deviceId, by };
    if (cordon === null) audit('node.resumed', facts);
    else audit('node.drained', { ...facts, reason: cordon.reason, untilMs: cordon.untilMs });
    place();
  }

  return {
    async drain(nodeId, device, { by, reason, forMs }) {
      const deviceId = device === null ? null : fleet.deviceId(nodeId, device);
      const sinceMs = clock.wallMs();
      const untilMs = forMs === null ? null : sinceMs + forMs;
      await put(nodeId, deviceId, by, { by, reason, sinceMs, untilMs });
    },
    async resume(nodeId, device, by) {
      if (device === null) return put(nodeId, null, by, null);
      // Also one that the node does not tell of any more.
      const isKnown = cordonsOf(queue.node(nodeId), clock.wallMs()).devices.has(device);
      await put(nodeId, isKnown ? device : fleet.deviceId(nodeId, device), by, null);
    },
  };
}
