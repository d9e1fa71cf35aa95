// What the agent does when its scheduler does not know it any more, because it has lost its store. With the store alone
// gone, the credential in the hello is enough. With the scheduler's key gone as well the node must be enrolled again:
// by somebody who runs `flopd join` (the enrolment is read again each time), or by itself where it has a token: the one
// that `flopd up` hands it, or the file that it joined with. Its id stays, and with it its jobs and their results.
//
// A scheduler of another id is another scheduler: to it no token is ever sent but the one of the `up` that runs both.
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { readText } from '../base/text-file.ts';
import type { Dialer } from '../dial/dialer.ts';
import type { Challenge } from '../protocol/control.ts';
import { type Enrolment, enrol, readEnrolment } from './enrolment.ts';
import type { Identity } from './identity.ts';

export interface Rejoin {
  /** Before a hello: makes this node one of the scheduler that sent the challenge, where that is right. */
  meet(challenge: Pick<Challenge, 'schedulerId'>): Promise<void>;
  /** The scheduler does not know this node; true when it does now. */
  unknownNode(): Promise<boolean>;
}

export interface RejoinParts {
  readonly identity: Identity;
  readonly url: string;
  readonly stateDir: string;
  readonly name: string;
  /** The token that this process was given, which its scheduler made; null where there is none. */
  readonly joinToken: string | null;
  readonly dialer: Dialer;
  readonly log: Log;
}

export function createRejoin(parts: RejoinParts): Rejoin {
  const { identity, url, stateDir, name, joinToken, dialer, log } = parts;

  /** What somebody has written since; true when it is news. */
  async function readAgain(): Promise<Enrolment | null> {
    const written = await readEnrolment(stateDir);
    if (written === null) return null;
    const isNews =
      written.schedulerId !== identity.schedulerId() ||
      written.credential?.signature !== identity.credential()?.signature ||
      written.signedCredential?.signature !== identity.signedCredential()?.signature;
    if (isNews) {
      identity.renew(written);
      log.info({ schedulerId: written.schedulerId }, 'this node has been enrolled again');
    }
    return isNews ? written : null;
  }

  async function enrolAgain(token: string): Promise<boolean> {
    try {
      const enrolment = await enrol({ url, token, stateDir, name, again: true, dialer });
      identity.renew(enrolment);
      log.warn(
        { schedulerId: enrolment.schedulerId },
        'the scheduler had lost this node; it is enrolled again',
      );
      return true;
    } catch (error) {
      log.warn({}, `this node cannot be enrolled again: ${describeError(error)}`);
      return false;
    }
  }

  return {
    async meet({ schedulerId }) {
      if (schedulerId === identity.schedulerId()) return;
      const written = await readAgain();
      if (written?.schedulerId === schedulerId) return;
      // Without a token: proving itself says what is wrong.
      if (joinToken !== null) await enrolAgain(joinToken);
    },
    async unknownNode() {
      if ((await readAgain()) !== null) return true;
      const written = await readEnrolment(stateDir);
      const token = joinToken ?? (written?.tokenFile == null ? null : readText(written.tokenFile));
      if (token !== null) return enrolAgain(token);
      log.warn(
        {},
        'the scheduler has lost this node: run "flopd join" again with its join token; running jobs go on meanwhile',
      );
      return false;
    },
  };
}
