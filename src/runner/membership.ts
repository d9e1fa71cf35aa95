// Whom the runner works for, in a file of its own folder that its agent cannot write: the node that it is, and the
// scheduler whose orders it carries out. Written by `flopd join` with the rights of the runner.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import { signedSchema } from '../protocol/signed.ts';

const id = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);
const membershipSchema = z.object({
  version: z.literal(1),
  nodeId: id,
  schedulerId: id,
  /** What the scheduler signed of this node, its place among it; null of one that signs none. */
  signedCredential: signedSchema.nullable().default(null),
});
export type Membership = z.output<typeof membershipSchema>;

const FILE = 'node.json';

/** Throws RUNNER_NOT_ENROLLED or RUNNER_MEMBERSHIP_DAMAGED. `folder`: `runner` of the state directory. */
export function readMembership(folder: string): Membership {
  const path = join(folder, FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Fault(
      errnoOf(error) === 'ENOENT' ? 'RUNNER_NOT_ENROLLED' : 'RUNNER_MEMBERSHIP_DAMAGED',
      `this runner does not know whose orders to carry out: ${path} ${errnoOf(error) === 'ENOENT' ? 'is missing' : `cannot be read: ${describeError(error)}`}`,
      {
        field: 'stateDir',
        remedy: 'run "flopd join URL --token-file FILE --runner-state-dir DIR" as the user of the runner',
      },
    );
  }
  try {
    return membershipSchema.parse(JSON.parse(text));
  } catch {
    throw new Fault('RUNNER_MEMBERSHIP_DAMAGED', `${path} does not say whose orders to carry out`, {
      remedy: 'restore it, or remove it and join the scheduler again',
    });
  }
}

export function writeMembership(folder: string, membership: Omit<Membership, 'version'>): void {
  const { nodeId, schedulerId, signedCredential } = membership;
  const kept: Membership = { version: 1, nodeId, schedulerId, signedCredential };
  writeFileAtomic(join(folder, FILE), `${JSON.stringify(kept, null, 2)}\n`, 0o600);
}
