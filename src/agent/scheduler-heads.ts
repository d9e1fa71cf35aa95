// This node as a witness of its scheduler's audit log: what the scheduler tells of it, signed, is written into the agent's
// own log, so that whoever rewrites the scheduler's, keys and all, is found by `flopd audit verify --witness`. A log that
// went back, or holds another record under the same number, is told at once.
//
// Of a node that is split it is the agent's log, not the runner's: the agent alone speaks with the scheduler, and the
// runner, which starts the jobs of others, cannot write there.
import { join } from 'node:path';
import * as z from 'zod';
import { readSignedHead } from '../audit/head.ts';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { readText } from '../base/text-file.ts';
import type { AuditSink, SignedHead } from '../protocol/audit.ts';
import { keyIdOf } from '../protocol/signed.ts';

/** A log that grows is written down at most this often, and so is one that is found changed. */
export const HEAD_RECORD_MS = 5 * 60_000;
const HEAD_FILE = 'scheduler-head.json';
const REMEDY =
  'if the scheduler was restored from a backup, that is why; else its log was rewritten: keep this node\'s log and run "flopd audit verify --witness FOLDER" with it on the scheduler\'s host';

const seenSchema = z.object({
  version: z.literal(1),
  schedulerId: z.string().max(64),
  keyId: z.string().max(64),
  sequence: z.number().int().nonnegative(),
  hash: z.string().max(64),
});
type Seen = Omit<z.output<typeof seenSchema>, 'version'>;

export interface SchedulerHeads {
  /** The scheduler of this session told its head. Never throws. */
  told(head: SignedHead): void;
}

export function createSchedulerHeads(parts: {
  /** Of the agent, where the last head that was written down is remembered. */
  readonly folder: string;
  /** Of the scheduler that this node belongs to. */
  readonly schedulerId: () => string;
  readonly audit: AuditSink;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly log: Log;
}): SchedulerHeads {
  const { schedulerId, audit, clock, log } = parts;
  const path = join(parts.folder, HEAD_FILE);
  let seen: Seen | null = readSeen(path);
  let recordedMs = Number.NEGATIVE_INFINITY;
  let alarmMs = Number.NEGATIVE_INFINITY;
  let isRefused = false;

  function take(signed: SignedHead): void {
    const body = readSignedHead(signed);
    if (body === null || body.owner !== schedulerId()) {
      if (!isRefused)
        log.warn(
          { owner: body?.owner ?? null },
          "a head of an audit log was told that is not the scheduler's",
        );
      isRefused = true;
      return;
    }
    const { owner, sequence, hash } = body;
    const present: Seen = { schedulerId: owner, keyId: keyIdOf(signed.publicKey), sequence, hash };
    const before = seen?.schedulerId === owner ? seen : null;
    const isOtherKey = before !== null && before.keyId !== present.keyId;
    const isBack =
      before !== null &&
      (sequence < before.sequence || (sequence === before.sequence && hash !== before.hash));
    if (before !== null && !isOtherKey && !isBack && sequence === before.sequence) return;
    const nowMs = clock.monotonicMs();
    if (isOtherKey || isBack) {
      // What was seen before stays the measure until then.
      if (nowMs - alarmMs < HEAD_RECORD_MS) return;
      alarmMs = nowMs;
      tell(present, before, isBack);
    }
    seen = present;
    if (!isOtherKey && !isBack && nowMs - recordedMs < HEAD_RECORD_MS) return;
    recordedMs = nowMs;
    audit('scheduler.head', { schedulerId: owner, sequence, hash, keyId: present.keyId, headAt: body.at });
    writeFileAtomic(path, `${JSON.stringify({ version: 1, ...present })}\n`, 0o600);
  }

  function tell({ sequence, hash, keyId, schedulerId: owner }: Seen, before: Seen, isBack: boolean): void {
    if (!isBack) {
      log.warn(
        { keyId, keyIdBefore: before.keyId },
        'the audit log of the scheduler is signed by another key than before; ask whoever runs it whether its key was lost',
      );
      return;
    }
    log.error(
      { sequence, toldBefore: before.sequence, keyId, remedy: REMEDY },
      'the audit log of the scheduler does not hold any more what it told this node before',
    );
    audit('scheduler.rewound', {
      schedulerId: owner,
      sequence,
      hash,
      keyId,
      toldSequence: before.sequence,
      toldHash: before.hash,
      toldKeyId: before.keyId,
    });
  }

  return {
    told(head) {
      try {
        take(head);
      } catch (error) {
        log.warn({}, `the head of the scheduler's audit log is not remembered: ${describeError(error)}`);
      }
    },
  };
}

/** Null where there is none, or it cannot be read: the log itself has what was told. */
function readSeen(path: string): Seen | null {
  const text = readText(path);
  if (text === null) return null;
  try {
    return seenSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
