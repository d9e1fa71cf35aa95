// A host becomes a node: it shows the join token and its public key, and gets its name in this network. Asking
// again with the same key gives the same node, so that an answer that was lost can be asked for again.
import { createPublicKey } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import type { Log } from '../base/log.ts';
import type { EnrolAnswer, EnrolRequest } from '../protocol/api.ts';
import { type Fleet, isRemoved } from './fleet.ts';
import type { NodeRecord, Queue } from './queue/queue.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import type { Secret } from './secrets.ts';

export const MAX_NODES = 100_000;

/** Throws Fault ENROL_TOKEN_WRONG, ENROL_KEY_INVALID, ENROL_NAME_INVALID or ENROL_TOO_MANY. */
export async function enrolNode(
  request: EnrolRequest,
  parts: {
    readonly joinToken: Secret;
    readonly schedulerId: string;
    readonly key: SchedulerKey;
    readonly queue: Queue;
    readonly fleet: Fleet;
    readonly clock: Clock;
    readonly log: Log;
  },
): Promise<EnrolAnswer> {
  const { queue, fleet, schedulerId } = parts;
  if (!parts.joinToken.matches(request.token)) {
    throw new Fault('ENROL_TOKEN_WRONG', 'the join token is not the one of this scheduler', {
      field: 'token',
      remedy: "take it from the scheduler's state directory, file scheduler/join-token",
    });
  }
  const publicKey = canonicalKey(request.publicKey);
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(request.name)) {
    throw new Fault('ENROL_NAME_INVALID', 'the name contains control characters', { field: 'name' });
  }
  const nodes = queue.nodes();
  const answer = ({ id: nodeId, enrolledAtMs }: NodeRecord): EnrolAnswer => ({
    nodeId,
    schedulerId,
    credential: parts.key.credential(nodeId, publicKey, enrolledAtMs),
    keys: parts.key.ring.statements(),
  });
  const known = nodes.find((node) => node.publicKey === publicKey);
  if (known !== undefined) {
    const failure = queue.failure();
    if (failure !== null) throw failure;
    const { removedAtMs, ...member } = known;
    // Its record may have been asked for a moment ago and not be on disk yet.
    await queue.putNode(member);
    fleet.add(member);
    if (isRemoved(known))
      parts.log.info({ nodeId: known.id, removedAtMs }, 'a removed node has joined again');
    return answer(known);
  }
  if (nodes.length >= MAX_NODES) throw new Fault('ENROL_TOO_MANY', `${MAX_NODES} nodes are enrolled already`);
  // A node that another store of this network knew keeps its name, under which its jobs and their results go.
  let id = request.nodeId ?? createId('node');
  while (queue.node(id) !== null) id = createId('node');
  const record: NodeRecord = {
    id,
    name: request.name,
    publicKey,
    enrolledAtMs: parts.clock.wallMs(),
    generation: 0,
    bootId: null,
  };
  await queue.putNode(record);
  fleet.add(record);
  parts.log.info({ nodeId: id, name: request.name }, 'node enrolled');
  return answer(record);
}

/** The key, DER in base64, written in the one way. */
function canonicalKey(text: string): string {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType === 'ed25519')
      return key.export({ format: 'der', type: 'spki' }).toString('base64');
  } catch {
    // Said below.
  }
  throw new Fault('ENROL_KEY_INVALID', 'the public key is not an Ed25519 key in DER (SPKI), base64', {
    field: 'publicKey',
  });
}
