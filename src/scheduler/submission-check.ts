// The submitter's signature, as it comes with a submission: in three headers, over the exact text of the body, for this
// scheduler and this moment. What is signed must be: one that does not hold is refused, not left out. Whoever sees a
// submission cannot use it again: it is good for a minute, once.
import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { isNestedDeeper } from '../protocol/nesting.ts';
import { ORDER_SKEW_MS, submissionSchema, submissionText } from '../protocol/order.ts';
import { MAX_NESTING } from '../protocol/order-seal.ts';
import { digestOf, isSignedBy, keyIdOf, readPublicKey } from '../protocol/signed.ts';
import type { JobSubmission, Queue } from './queue/queue.ts';

/** Jobs of before that are looked through for submissions that could be repeated. */
const JOBS_LOOKED_AT = 10_000;
const GOOD_FOR_MS = 2 * ORDER_SKEW_MS;

export interface SubmissionCheck {
  /**
   * What was signed; null where nothing was. Throws Fault SUBMISSION_HEADERS, SUBMISSION_KEY_UNKNOWN, SUBMISSION_CLOCK,
   * SUBMISSION_SIGNATURE or SUBMISSION_REPEATED.
   */
  check(headers: IncomingHttpHeaders, text: string, user: string): JobSubmission | null;
}

export interface SubmissionCheckParts {
  readonly schedulerId: string;
  readonly queue: Pick<Queue, 'jobs'>;
  /** Whether a submission of this user may be signed with this key. */
  readonly hasKey: (user: string, publicKey: string) => boolean;
  readonly clock: Clock;
}

export function createSubmissionCheck(parts: SubmissionCheckParts): SubmissionCheck {
  const { schedulerId, queue, hasKey, clock } = parts;
  /** Signatures that were seen, each with the time from which it is too old by itself; oldest first. */
  const seen = new Map<string, number>();
  const openedAtMs = clock.wallMs();
  /** What was signed before may have been used without being known here. */
  let knownSinceMs = 0;
  const before = queue.jobs({ limit: JOBS_LOOKED_AT });
  for (const { submission } of before) if (submission !== null) note(submission);
  const oldest = before.at(-1);
  if (before.length === JOBS_LOOKED_AT && (oldest?.submittedAtMs ?? 0) > openedAtMs - GOOD_FOR_MS)
    knownSinceMs = openedAtMs;

  function note({ signature, signedAtMs }: Pick<JobSubmission, 'signature' | 'signedAtMs'>): void {
    seen.set(signature, signedAtMs + ORDER_SKEW_MS);
  }

  function forgetOld(nowMs: number): void {
    for (const [signature, untilMs] of seen) {
      if (untilMs >= nowMs) return;
      seen.delete(signature);
    }
  }

  return {
    check(headers, text, user) {
      const given = [headers['flopd-key'], headers['flopd-signed-at'], headers['flopd-signature']];
      if (given.every((header) => header === undefined)) return null;
      const [publicKey, signedAt, signature] = given;
      const isNumber = typeof signedAt === 'string' && /^\d{1,16}(\.\d{1,6})?$/.test(signedAt);
      const parsed = submissionSchema.safeParse({
        publicKey,
        signedAtMs: isNumber ? Number(signedAt) : null,
        signature,
      });
      if (!parsed.success)
        throw new Fault(
          'SUBMISSION_HEADERS',
          'the headers flopd-key, flopd-signed-at and flopd-signature are a public key (DER, base64), milliseconds since 1970, and an Ed25519 signature (base64)',
        );
      const submission = parsed.data;
      if (!hasKey(user, submission.publicKey))
        throw new Fault(
          'SUBMISSION_KEY_UNKNOWN',
          `the key ${keyIdOf(submission.publicKey)} is not one of ${user}`,
          {
            remedy: 'run "flopd login" again: it registers the key of this user',
          },
        );
      const nowMs = clock.wallMs();
      const offSeconds = Math.round((submission.signedAtMs - nowMs) / 1000);
      if (Math.abs(submission.signedAtMs - nowMs) > ORDER_SKEW_MS)
        throw new Fault(
          'SUBMISSION_CLOCK',
          `the job was signed ${Math.abs(offSeconds)} s ${offSeconds < 0 ? 'ago' : 'ahead'} by the clock of the scheduler; at most ${ORDER_SKEW_MS / 1000} s are allowed`,
          { remedy: 'submit it again; if that does not help, set the clocks' },
        );
      const key = readPublicKey(submission.publicKey);
      const signedText = submissionText(schedulerId, submission.signedAtMs, digestOf(text) ?? '');
      if (key === null || !isSignedBy(key, 'flopd.v2 job', signedText, submission.signature))
        throw new Fault('SUBMISSION_SIGNATURE', 'the signature does not fit what was submitted');
      // The very text goes to the nodes, and none would read it: the value of a name that is written twice may be anything.
      if (isNestedDeeper(Buffer.from(text), MAX_NESTING))
        throw new Fault('API_JSON', `the text of a signed job is nested deeper than ${MAX_NESTING} levels`);
      forgetOld(nowMs);
      if (seen.has(submission.signature) || submission.signedAtMs < knownSinceMs)
        throw new Fault('SUBMISSION_REPEATED', 'this very submission has been made before', {
          remedy: 'submit it again, signed anew',
        });
      note(submission);
      return { text, ...submission };
    },
  };
}
