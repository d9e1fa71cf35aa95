// How the command line reaches a scheduler: whom it believes, in this order. `--ca-file`; the pin that the token carries;
// the authority in the state directory of a scheduler of this machine; else the system's.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createClock } from '../base/clock.ts';
import { createSilentLog } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { createDialer, type Dialer } from '../dial/dialer.ts';
import { fetchPinned } from '../dial/pinned.ts';
import { watchAuthorities } from '../dial/trust.ts';

/** A dialler that believes these authorities (PEM); null: those of the system. */
export function openDialer(authorities: readonly string[] | null): Dialer {
  return openFollowingDialer(() => authorities);
}

/** The same, asked at each connection: a command that follows a job may outlive an authority. */
export function openFollowingDialer(authorities: () => readonly string[] | null): Dialer {
  return createDialer({ authorities, clock: createClock(), log: createSilentLog() });
}

/** Where the private authority of a scheduler lies that keeps its state there. */
export function localAuthorityFile(stateDir: string): string {
  return join(stateDir, 'scheduler', 'ca.pem');
}

export interface DialTarget {
  readonly url: string;
  /** State directory of the scheduler, where it runs on this machine. */
  readonly stateDir: string | null;
  /** Pin of its authority, where the token carries one. */
  readonly pin: string | null;
}

/** Rejects with DIAL_AUTHORITIES_UNREADABLE, DIAL_AUTHORITIES_UNFIT, DIAL_PIN_OTHER, or why it cannot be reached. */
export async function dialerFor(
  config: Pick<Config, 'caFile'>,
  { url, stateDir, pin }: DialTarget,
): Promise<Dialer> {
  if (config.caFile !== null) return openFollowingDialer(watchAuthorities(config.caFile));
  if (pin !== null) return openDialer([await fetchPinned(openDialer(null), url, pin)]);
  const local = stateDir === null ? null : localAuthorityFile(stateDir);
  const isLocal = local !== null && url.startsWith('https:') && existsSync(local);
  return isLocal ? openFollowingDialer(watchAuthorities(local)) : openDialer(null);
}
