// Where a daemon reads its host from and what surrounds its process: one value, so that tests can hand in their own.

export interface Host {
  readonly procRoot: string;
  readonly sysRoot: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly random: () => number;
  /** Calls `fn` before the process ends over an error that nobody caught; returns how to stop that. */
  readonly onCrash?: (fn: (error: unknown) => void) => () => void;
}

export function presentHost(): Host {
  return {
    procRoot: '/proc',
    sysRoot: '/sys',
    environment: process.env,
    random: Math.random,
    onCrash(fn) {
      process.on('uncaughtExceptionMonitor', fn);
      return () => void process.off('uncaughtExceptionMonitor', fn);
    },
  };
}
