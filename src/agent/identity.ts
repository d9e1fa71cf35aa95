// Who this agent is on the wire: its node id, the boot of its host, and how often it has been started on this
// state directory. It signs the hello with the node's key.
import { sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import { readKey } from '../base/key-file.ts';
import { type Challenge, type Credential, helloProofText } from '../protocol/control.ts';
import { type Enrolment, nodeKey } from './enrolment.ts';

export interface Identity {
  readonly nodeId: string;
  readonly bootId: string;
  readonly generation: number;
  /** The id of the scheduler that this node belongs to. */
  schedulerId(): string;
  /** What that scheduler signed; null for an enrolment from before there was any. */
  credential(): Credential | null;
  /** The node has been enrolled again, under the same id. Throws AGENT_OTHER_NODE for another. */
  renew(enrolment: Enrolment): void;
  /** Base64 signature for this challenge. Throws AGENT_OTHER_SCHEDULER when it is not our scheduler's. */
  prove(challenge: Challenge): string;
}

/** Takes up the identity of an enrolled host and counts this start. */
export function takeIdentity(folder: string, enrolment: Enrolment, bootId: string, clock: Clock): Identity {
  const key = readKey(join(folder, 'key.pem'), nodeKey);
  if (key === null) {
    throw new Fault('AGENT_KEY_DAMAGED', `the node key ${join(folder, 'key.pem')} is missing`, {
      remedy: `restore it, or remove ${folder} and join the scheduler anew`,
    });
  }
  const { nodeId } = enrolment;
  let present = enrolment;
  const generation = countStart(join(folder, 'generation'), clock);
  return {
    nodeId,
    bootId,
    generation,
    schedulerId: () => present.schedulerId,
    credential: () => present.credential,
    renew(again) {
      if (again.nodeId !== nodeId) {
        throw new Fault(
          'AGENT_OTHER_NODE',
          `this host was enrolled again as ${again.nodeId}, but it was ${nodeId}`,
          {
            remedy: 'restart the agent when its jobs have ended',
          },
        );
      }
      present = again;
    },
    prove(challenge) {
      const { schedulerId } = present;
      if (challenge.schedulerId !== schedulerId) {
        throw new Fault(
          'AGENT_OTHER_SCHEDULER',
          `this node belongs to ${schedulerId}, but ${challenge.schedulerId} answered`,
          {
            remedy:
              'check the address of the scheduler; if it has lost its state directory, run "flopd join" again with its new join token: jobs that run here are taken over',
          },
        );
      }
      return sign(null, Buffer.from(helloProofText({ nodeId, bootId, generation }, challenge)), key).toString(
        'base64',
      );
    },
  };
}

/** Raises the number in `path` by one, atomically, and returns it. */
export function countStart(path: string, clock: Clock): number {
  const generation = readGeneration(path, clock) + 1;
  writeFileAtomic(path, `${generation}\n`, 0o600);
  return generation;
}

function readGeneration(path: string, clock: Clock): number {
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (/^\d{1,15}$/.test(text)) return Number(text);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
  // Damaged. The count must not go back, and seconds since 1970 are more than any number of starts.
  return Math.floor(clock.wallMs() / 1000);
}
