// A node that refused an order takes no new ones for a while, longer with each refusal in a row; the first job
// that it starts makes it whole again.
import type { Clock } from '../base/clock.ts';
import type { Fleet } from './fleet.ts';

const PAUSE_MS = 1000;
const MAX_PAUSE_MS = 30_000;

export interface NodePauses {
  refused(nodeId: string): void;
  worked(nodeId: string): void;
}

export function createNodePauses(fleet: Fleet, clock: Clock, over: () => void): NodePauses {
  /** Refusals in a row, by node. */
  const rows = new Map<string, number>();
  return {
    refused(nodeId) {
      const row = (rows.get(nodeId) ?? 0) + 1;
      rows.set(nodeId, row);
      fleet.pause(nodeId, true);
      clock.after(Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** (row - 1)), () => {
        // A later refusal has a later end of its own.
        if ((rows.get(nodeId) ?? row) !== row) return;
        fleet.pause(nodeId, false);
        over();
      });
    },
    worked(nodeId) {
      rows.delete(nodeId);
    },
  };
}
