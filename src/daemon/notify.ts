// What systemd is told (sd_notify): ready, a status line, stopping, and the watchdog. The watchdog is fed at a third
// of its time and only while the agent does its work; a timer that fires shows that the event loop turns, the rest
// is asked of `isAlive`.
import { type Clock, every, type Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Native } from '../native.ts';

const MAX_STATUS = 200;
/** Status is written at most this often. */
const STATUS_EVERY_MS = 2000;

export interface NotifyParts {
  readonly native: Native | null;
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as systemd set them. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  /** Null while the rivers flow, else what stands still. */
  readonly stuck: () => string | null;
  /** One line for `systemctl status`. */
  readonly status: () => string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Notifier {
  ready(): void;
  stopping(): void;
}

export function createNotifier({
  native,
  environment,
  pid,
  stuck,
  status,
  clock,
  log,
}: NotifyParts): Notifier {
  const isWanted = (environment.NOTIFY_SOCKET ?? '') !== '';
  if (isWanted && native === null) {
    log.warn(
      {},
      'systemd waits for a notification that needs the native addon: install g++ and run "npm run build"',
    );
  }
  const target = isWanted ? native : null;
  const watchdogMs = watchdogTimeMs(environment, pid);
  const timers: Timer[] = [];
  let lastStatus = '';
  let wasStuck = false;

  function feed(): void {
    const what = stuck();
    if (what === null) target?.notify('WATCHDOG=1');
    else if (!wasStuck) log.error({}, `the watchdog is not fed: ${what}`);
    wasStuck = what !== null;
  }

  function tellStatus(): void {
    const line = statusLine(status());
    if (line === lastStatus) return;
    lastStatus = line;
    target?.notify(line);
  }

  return {
    ready() {
      if (target === null) return;
      lastStatus = statusLine(status());
      target.notify(`READY=1\n${lastStatus}`);
      timers.push(every(clock, STATUS_EVERY_MS, tellStatus));
      if (watchdogMs === null) return;
      feed();
      timers.push(every(clock, watchdogMs / 3, feed));
    },
    stopping() {
      for (const timer of timers) timer.cancel();
      target?.notify('STOPPING=1\nSTATUS=stopping; running jobs go on');
    },
  };
}

/** A line break would begin a field of its own, such as MAINPID. */
function statusLine(text: string): string {
  return `STATUS=${text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, MAX_STATUS)}`;
}

/** The watchdog's time in ms, or null where this process has none. */
export function watchdogTimeMs(
  environment: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | null {
  const { WATCHDOG_USEC: usec, WATCHDOG_PID: owner } = environment;
  if (usec === undefined || !/^\d{1,15}$/.test(usec) || Number(usec) === 0) return null;
  if (owner !== undefined && owner !== '' && owner !== String(pid)) return null;
  return Number(usec) / 1000;
}
