// Whom this agent believes to be its scheduler. `--ca-file`: the operator's file alone, as it is at each connection. Else
// `authorities.pem` in the state directory: written when the host joined with a pinned token or a file, and again when
// the scheduler, over a session that both have proven, names other authorities. With neither: those of the system.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { type Clock, createClock } from '../base/clock.ts';
import { describeError, errnoOf, Fault, isFault } from '../base/fault.ts';
import { createSilentLog, type Log } from '../base/log.ts';
import { createDialer, type Dialer } from '../dial/dialer.ts';
import { fetchPinned } from '../dial/pinned.ts';
import { parseAuthorities, readAuthorities, watchAuthorities } from '../dial/trust.ts';
import type { EnrolOptions } from './enrolment.ts';

export interface Authorities {
  /** PEM, one each; null: those of the system. */
  present(): readonly string[] | null;
  /** What the scheduler named over an authenticated session. Ignored where the operator or the system decides. */
  learn(authorities: readonly string[]): void;
}

export interface AuthoritiesParts {
  /** The agent's folder in the state directory. */
  readonly folder: string;
  readonly caFile: string | null;
  readonly log: Log;
}

const fileOf = (folder: string): string => join(folder, 'authorities.pem');

/** Throws DIAL_AUTHORITIES_UNREADABLE or DIAL_AUTHORITIES_UNFIT. */
export function openAuthorities({ folder, caFile, log }: AuthoritiesParts): Authorities {
  if (caFile !== null) return { present: watchAuthorities(caFile), learn() {} };
  let present = readKept(folder);
  return {
    present: () => present,
    learn(authorities) {
      if (present === null || authorities.join('') === present.join('')) return;
      try {
        const next = parseAuthorities(authorities.join('\n'), 'what the scheduler names');
        if (next.join('') === present.join('')) return;
        keepAuthorities(folder, next);
        present = next;
        log.info({ authorities: next.length }, 'the authorities of the scheduler have changed');
      } catch (error) {
        log.warn({}, `the authorities that the scheduler names are not kept: ${describeError(error)}`);
      }
    },
  };
}

/** Writes them down for the agents to come. Throws the system's error. */
export function keepAuthorities(folder: string, authorities: readonly string[]): void {
  const text = authorities.map((one) => `${one.trimEnd()}\n`).join('');
  writeFileAtomic(fileOf(folder), text, 0o600);
}

/** How this agent reaches its scheduler. `tlsOnly`: it has joined over TLS. */
export function createAgentDialer(
  authorities: Pick<Authorities, 'present'>,
  tlsOnly: boolean,
  parts: { readonly clock: Clock; readonly log: Log },
): Dialer {
  return createDialer({ ...parts, authorities: authorities.present, tlsOnly });
}

/** The way to the scheduler that this host joins, and the authorities to believe from now on; null: what is kept stays. */
export async function findWay(
  { url, caFile = null, dialer }: Pick<EnrolOptions, 'url' | 'caFile' | 'dialer'>,
  folder: string,
  pin: string | null,
): Promise<{ readonly dialer: Dialer; readonly authorities: readonly string[] | null }> {
  if (dialer !== undefined) return { dialer, authorities: null };
  const log = createSilentLog();
  const clock = createClock();
  const believing = (authorities: readonly string[] | null): Dialer =>
    createDialer({ clock, log, authorities: () => authorities });
  if (caFile !== null) {
    const authorities = readAuthorities(caFile);
    return { dialer: believing(authorities), authorities };
  }
  if (pin !== null) {
    const authorities = [
      await fetchPinned(believing(null), url, pin).catch((error: unknown) => notReached(url, error)),
    ];
    return { dialer: believing(authorities), authorities };
  }
  const kept = openAuthorities({ folder, caFile: null, log }).present();
  return { dialer: believing(kept), authorities: null };
}

/** A way that is not there, said with what can be done; anything else as it is. */
function notReached(url: string, error: unknown): never {
  if (!isFault(error, 'DIAL_UNREACHABLE')) throw error;
  throw new Fault('ENROL_UNREACHABLE', `cannot enrol with the scheduler at ${url}: ${describeError(error)}`, {
    field: 'scheduler',
    remedy: 'start the scheduler there, or check the address',
    cause: error,
  });
}

function readKept(folder: string): readonly string[] | null {
  const path = fileOf(folder);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    // Without it the system's authorities would be believed: more than this host was told to.
    throw new Fault('AGENT_AUTHORITIES', `cannot read ${path}: ${describeError(error)}`, {
      remedy: 'make it readable for this user, or join again with a token that carries the pin',
      cause: error,
    });
  }
  return parseAuthorities(text, path);
}
