// Telemetry windows that cannot be sent right now. Bounded in number and bytes; the oldest go first and are
// counted. Windows are kept as they are and encoded only when they are sent, so that a dropped one never breaks
// the deltas of the next.
import type { Window } from '../protocol/columns.ts';

/** Two minutes at one window a second. */
export const MAX_BACKLOG_WINDOWS = 120;
export const MAX_BACKLOG_BYTES = 4 * 1024 * 1024;

export interface Backlog {
  /** Takes a copy of the window's numbers: the sampler may use its memory again. */
  push(window: Window): void;
  /** Oldest first, or null. */
  shift(): Window | null;
  size(): number;
  /** Windows dropped since the start. */
  dropped(): number;
}

export function createBacklog(maxWindows = MAX_BACKLOG_WINDOWS, maxBytes = MAX_BACKLOG_BYTES): Backlog {
  const windows: Window[] = [];
  let bytes = 0;
  let dropped = 0;
  function shift(): Window | null {
    const window = windows.shift();
    if (window === undefined) return null;
    bytes -= sizeOf(window);
    return window;
  }
  return {
    push(window) {
      windows.push({ ...window, values: window.values.slice(), reasons: window.reasons.slice() });
      bytes += sizeOf(window);
      while (windows.length > maxWindows || (bytes > maxBytes && windows.length > 1)) {
        shift();
        dropped += 1;
      }
    },
    shift,
    size: () => windows.length,
    dropped: () => dropped,
  };
}

function sizeOf(window: Window): number {
  return window.values.byteLength + window.reasons.byteLength;
}
