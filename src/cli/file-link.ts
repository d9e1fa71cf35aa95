// What bringing and fetching files share: requests to the scheduler's store that are repeated while it is away, and
// progress on standard error.
import { createBackoff } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { Fault, isFault } from '../base/fault.ts';
import { isPassing, persist } from '../files/exchange.ts';
import { createTransfer, type Transfer } from '../files/transfer.ts';
import type { Context } from './context.ts';
import type { Access } from './endpoint.ts';
import { formatDecimal } from './text.ts';

/** Without a byte for so long, a scheduler that is away is given up; one that was never there, sooner. */
const PATIENCE_MS = 5 * 60_000;
const FIRST_PATIENCE_MS = 10_000;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 3000;
const DRAW_MS = 200;
const SAY_MS = 10_000;

export interface Progress {
  add(bytes: number): void;
  /** Leaves the line as if nothing had been written. */
  end(): void;
}

export interface FileLink {
  readonly transfer: Transfer;
  readonly signal: AbortSignal;
  /** Repeats work that goes on from where it stopped; see files/exchange.ts. */
  persist<T>(work: (moved: () => void) => Promise<T>): Promise<T>;
  /** Likewise for what may not be there yet: waits for so long for it (ms), with a word to the user. */
  await<T>(what: string, patienceMs: number, work: (moved: () => void) => Promise<T>): Promise<T>;
  progress(what: string, totalBytes: number | null): Progress;
  close(): void;
}

export interface FileLinkOptions {
  readonly context: Context;
  readonly access: Access;
  readonly signal: AbortSignal;
  /** Tells a person something; does nothing when quiet. */
  readonly speak: (message: string) => void;
  readonly quiet: boolean;
}

export function openFileLink({ context, access, signal, speak, quiet }: FileLinkOptions): FileLink {
  const { clock, random, stderr } = context;
  const headers = { authorization: `Bearer ${access.token}` };
  const transfer = createTransfer({ url: access.url, dialer: access.dialer, headers: () => headers }, signal);

  let hasMoved = false;

  function repeat<T>(
    work: (moved: () => void) => Promise<T>,
    patienceMs: () => number,
    passes: (error: unknown) => boolean,
    waits: (error: Fault | null) => void,
  ): Promise<T> {
    const backoff = createBackoff({ minMs: RETRY_MIN_MS, maxMs: RETRY_MAX_MS, random });
    let movedAtMs = clock.monotonicMs();
    const goesOn = (error: unknown): boolean =>
      passes(error) && clock.monotonicMs() - movedAtMs < patienceMs();
    return persist({ clock: wakeful(clock), backoff, signal, goesOn, waits }, (moved) =>
      work(() => {
        movedAtMs = clock.monotonicMs();
        hasMoved = true;
        moved();
      }),
    );
  }

  let isAway = false;
  const tellAway = (error: Fault | null): void => {
    if (error === null && isAway) speak('connected again');
    if (error !== null && !isAway) speak(`${error.message}; trying again`);
    isAway = error !== null;
  };

  return {
    transfer,
    signal,
    persist: (work) => repeat(work, () => (hasMoved ? PATIENCE_MS : FIRST_PATIENCE_MS), isPassing, tellAway),
    await(what, patienceMs, work) {
      let told = false;
      const passes = (error: unknown): boolean => {
        if (isPassing(error)) return true;
        if (!isFault(error, 'FILES_MISSING')) return false;
        if (!told) speak(`waiting for ${what}`);
        told = true;
        return true;
      };
      return repeat(work, () => patienceMs, passes, tellAway).catch((error: unknown) => {
        if (!isFault(error, 'FILES_MISSING')) throw error;
        throw new Fault('FILES_MISSING', `the scheduler does not have ${what}`, {
          remedy: 'its node may still have to bring it, or it was removed when its time was over',
          cause: error,
        });
      });
    },
    progress(what, totalBytes) {
      const isTerminal = stderr.isTTY === true;
      let bytes = 0;
      let drawnAtMs = clock.monotonicMs();
      let drawn = false;
      return {
        add(more) {
          bytes += more;
          const nowMs = clock.monotonicMs();
          if (quiet || nowMs - drawnAtMs < (isTerminal ? DRAW_MS : SAY_MS)) return;
          drawnAtMs = nowMs;
          const total = totalBytes === null ? '' : ` of ${formatDecimal(totalBytes, 'B')}`;
          const text = `flopd: ${what}: ${formatDecimal(bytes, 'B')}${total}`;
          stderr.write(isTerminal ? `\r\u001b[K${text}` : `${text}\n`, () => {});
          drawn = isTerminal;
        },
        end() {
          if (drawn) stderr.write('\r\u001b[K', () => {});
          drawn = false;
        },
      };
    },
    close: () => transfer.close(),
  };
}

/** Timers of a clock do not keep a process alive; while files wait, nothing else does. */
function wakeful(clock: Clock): Clock {
  return {
    ...clock,
    after(delayMs, fn) {
      const handle = setTimeout(fn, delayMs);
      return { cancel: () => clearTimeout(handle) };
    },
  };
}
