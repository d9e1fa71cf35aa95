// The scheduler's half of leases (protocol/lease.ts): jobs that stop without their scheduler have ended for certain when
// their node has been silent for lease, grace and margin. Then they are LOST here, and what they held is free.
//
// Silence is counted while this process runs: a scheduler that was stopped for a minute, or has just started, gives every
// node the whole time again.
import { type Clock, every, type Timer } from '../base/clock.ts';
import { LEASE_MIN_HEARTBEATS, leaseOverAfterMs } from '../protocol/lease.ts';
import type { Fleet } from './fleet.ts';
import type { OwnEnd } from './own-result.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import { describeSeconds } from './words.ts';

export interface Leases {
  close(): void;
}

export interface LeaseParts {
  readonly queue: Pick<Queue, 'nodes' | 'active'>;
  readonly fleet: Pick<Fleet, 'seenMonotonicMs' | 'name'>;
  readonly heartbeatMs: number;
  readonly clock: Clock;
  end(job: JobRecord, end: OwnEnd): void;
}

interface Silence {
  seenMs: number | null;
  silentMs: number;
}

export function createLeases({ queue, fleet, heartbeatMs, clock, end }: LeaseParts): Leases {
  const silences = new Map<string, Silence>();
  let sweptMs = clock.monotonicMs();

  function sweep(): void {
    const nowMs = clock.monotonicMs();
    const stepMs = Math.min(nowMs - sweptMs, 2 * heartbeatMs);
    sweptMs = nowMs;
    for (const { id } of queue.nodes()) {
      const silence = silenceOf(id);
      const seenMs = fleet.seenMonotonicMs(id);
      if (seenMs !== silence.seenMs) {
        silence.seenMs = seenMs;
        silence.silentMs = Math.min(stepMs, nowMs - (seenMs ?? nowMs));
      } else silence.silentMs += stepMs;
      if (silence.silentMs > LEASE_MIN_HEARTBEATS * heartbeatMs) look(id, silence.silentMs);
    }
  }

  function silenceOf(nodeId: string): Silence {
    const known = silences.get(nodeId);
    if (known !== undefined) return known;
    const silence = { seenMs: fleet.seenMonotonicMs(nodeId), silentMs: 0 };
    silences.set(nodeId, silence);
    return silence;
  }

  function look(nodeId: string, silentMs: number): void {
    for (const job of [...queue.active(nodeId)]) {
      const overMs = leaseOverAfterMs(job.spec, heartbeatMs);
      if (overMs !== null && silentMs > overMs) end(job, leaseLost(job, fleet.name(nodeId), silentMs));
    }
  }

  const timer: Timer = every(clock, heartbeatMs, sweep);
  return { close: () => timer.cancel() };
}

function leaseLost({ spec }: JobRecord, node: string, silentMs: number): OwnEnd {
  const afterMs = spec.disconnect.policy === 'stop' ? spec.disconnect.afterMs : 0;
  const when = afterMs === 0 ? 'at once' : `after ${describeSeconds(afterMs / 1000)}`;
  return {
    state: 'LOST',
    endKind: 'disconnected',
    stoppedBy: null,
    cause: `lease lost: ${node} has been unreachable for ${describeSeconds(silentMs / 1000)}; by its disconnect policy (stop ${when}) the job was stopped there`,
  };
}
