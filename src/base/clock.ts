// Time as a part that is handed in. Wall time is for stamps that people read; every deadline, lease and rate
// uses monotonic time, so that a clock that jumps changes nothing.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch; may jump. */
  wallMs(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Calls `fn` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, fn: () => void): Timer;
}

/** The real clock of this process. */
export function createClock(): Clock {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    after(delayMs, fn) {
      const handle = setTimeout(fn, delayMs);
      handle.unref();
      return { cancel: () => clearTimeout(handle) };
    },
  };
}

/** Calls `fn` every `periodMs` until cancelled; the next delay starts when `fn` has returned. */
export function every(clock: Clock, periodMs: number, fn: () => void): Timer {
  let timer = clock.after(periodMs, tick);
  let cancelled = false;
  function tick(): void {
    fn();
    if (!cancelled) timer = clock.after(periodMs, tick);
  }
  return {
    cancel() {
      cancelled = true;
      timer.cancel();
    },
  };
}

/** Resolves after this time. */
export function waited(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}
