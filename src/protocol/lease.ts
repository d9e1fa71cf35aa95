// Leases: how long a job may run whose node has lost its scheduler, and when the scheduler may take it for over.
//
//   agent       the lease of a job counts from the monotonic moment at which it SENT the last heartbeat that came back
//               as an echo (or the hello that was welcomed); then the job is asked to end, and killed after its grace
//   scheduler   counts from when it last RECEIVED something of the node, and waits for lease + grace + margin
//
// INVARIANT: what was received was sent before, and only what was received is echoed. So the agent's end of a lease is
// always before the scheduler's, whichever direction of the link fails and whatever the wall clocks say.
import type { JobSpec } from './spec.ts';

/** Heartbeats without a sign after which a link counts as lost, on either side; no lease is shorter. */
export const LEASE_MIN_HEARTBEATS = 3;
/** Longest silence of an agent, in ms, before another run with its key takes its place; two heartbeats. */
export const ANSWER_DEADLINE_MS = 4000;
/** What the agent may need beyond lease and grace: its shim looks, kills, and sees its tree empty. */
export const LEASE_MARGIN_MS = 5000;
/** Two monotonic clocks may differ by this much of the time that they measure. */
const CLOCK_DRIFT_RATIO = 0.001;

/** The lease of a job in ms; null where it needs none because it goes on without its scheduler. */
export function leaseMsOf({ disconnect }: Pick<JobSpec, 'disconnect'>, heartbeatMs: number): number | null {
  if (disconnect.policy === 'keep') return null;
  return Math.max(disconnect.afterMs, LEASE_MIN_HEARTBEATS * heartbeatMs);
}

/** Age in ms beyond which a round trip does not let an agent start anything: nobody took its place until then. */
export function freshMsOf(heartbeatMs: number): number {
  return Math.min(ANSWER_DEADLINE_MS, LEASE_MIN_HEARTBEATS * heartbeatMs);
}

/**
 * Silence of a node, in ms, after which such a job has certainly ended there; null where nobody can know, because it
 * goes on.
 */
export function leaseOverAfterMs(
  spec: Pick<JobSpec, 'disconnect' | 'graceMs'>,
  heartbeatMs: number,
): number | null {
  const leaseMs = leaseMsOf(spec, heartbeatMs);
  if (leaseMs === null) return null;
  return (leaseMs + spec.graceMs) * (1 + CLOCK_DRIFT_RATIO) + LEASE_MARGIN_MS;
}
