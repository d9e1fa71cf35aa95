// This host's accelerators without agent or scheduler, for `devices`, `top` and `doctor`: the views of what a bank
// (device/bank.ts) knows and a window says.
import type { Bank } from '../device/bank.ts';
import { absentReasons, type Window } from '../protocol/columns.ts';
import { type DeviceView, deviceViews } from '../protocol/device-view.ts';
import type { Backends } from '../protocol/devices-document.ts';

const NOT_YET = absentReasons.indexOf('notYet');

export interface LocalDevices {
  readonly views: readonly DeviceView[];
  /** One sentence for each vendor that is here (its tool, its library) and cannot be read at all. */
  readonly problems: readonly string[];
  readonly backends: Backends;
}

export function readLocalDevices(bank: Bank, window: Window | null, nowMs: number): LocalDevices {
  return {
    views: deviceViews(bank.records(), window, nowMs),
    problems: bank.problems(),
    backends: bank.backends(),
  };
}

/** Whether the window has numbers of every device that the bank knows. */
export function hasNumbers(bank: Bank, window: Window): boolean {
  const waiting = new Set(
    bank.records().flatMap(({ slot, absent }) => (absent.numbers === undefined ? [slot] : [])),
  );
  window.columns.forEach(({ owner, family }, at) => {
    const isRead = family === 'accelerator.memoryTotalBytes' && window.reasons[at] !== NOT_YET;
    if (owner !== 'host' && isRead) waiting.delete(owner);
  });
  return waiting.size === 0;
}
