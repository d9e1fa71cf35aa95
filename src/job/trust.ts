// Whose orders this node carries out: its scheduler's id, and the keys that the scheduler signs with. They lie in a file of
// their own beside the journal. Enrolment writes it; from then on only a statement that a trusted key signed changes it
// (protocol/keys.ts). A node that was enrolled before there were such keys takes those of its first welcome, once.
import type { KeyObject } from 'node:crypto';
import { readFileSync, rmSync, statSync } from 'node:fs';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { goodKey, readStatement, type Statement } from '../protocol/keys.ts';
import { ORDER_SKEW_MS } from '../protocol/order.ts';
import { type Signed, signedSchema } from '../protocol/signed.ts';

export interface Trust {
  /** Of the scheduler that this node belongs to. */
  schedulerId(): string;
  /** The key of this id, if the scheduler may sign with it now; null otherwise. */
  key(keyId: string): KeyObject | null;
  /** Takes over what is new in the scheduler's statements, oldest first, as far as it is to be believed. Never throws. */
  learn(statements: readonly Signed[]): void;
  /** Why no order can be checked, a sentence; null where there are keys. */
  problem(): string | null;
}

export interface TrustOptions {
  readonly path: string;
  /** The scheduler by the enrolment: counts while there is no file. */
  readonly schedulerId: () => string;
  /** Without a file, the keys of the first welcome are believed. */
  readonly trustsFirst: boolean;
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly log: Log;
  readonly audit: AuditSink;
}

const NO_KEY = 'this node knows no key of its scheduler: run "flopd join" again on this host';

const fileSchema = z.object({ version: z.literal(1), statement: signedSchema });

/** In the state folder of whoever holds the job room. */
export const KEYS_FILE = 'scheduler-keys.json';

/**
 * What enrolment writes: the last of the statements is trusted as it stands. A scheduler of version 1 makes none. Throws a
 * Fault TRUST_STATEMENT.
 */
export function writeSchedulerKeys(path: string, schedulerId: string, statements: readonly Signed[]): void {
  const last = statements.at(-1);
  if (last === undefined) {
    rmSync(path, { force: true });
    return;
  }
  if (readStatement(last)?.schedulerId !== schedulerId)
    throw new Fault('TRUST_STATEMENT', 'the keys that the scheduler told are not signed as they must be', {
      remedy: 'ask whoever runs the scheduler',
    });
  save(path, last);
}

export function openTrust({ path, schedulerId, trustsFirst, clock, log, audit }: TrustOptions): Trust {
  let present: Statement | null = null;
  let stamp: string | null = null;
  /** There is a file that cannot be used: nothing is believed for the first time in its place. */
  let damage: string | null = null;
  look();

  /** Enrolment, maybe by another process, may have written it anew. */
  function look(): void {
    const now = stampOf(path);
    if (now === stamp) return;
    stamp = now;
    try {
      present = load(path);
      damage = null;
    } catch (error) {
      damage = describeError(error);
      log.error({}, damage);
    }
  }

  function keep(statement: Statement, how: string): void {
    // Before the disk has it: a key that was revoked is good no more, whatever the disk says.
    present = statement;
    save(path, statement.signed);
    stamp = stampOf(path);
    const facts = { serial: statement.serial, keys: statement.keys.map(({ keyId }) => keyId).join(' ') };
    log.info(facts, `keys of the scheduler: ${how}`);
    audit('keys.learned', { ...facts, how });
  }

  /** Whether it is signed by a key that is good, by what is known here. */
  function isBelieved(next: Statement, known: Statement): boolean {
    if (next.schedulerId !== known.schedulerId) return false;
    return goodKey(known, next.signed.keyId, clock.wallMs(), ORDER_SKEW_MS) !== null;
  }

  function learnFirst(statements: readonly Signed[]): void {
    const last = statements.at(-1);
    const statement = last === undefined ? null : readStatement(last);
    if (statement === null) return;
    if (!trustsFirst || damage !== null || statement.schedulerId !== schedulerId()) {
      log.warn({}, damage ?? NO_KEY);
      return;
    }
    keep(statement, 'trusted for the first time, since this node was enrolled before there were any');
  }

  function learnNext(statements: readonly Signed[], known: Statement): void {
    let last = known;
    for (const signed of statements) {
      const next = readStatement(signed);
      if (next !== null && next.serial > last.serial && isBelieved(next, last)) last = next;
    }
    if (last !== known) keep(last, 'followed');
    const told = statements.at(-1);
    if (told === undefined || told.body === last.signed.body) return;
    log.warn(
      { told: readStatement(told)?.serial ?? null, known: last.serial },
      'the scheduler told keys that no trusted key vouches for; if it has lost its keys, run "flopd join" again on this host',
    );
  }

  return {
    problem: () => damage ?? (present === null && !trustsFirst ? NO_KEY : null),
    schedulerId() {
      look();
      return present?.schedulerId ?? schedulerId();
    },
    key(keyId) {
      const good = (): KeyObject | null =>
        present === null ? null : (goodKey(present, keyId, clock.wallMs(), ORDER_SKEW_MS)?.key ?? null);
      const known = good();
      if (known !== null) return known;
      look();
      return good();
    },
    learn(statements) {
      if (statements.length === 0) return;
      try {
        look();
        if (present === null) learnFirst(statements);
        else learnNext(statements, present);
      } catch (error) {
        log.error({}, `the keys of the scheduler were not kept: ${describeError(error)}`);
      }
    },
  };
}

function save(path: string, statement: Signed): void {
  writeFileAtomic(path, `${JSON.stringify({ version: 1, statement }, null, 1)}\n`, 0o600);
}

function load(path: string): Statement | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw damaged(path, describeError(error));
  }
  const statement = parse(text);
  if (statement === null) throw damaged(path, 'it is not what this agent wrote');
  return statement;
}

function parse(text: string): Statement | null {
  try {
    const file = fileSchema.safeParse(JSON.parse(text));
    return file.success ? readStatement(file.data.statement) : null;
  } catch {
    return null;
  }
}

function damaged(path: string, why: string): Fault {
  return new Fault('TRUST_DAMAGED', `the scheduler's keys in ${path} cannot be used: ${why}`, {
    remedy: 'restore the file, or run "flopd join" again on this host',
  });
}

/** Changes with every writing of the file; null while there is none. */
function stampOf(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? null : `${found.ino} ${found.mtimeNs} ${found.size}`;
}
