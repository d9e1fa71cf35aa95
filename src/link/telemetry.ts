// Telemetry windows on their way to the scheduler: thinned to the interval that it asked for, held in the backlog
// while there is no session or no room, and encoded at the moment of sending by the encoder of this one session.
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Column, Window } from '../protocol/columns.ts';
import { MAX_FRAME_BYTES } from '../protocol/control.ts';
import { createFrameEncoder, dictionaryOf } from '../protocol/frame.ts';
import { createBacklog } from './backlog.ts';

export interface TelemetryFlow {
  push(window: Window): void;
  /** A session has begun and wants one window every `telemetryMs`. */
  begin(telemetryMs: number): void;
  end(): void;
  pump(): void;
  figures(): { windowsSent: number; windowsDropped: number; windowsWaiting: number };
}

export interface TelemetryParts {
  send(data: string | Uint8Array): void;
  /** True while the session lives and its socket takes more telemetry. */
  hasRoom(): boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export function createTelemetryFlow({ send, hasRoom, clock, log }: TelemetryParts): TelemetryFlow {
  const backlog = createBacklog();
  let encoder = createFrameEncoder();
  /** The columns that this session's dictionary describes, or null. */
  let described: readonly Column[] | null = null;
  /** Columns whose dictionary or frame cannot travel; said once. */
  let unsendable: readonly Column[] | null = null;
  let telemetryMs = 0;
  let keptAtMs = Number.NEGATIVE_INFINITY;
  let sent = 0;
  let lost = 0;

  function transmit(window: Window): void {
    try {
      if (window.columns === unsendable) throw new Error('too long for a frame');
      if (window.columns !== described) {
        const dictionary = JSON.stringify(dictionaryOf(window));
        if (Buffer.byteLength(dictionary) > MAX_FRAME_BYTES) throw new Error('too long for a frame');
        send(dictionary);
        described = window.columns;
      }
      const frame = encoder.encode(window);
      if (frame.byteLength > MAX_FRAME_BYTES) throw new Error('too long for a frame');
      send(frame);
      sent += 1;
    } catch (error) {
      // The encoder's state may be ahead of what the scheduler has seen: begin anew with dictionary and key frame.
      encoder = createFrameEncoder();
      described = null;
      lost += 1;
      if (unsendable !== window.columns) {
        log.error({ columns: window.columns.length }, `cannot send telemetry: ${describeError(error)}`);
      }
      unsendable = window.columns;
    }
  }

  function pump(): void {
    while (backlog.size() > 0 && hasRoom()) {
      const window = backlog.shift();
      if (window !== null) transmit(window);
    }
  }

  return {
    push(window) {
      const nowMs = clock.monotonicMs();
      // Half a window of tolerance: the sampler's beat and ours are not the same.
      if (nowMs - keptAtMs < telemetryMs - window.durationMs / 2) return;
      keptAtMs = nowMs;
      pump();
      if (backlog.size() === 0 && hasRoom()) transmit(window);
      else backlog.push(window);
    },
    begin(intervalMs) {
      telemetryMs = intervalMs;
      encoder = createFrameEncoder();
      described = null;
      unsendable = null;
      pump();
    },
    end() {
      described = null;
    },
    pump,
    figures: () => ({
      windowsSent: sent,
      windowsDropped: lost + backlog.dropped(),
      windowsWaiting: backlog.size(),
    }),
  };
}
