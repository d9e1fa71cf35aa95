// The energy of one device since it was first seen. By its own counter where it has one: differences, so that nothing
// is lost while nobody looks. Else, and while the counter cannot be trusted, the power over time; what was not read is
// not filled in, and the measured share says how much that is.
//
//   counter went on          its difference; also for the time in which it could not be read
//   counter went back, or    a new baseline; the time since the last good reading by the power that was read in it
//   leapt beyond reason
//   counter stands still     after a minute in which the device drew power: taken for stuck, power over time instead
//
// INVARIANTS: `joules()` never decreases, not over a restart either: see `resume`. Nothing is counted twice: power is
// added only where the counter did not count.

/** What is kept over a restart. */
export interface EnergyState {
  readonly joules: number;
  /** What was shown was at least this. */
  readonly floorJoules: number;
  /** A bound that what was shown did not pass before the next state was kept. */
  readonly ceilingJoules: number;
  readonly elapsedMs: number;
  readonly measuredMs: number;
  /** Time since the last good reading of the counter. */
  readonly openMs: number;
  /** Last good reading of the counter; null where it has none, or one that is stuck. */
  readonly counterJoules: number | null;
}

export interface EnergyMeter {
  /**
   * Hot: every window. `counterJoules` and `watts` (the mean of the window) are NaN where absent; `hasCounter` is
   * false where the device has none at all.
   */
  observe(durationMs: number, counterJoules: number, watts: number, hasCounter: boolean): void;
  /** NaN until it is known. */
  joules(): number;
  measuredRatio(): number;
  /** What was measured, without what is only shown so as not to go back; moves whenever `measuredMs` does. */
  measuredJoules(): number;
  /** For how long. */
  measuredMs(): number;
  method(): 'counter' | 'integral' | null;
  /** `intervalMs`: how long it will stand before the next is kept; 0 for the last one. */
  state(intervalMs: number): EnergyState;
  /** The kept state no longer leads here; it must be kept anew at once. Until the next `state`. */
  isUrgent(): boolean;
  /** Power of late, for deciding when a state must be kept anew. */
  watts(): number;
}

/** Above what any device draws: a counter that runs faster is broken. */
const MAX_WATTS = 20_000;
const LEAP_JOULES = 10_000;
const STUCK_MS = 60_000;
const STUCK_JOULES = 100;
const LEAST_WATTS = 100;

export interface Resumed {
  readonly state: EnergyState;
  /** From when it was kept until now. */
  readonly gapMs: number;
  /** The counter has not been reset by a boot. */
  readonly sameBoot: boolean;
  /** It was kept by an orderly stop: nothing was shown after it. */
  readonly isFinal: boolean;
}

/**
 * Starts at nothing, or where a process before this one left off. After an orderly stop that is exactly where. After a
 * kill, energy was shown that was not kept: a counter tells it again, so nothing is shown until it was read; without
 * one the figure stands at the kept ceiling until what was really measured has reached it.
 */
export function createEnergyMeter(resumed: Resumed | null): EnergyMeter {
  const before = resumed?.state ?? null;
  let joules = before?.joules ?? 0;
  let elapsedMs = (before?.elapsedMs ?? 0) + (resumed?.gapMs ?? 0);
  let measuredMs = before?.measuredMs ?? 0;
  let counter = resumed?.sameBoot === true ? (before?.counterJoules ?? null) : null;
  let floor = before?.ceilingJoules ?? 0;
  let waits = counter !== null && resumed?.isFinal === false;
  let isNew = before === null;
  /** Time since the last good reading of the counter. */
  let openMs = counter === null ? 0 : (before?.openMs ?? 0) + (resumed?.gapMs ?? 0);
  /** By power, in that time. */
  let openJoules = 0;
  let openMeasuredMs = 0;
  let stillMs = 0;
  let stillJoules = 0;
  let isStuck = false;
  let isUrgent = false;
  let method: 'counter' | 'integral' | null = null;
  let recentWatts = 0;

  function restart(reading: number, durationMs: number, spent: number): void {
    joules += openJoules + spent;
    measuredMs += openMeasuredMs + (spent > 0 ? durationMs : 0);
    counter = reading;
    isStuck = false;
    isUrgent = true;
    clearOpen();
  }

  function clearOpen(): void {
    openMs = 0;
    openJoules = 0;
    openMeasuredMs = 0;
    stillMs = 0;
    stillJoules = 0;
  }

  function byCounter(reading: number, durationMs: number, spent: number): void {
    method = 'counter';
    const from = counter;
    const wasWaiting = waits;
    waits = false;
    if (from === null) {
      // Until now by power; from here on by the counter.
      restart(reading, durationMs, isNew ? 0 : spent);
      return;
    }
    const delta = reading - from;
    const isSane = delta >= 0 && delta <= (MAX_WATTS * (durationMs + openMs)) / 1000 + LEAP_JOULES;
    if (!isSane) {
      restart(reading, durationMs, spent);
      return;
    }
    if (delta > 0) {
      if (isStuck) {
        // What it missed was added by power.
        restart(reading, durationMs, spent);
        return;
      }
      // It told all that was shown after the state was kept: no device draws so much that a counter which had been
      // reset meanwhile could stand where it stands.
      const isUnbroken = from > (MAX_WATTS * (durationMs + openMs)) / 1000;
      if (wasWaiting && isUnbroken) floor = before?.floorJoules ?? 0;
      joules += delta;
      measuredMs += durationMs + openMs;
      counter = reading;
      clearOpen();
      return;
    }
    if (isStuck) {
      joules += spent;
      measuredMs += spent > 0 ? durationMs : 0;
      return;
    }
    measuredMs += durationMs + openMs;
    openMs = 0;
    stillMs += durationMs;
    stillJoules += spent + openJoules;
    openJoules = 0;
    openMeasuredMs = 0;
    if (stillMs < STUCK_MS || stillJoules < STUCK_JOULES) return;
    isStuck = true;
    isUrgent = true;
    joules += stillJoules;
    clearOpen();
  }

  return {
    observe(durationMs, reading, watts, hasCounter) {
      if (!(durationMs >= 0 && durationMs < Number.POSITIVE_INFINITY)) return;
      const isPowered = watts >= 0 && watts <= MAX_WATTS;
      const spent = isPowered ? (watts * durationMs) / 1000 : 0;
      if (isPowered) recentWatts = watts;
      if (!isNew) elapsedMs += durationMs;
      if (reading >= 0 && reading < Number.POSITIVE_INFINITY) byCounter(reading, durationMs, spent);
      else if (counter !== null && hasCounter) {
        openMs += durationMs;
        openJoules += spent;
        openMeasuredMs += isPowered ? durationMs : 0;
      } else {
        if (counter !== null) {
          joules += openJoules;
          measuredMs += openMeasuredMs;
          counter = null;
          isUrgent = true;
          clearOpen();
        }
        waits = false;
        if (isPowered) method = 'integral';
        if (isPowered && !isNew) {
          joules += spent;
          measuredMs += durationMs;
        }
      }
      if (isPowered || reading >= 0) isNew = false;
    },
    joules: () => (isNew || waits ? Number.NaN : Math.max(joules, floor)),
    measuredRatio: () => (elapsedMs > 0 ? Math.min(1, measuredMs / elapsedMs) : Number.NaN),
    measuredJoules: () => joules,
    measuredMs: () => measuredMs,
    method: () => (isStuck ? 'integral' : method),
    state(intervalMs) {
      isUrgent = false;
      const floorJoules = Math.max(joules, waits ? (before?.floorJoules ?? 0) : floor);
      const ceiling = Math.max(joules, floor);
      const margin = (2 * Math.max(LEAST_WATTS, 2 * recentWatts) * intervalMs) / 1000;
      return {
        joules,
        floorJoules,
        ceilingJoules: ceiling + margin,
        elapsedMs,
        measuredMs,
        openMs,
        // While the counter cannot be read its last good reading is kept: the difference then covers the gap.
        counterJoules: isStuck ? null : counter,
      };
    },
    isUrgent: () => isUrgent,
    watts: () => recentWatts,
  };
}
