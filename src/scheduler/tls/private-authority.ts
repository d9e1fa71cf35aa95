// The scheduler's own certificate authority, made at its first start, and its succession:
//
//   steady ----rotate----> announced ----after the overlap----> succeeded ----after another----> steady
//
//   steady      A signs the scheduler's certificate; nodes trust A
//   announced   A signs; nodes are told of A and B
//   succeeded   B signs; nodes are told of B and A; A has signed B too, and that goes along in the handshake, so that
//               a node that knows A alone still gets in and learns of B
//
// All of it is one file, written atomically: a crash leaves a state of this table. The certificate of the server itself
// is made anew at each start, and before half of its life is over; its key never touches the disk.
//
// INVARIANT: whoever was connected once during an overlap trusts the authority that signs after it.
import { randomBytes, X509Certificate } from 'node:crypto';
import { chmodSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import { authorityPin } from '../../base/authority-pin.ts';
import type { Clock } from '../../base/clock.ts';
import { describeError, errnoOf, Fault } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { Pair } from './certificate.ts';
import type { CertificateSource, Changes, ServerCertificate } from './certificate-source.ts';
import type { Issuer, WithIssuer } from './issuer.ts';

const DAY_MS = 86_400_000;
const AUTHORITY_LIFE_MS = 20 * 366 * DAY_MS;
/** Clocks of nodes may be this much behind. */
const SKEW_MS = 3600_000;
/** A certificate is renewed when this share of its life is over. */
const RENEW_AT = 0.4;
/** An authority gives way to the next when this share of its life is over. */
const SUCCEED_AT = 0.5;

const pairSchema = z.strictObject({ certificate: z.string(), key: z.string() });
const stateSchema = z.strictObject({
  version: z.literal(1),
  current: pairSchema,
  next: z.strictObject({ pair: pairSchema, signsAtMs: z.number() }).nullable(),
  previous: z
    .strictObject({
      certificate: z.string(),
      /** The current one, signed by the previous. */
      cross: z.string(),
      endsAtMs: z.number(),
    })
    .nullable(),
});
type State = z.output<typeof stateSchema>;

/** Where the succession stands, for operators. Pins as in base/authority-pin.ts, times by wall clock. */
export interface Succession {
  readonly phase: 'steady' | 'announced' | 'succeeded';
  readonly signs: string;
  readonly next: string | null;
  readonly previous: string | null;
  /** When the next phase begins; null while steady. */
  readonly nextPhaseAtMs: number | null;
  readonly certificateExpiresAtMs: number;
}

type Leaf = ServerCertificate & {
  readonly issuedAtMs: number;
  readonly names: string;
  readonly signer: string;
};

export interface PrivateAuthority extends CertificateSource {
  /** Pin of the authority that signs. */
  pin(): string;
  succession(): Succession;
  /**
   * Makes a next authority. `now`: does not wait for an overlap but takes the next step at once. Rejects with TLS_ROTATING
   * or TLS_ISSUER_FAILED.
   */
  rotate(now: boolean): Promise<void>;
}

export interface PrivateAuthorityParts {
  /** Folder of the scheduler's state. */
  readonly folder: string;
  readonly schedulerId: string;
  /** Names that the certificate has to be good for; asked at each look. */
  readonly names: () => readonly string[];
  readonly lifetimeMs: number;
  readonly overlapMs: number;
  /** How many nodes are enrolled. */
  readonly nodes: () => number;
  /** Whoever writes the certificates (issuer.ts). */
  readonly withIssuer: WithIssuer;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Opens the authority in the folder or makes one. Rejects with TLS_AUTHORITY_DAMAGED, TLS_AUTHORITY_LOST,
 * TLS_ISSUER_FAILED, or the system's error.
 */
export async function openPrivateAuthority(parts: PrivateAuthorityParts): Promise<PrivateAuthority> {
  const { folder, schedulerId, withIssuer, clock, log } = parts;
  const path = join(folder, 'authorities.json');
  const bundle = join(folder, 'ca.pem');
  const found = readState(path, log);
  if (found === null) requireNew(path, bundle, parts);
  let toldMs = Number.NEGATIVE_INFINITY;
  /** Looks and rotations wait for each other. */
  let last: Promise<unknown> = Promise.resolve();
  let { state, leaf } = await withIssuer(async (issuer) => {
    const opened = found ?? (await first(issuer));
    return { state: opened, leaf: await issue(opened, issuer) };
  });
  if (found === null) keep(state);
  else publish();
  warnOfClock();

  async function first(issuer: Issuer): Promise<State> {
    log.info({ path: bundle }, 'a private certificate authority is made');
    return { version: 1, current: await newAuthority(issuer), next: null, previous: null };
  }

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn.catch(() => {});
    return turn;
  }

  function newAuthority(issuer: Issuer): Promise<Pair> {
    const nowMs = clock.wallMs();
    return issuer.makeAuthority(`flopd ${schedulerId} ${randomBytes(4).toString('hex')}`, {
      fromMs: nowMs - SKEW_MS,
      untilMs: nowMs + AUTHORITY_LIFE_MS,
    });
  }

  function keep(value: State): void {
    writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`, 0o600);
    state = value;
    publish();
  }

  /** For people and for clients on this machine: whoever trusts this file trusts this scheduler. */
  function publish(): void {
    const text = authorities().join('');
    try {
      if (readText(bundle) !== text) writeFileAtomic(bundle, text, 0o644);
    } catch (error) {
      log.error(
        { bundle, errno: errnoOf(error) },
        'the certificate authority is not written down for clients',
      );
    }
  }

  /** A wrong clock made it, or one is wrong now: a new authority would lock every node out, so nothing is done by itself. */
  function warnOfClock(): void {
    const { validFrom, validTo } = new X509Certificate(state.current.certificate);
    const nowMs = clock.wallMs();
    const isValid = nowMs >= Date.parse(validFrom) && nowMs < Date.parse(validTo);
    if (isValid || clock.monotonicMs() - toldMs < DAY_MS) return;
    toldMs = clock.monotonicMs();
    log.error(
      { validFrom, validTo },
      'the certificate authority is not valid at this time; set the clock right, or run "flopd scheduler ca rotate --now"',
    );
  }

  function authorities(): readonly string[] {
    const { current, next, previous } = state;
    return [
      current.certificate,
      ...(next === null ? [] : [next.pair.certificate]),
      ...(previous === null ? [] : [previous.certificate]),
    ];
  }

  async function issue({ current, previous }: State, issuer: Issuer): Promise<Leaf> {
    const names = parts.names();
    const nowMs = clock.wallMs();
    const untilMs = nowMs + parts.lifetimeMs;
    const made = await issuer.makeLeaf(names, current, { fromMs: nowMs - SKEW_MS, untilMs });
    // What was signed by the previous one stands before the authority itself: a peer takes the first that fits.
    const chain = [
      made.certificate,
      ...(previous === null ? [] : [previous.cross, previous.certificate]),
      current.certificate,
    ];
    log.info(
      { expiresAt: new Date(untilMs).toISOString(), names: names.length },
      "the scheduler's certificate is made",
    );
    return {
      cert: chain.join(''),
      key: made.key,
      expiresAtMs: untilMs,
      issuedAtMs: nowMs,
      names: names.join(' '),
      signer: current.certificate,
    };
  }

  /** Takes the step of the succession that is due, or the next one whatever is due. Returns whether one was taken. */
  async function step(isForced: boolean, issuer: Issuer): Promise<boolean> {
    const nowMs = clock.wallMs();
    const { current, next, previous } = state;
    if (next !== null && (isForced || nowMs >= next.signsAtMs)) {
      const endsAtMs = nowMs + parts.overlapMs;
      const cross = await issuer.crossSign(next.pair, current);
      keep({
        version: 1,
        current: next.pair,
        next: null,
        previous: { certificate: current.certificate, cross, endsAtMs },
      });
      log.warn({ pin: pin(), endsAtMs }, 'the next certificate authority signs from now on');
      return true;
    }
    if (previous !== null && (isForced || nowMs >= previous.endsAtMs)) {
      keep({ ...state, previous: null });
      log.warn(
        { pin: authorityPin(previous.certificate) },
        'the last certificate authority is trusted no more',
      );
      return true;
    }
    return false;
  }

  function pin(): string {
    return authorityPin(state.current.certificate);
  }

  function isDue(): boolean {
    const nowMs = clock.wallMs();
    const ageMs = nowMs - leaf.issuedAtMs;
    // A clock that was set back makes certificates of the future.
    return (
      ageMs >= RENEW_AT * parts.lifetimeMs ||
      ageMs < -SKEW_MS / 2 ||
      parts.names().join(' ') !== leaf.names ||
      leaf.signer !== state.current.certificate
    );
  }

  function isOld(): boolean {
    const { validFrom, validTo } = new X509Certificate(state.current.certificate);
    const fromMs = Date.parse(validFrom);
    return clock.wallMs() >= fromMs + SUCCEED_AT * (Date.parse(validTo) - fromMs);
  }

  async function announceNext(issuer: Issuer): Promise<void> {
    const pair = await newAuthority(issuer);
    const signsAtMs = clock.wallMs() + parts.overlapMs;
    keep({ ...state, next: { pair, signsAtMs } });
    log.warn(
      { pin: authorityPin(authorities()[1] ?? ''), signsAt: new Date(signsAtMs).toISOString() },
      'a next certificate authority is announced to the nodes',
    );
  }

  async function look(): Promise<Changes> {
    const before = authorities().join('');
    const old = leaf;
    warnOfClock();
    const nowMs = clock.wallMs();
    const { next, previous } = state;
    const isNextDue = next === null && previous === null && isOld();
    const isStepDue = nowMs >= (next?.signsAtMs ?? previous?.endsAtMs ?? Number.POSITIVE_INFINITY);
    if (isNextDue || isStepDue || isDue())
      try {
        await withIssuer(async (issuer) => {
          if (isNextDue) await announceNext(issuer);
          if ((await step(false, issuer)) || isDue()) leaf = await issue(state, issuer);
        });
      } catch (error) {
        log.error({ cause: describeError(error) }, 'the certificates could not be renewed; tried again');
      }
    return { certificate: leaf !== old, authorities: authorities().join('') !== before };
  }

  async function rotate(now: boolean): Promise<void> {
    const isSteady = state.next === null && state.previous === null;
    if (!isSteady && !now)
      throw new Fault('TLS_ROTATING', 'the certificate authority is being replaced already', {
        remedy:
          'wait for the next step, which "flopd scheduler ca show" tells, or take it at once with --now',
      });
    await withIssuer(async (issuer) => {
      if (isSteady) await announceNext(issuer);
      if (now) await step(true, issuer);
      leaf = await issue(state, issuer);
    });
  }

  return {
    certificate: () => leaf,
    authorities,
    pin,
    look: () => inTurn(look),
    succession() {
      const { next, previous } = state;
      return {
        phase: next !== null ? 'announced' : previous !== null ? 'succeeded' : 'steady',
        signs: pin(),
        next: next === null ? null : authorityPin(next.pair.certificate),
        previous: previous === null ? null : authorityPin(previous.certificate),
        nextPhaseAtMs: next?.signsAtMs ?? previous?.endsAtMs ?? null,
        certificateExpiresAtMs: leaf.expiresAtMs,
      };
    },
    rotate: (now) => inTurn(() => rotate(now)),
  };
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function readState(path: string, log: Log): State | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
    if ((statSync(path).mode & 0o077) !== 0) {
      log.warn({ path }, "others could read the certificate authority's key; made it private");
      chmodSync(path, 0o600);
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    const state = stateSchema.parse(JSON.parse(text));
    for (const { certificate } of [state.current, ...(state.next === null ? [] : [state.next.pair])])
      new X509Certificate(certificate);
    return state;
  } catch {
    // Neither the parser's words nor the text: there are keys in it.
    throw new Fault('TLS_AUTHORITY_DAMAGED', `${path} is not a certificate authority of this scheduler`, {
      field: 'stateDir',
      remedy: 'restore it, or remove it for a new one: then every node and user has to join and log in again',
    });
  }
}

/**
 * Nobody may know an authority of this scheduler yet, where a new one is to be made: whoever trusts another refuses it.
 * What was written down for clients stays behind when the authority itself is lost. Throws TLS_AUTHORITY_LOST.
 */
function requireNew(path: string, bundle: string, { nodes, log }: PrivateAuthorityParts): void {
  const count = nodes();
  if (count === 0) return;
  if (readText(bundle) === null) {
    log.warn(
      { path, nodes: count },
      'a new certificate authority is made though nodes are enrolled: those that joined over TLS refuse it; restore the file from a copy, or let them join again',
    );
    return;
  }
  const remedy = `restore it from a copy; or remove ${bundle} too for a new one: then every node and user has to join and log in again`;
  const nodesText = count === 1 ? '1 node is' : `${count} nodes are`;
  throw new Fault(
    'TLS_AUTHORITY_LOST',
    `${path}, the certificate authority of this scheduler, is missing, and ${nodesText} enrolled`,
    { field: 'stateDir', remedy },
  );
}

/** Takes back what is told to clients of this machine, where no private authority signs. */
export function forgetBundle(folder: string): void {
  rmSync(join(folder, 'ca.pem'), { force: true });
}
