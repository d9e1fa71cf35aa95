// Who this agent is on the wire: its node id, the boot of its host, and how often it has been started on this
// state directory. It signs the hello with the node's key.
import { type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import { publicKeyText, readKey } from '../base/key-file.ts';
import { type Challenge, type Credential, helloProofText } from '../protocol/control.ts';
import { type CredentialBody, readCredential } from '../protocol/credential.ts';
import type { Signed } from '../protocol/signed.ts';
import { chooseVersion, describeVersions, ownVersions } from '../protocol/version.ts';
import { type Enrolment, nodeKey, writeEnrolment } from './enrolment.ts';

export interface Identity {
  readonly nodeId: string;
  readonly bootId: string;
  readonly generation: number;
  /** Made up for this very run. */
  readonly instance: string;
  /** The id of the scheduler that this node belongs to. */
  schedulerId(): string;
  /** What that scheduler signed; null for an enrolment from before there was any. */
  credential(): Credential | null;
  /** The same with the place of the node; null where its scheduler speaks version 1 alone. */
  signedCredential(): Signed | null;
  /**
   * Keeps a later credential, on disk at once. False for one that is not of this node, not later than the present one, or
   * that cannot be written.
   */
  adopt(credential: Signed): boolean;
  /** The node has been enrolled again, under the same id. Throws AGENT_OTHER_NODE for another. */
  renew(enrolment: Enrolment): void;
  /**
   * Base64 signature for this challenge, over this connection (`binding`; empty without TLS). Throws AGENT_OTHER_SCHEDULER
   * when it is not our scheduler's, AGENT_DOWNGRADE when it offers less than it has spoken before.
   */
  prove(challenge: Challenge, binding: string): string;
}

/** Takes up the identity of an enrolled host and counts this start. */
export function takeIdentity(folder: string, enrolment: Enrolment, bootId: string, clock: Clock): Identity {
  let key = readNodeKey(folder);
  const { nodeId } = enrolment;
  let present = enrolment;
  const generation = countStart(join(folder, 'generation'), clock);
  const instance = createId('instance');

  function body(): CredentialBody | null {
    return present.signedCredential === null ? null : readCredential(present.signedCredential);
  }

  return {
    nodeId,
    bootId,
    generation,
    instance,
    schedulerId: () => present.schedulerId,
    credential: () => present.credential,
    signedCredential: () => present.signedCredential,
    adopt(credential) {
      const told = readCredential(credential);
      if (told === null || told.nodeId !== nodeId || told.schedulerId !== present.schedulerId) return false;
      if (told.publicKey !== publicKeyText(key) || told.serial < (body()?.serial ?? 0)) return false;
      const changed = { ...present, signedCredential: credential };
      try {
        writeEnrolment(folder, changed);
      } catch {
        return false;
      }
      present = changed;
      return true;
    },
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
      // It may have been enrolled with a new one.
      key = readNodeKey(folder);
    },
    prove(challenge, binding) {
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
      const version = chooseVersion(ownVersions, challenge.versions) ?? 0;
      // A proof of version 1 names no connection: whoever made the scheduler look older could pass it on.
      if (version < 2 && present.signedCredential !== null) {
        throw new Fault(
          'AGENT_DOWNGRADE',
          `the scheduler offers ${describeVersions(challenge.versions)} of the protocol, and has spoken version 2 before`,
          {
            remedy:
              'somebody may stand in between; if an older flopd runs there again on purpose, run "flopd join" again',
          },
        );
      }
      const text = helloProofText({ nodeId, bootId, generation, instance }, challenge, version, binding);
      return sign(null, Buffer.from(text), key).toString('base64');
    },
  };
}

function readNodeKey(folder: string): KeyObject {
  const path = join(folder, 'key.pem');
  const key = readKey(path, nodeKey);
  if (key !== null) return key;
  throw new Fault('AGENT_KEY_DAMAGED', `the node key ${path} is missing`, {
    remedy: `restore it, or remove ${folder} and join the scheduler anew`,
  });
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
