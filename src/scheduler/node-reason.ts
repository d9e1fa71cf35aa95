// The sentence that says how a node stands.
import { type Cordons, describeCordon } from './node-devices.ts';
import { describeSeconds } from './words.ts';

/** What it is told from. */
export interface NodeStand {
  readonly ready: boolean;
  readonly paused: boolean;
  /** Why its agent takes no orders, or null. */
  readonly refusing: string | null;
  readonly isConnected: boolean;
  /** Since it was last heard; null when it was not since this scheduler started. */
  readonly silentSeconds: number | null;
}

export function describeNode(stand: NodeStand, cordons: Cordons): string {
  const link = describeLink(stand, cordons.node !== null);
  return cordons.node === null ? link : `${link}; drained by ${describeCordon(cordons.node)}`;
}

function describeLink(stand: NodeStand, isDrained: boolean): string {
  const { ready, paused, refusing, isConnected, silentSeconds } = stand;
  if (ready && refusing !== null) return `connected; takes no orders: ${refusing}`;
  if (ready && isDrained) return 'connected; takes no new jobs';
  if (ready && paused) return 'connected; takes no new jobs for a moment, because it refused the last one';
  if (ready) return 'connected and takes jobs';
  if (isConnected) return 'connected; its jobs are being compared';
  if (silentSeconds === null) return 'not connected since this scheduler started';
  return `unreachable for ${describeSeconds(silentSeconds)}`;
}
