// A node's accelerators as the API shows them: what the node tells, and what only the scheduler knows.
import type { NodeDeviceView } from '../protocol/api.ts';
import type { Window } from '../protocol/columns.ts';
import { type Cordon, type DeviceRecord, isRungAtLeast } from '../protocol/device.ts';
import { type DeviceView, deviceViews } from '../protocol/device-view.ts';

/** What the scheduler knows of a node's devices and partitions, by id. */
export interface HeldDevices {
  /** Jobs that it is granted to. */
  heldBy(id: string): readonly string[];
  /** The scheduler's own cordon that is in force, or null. */
  cordon(id: string): Cordon | null;
}

export const nothingHeld: HeldDevices = { heldBy: () => [], cordon: () => null };

/**
 * `window` is null where the node's last one is too old to be shown: its numbers are then absent. A device is held by
 * the jobs that its partitions are granted to, too.
 */
export function deviceViewsOf(
  records: readonly DeviceRecord[],
  window: Window | null,
  held: HeldDevices,
  nowMs: number,
): NodeDeviceView[] {
  return deviceViews(records, window, nowMs).map((view) => ({
    ...withCordon(view, held, nowMs),
    partitions: view.partitions.map((each) => withCordon(each, held, nowMs)),
    heldBy: [...new Set([view, ...view.partitions].flatMap(({ id }) => held.heldBy(id)))],
  }));
}

/** The scheduler's cordon, or else the node's while it holds. */
function withCordon(view: DeviceView, held: HeldDevices, nowMs: number): DeviceView {
  const own = held.cordon(view.id);
  const told = view.cordon;
  const isOver = told !== null && told.untilMs !== null && told.untilMs <= nowMs;
  const cordon = own ?? (isOver ? null : told);
  return { ...view, cordon, takesJobs: cordon === null && !isRungAtLeast(view.rung, 'noNewJobs') };
}
