// A host becomes a node: it shows a join token and its public key, and gets its name in this network. Asking again with
// the same key gives the same node and costs no use of the token, so that an answer that was lost can be asked for again.
//
// The token says where the node stands. The one in the state directory of the scheduler (file scheduler/join-token) is for
// hosts that read that file: it is good from this machine only, for any number of nodes, which stand where the scheduler
// itself does. A token for a node of a given id is good for a host that takes that id with a new key.
import { createPublicKey } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { Fault, isFault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import type { EnrolAnswer, EnrolRequest } from '../protocol/api.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { closeCode, nodeNameSchema } from '../protocol/control.ts';
import type { Labels, Place } from '../protocol/place.ts';
import { ATTEMPT_RETRY_SECONDS, type Attempts } from './access/attempts.ts';
import { isLoopbackAddress } from './caller.ts';
import { type Fleet, isRemoved } from './fleet.ts';
import type { JoinTokenRecord, JoinTokens } from './join-tokens.ts';
import { labelsOf, type NodeCredentials, placeOf, serialOf } from './node-credentials.ts';
import type { NodeRecord, Queue } from './queue/queue.ts';
import type { Revocations } from './revocations.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import type { Secret } from './secrets.ts';

export const MAX_NODES = 100_000;

export interface EnrolParts {
  readonly schedulerId: string;
  readonly joinToken: Secret;
  readonly joinTokens: JoinTokens;
  /** Where nodes stand that join with the token of the state directory. */
  readonly ownPlace: Place;
  readonly key: SchedulerKey;
  readonly credentials: NodeCredentials;
  readonly revocations: Revocations;
  readonly enrolAttempts: Attempts;
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  readonly audit: AuditSink;
}

/** What a good token allows. */
interface Grant {
  readonly place: Place;
  readonly labels: Labels;
  /** Null for the token of the state directory. */
  readonly token: JoinTokenRecord | null;
}

/**
 * Enrols the host at this address. Throws Fault ENROL_TOKEN_WRONG, _LOCAL, _REVOKED, _EXPIRED, _EARLY, _USED or _NODE,
 * ENROL_TOO_OFTEN, ENROL_KEY_INVALID, ENROL_KEY_REVOKED, ENROL_NAME_INVALID or ENROL_TOO_MANY.
 */
export async function enrolNode(
  request: EnrolRequest,
  address: string | undefined,
  parts: EnrolParts,
): Promise<EnrolAnswer> {
  try {
    const grant = readToken(request.token, address, parts);
    return await enrolWith(grant, request, address, parts);
  } catch (error) {
    if (isFault(error) && error.code.startsWith('ENROL_TOKEN_')) {
      // A good token is taken from any address at any time: nobody locks out a neighbour.
      if (!parts.enrolAttempts.failed(address))
        throw new Fault('ENROL_TOO_OFTEN', 'too many wrong join tokens came from this address', {
          remedy: `try again in ${ATTEMPT_RETRY_SECONDS} s`,
        });
      parts.refusals.refused({ address, code: error.code }, 'a host was not enrolled');
      parts.audit('access.denied', { what: 'enrol', address: address ?? null, code: error.code });
    }
    throw error;
  }
}

function readToken(text: string, address: string | undefined, parts: EnrolParts): Grant {
  const token = parts.joinTokens.find(text);
  const isLocal = parts.joinToken.matches(text);
  if (token !== null) return { place: token.place, labels: token.labels, token };
  if (!isLocal)
    throw new Fault('ENROL_TOKEN_WRONG', 'the join token is not one of this scheduler', {
      field: 'token',
      remedy:
        'make one with "flopd scheduler token create"; on the machine of the scheduler, its state directory has one (file scheduler/join-token)',
    });
  if (!isLoopbackAddress(address))
    throw new Fault(
      'ENROL_TOKEN_LOCAL',
      "the token of the scheduler's state directory is good on its own machine only",
      { field: 'token', remedy: 'make one for this host with "flopd scheduler token create"' },
    );
  return { place: parts.ownPlace, labels: {}, token: null };
}

async function enrolWith(
  grant: Grant,
  request: EnrolRequest,
  address: string | undefined,
  parts: EnrolParts,
): Promise<EnrolAnswer> {
  const { queue, fleet, revocations, log } = parts;
  const publicKey = canonicalKey(request.publicKey);
  if (!nodeNameSchema.safeParse(request.name).success)
    throw new Fault(
      'ENROL_NAME_INVALID',
      'the name contains control characters, or marks that turn the direction of writing',
      { field: 'name' },
    );
  if (revocations.standing(publicKey) === 'revoked')
    throw new Fault('ENROL_KEY_REVOKED', 'the key of this host was revoked', {
      field: 'publicKey',
      remedy: 'join with a new one: flopd join --new-key',
    });
  const failure = queue.failure();
  if (failure !== null) throw failure;
  const known = queue.nodes().find((node) => node.publicKey === publicKey) ?? null;
  if (known !== null && !isRemoved(known)) {
    // Its record may have been asked for a moment ago and not be on disk yet.
    await queue.putNode(known);
    fleet.add(known);
    return answer(known, parts);
  }
  const token = grant.token;
  if (token !== null) parts.joinTokens.requireGood(token);
  if (known !== null) requireFor(token, known.id);
  const record = known === null ? freshRecord(grant, publicKey, request, parts) : backAgain(known, grant);
  const before = queue.node(record.id);
  if (before !== null && before.publicKey !== publicKey) replaceKey(before, token, parts);
  if (revocations.standing(publicKey) === 'removed')
    revocations.readmit(record.id, publicKey, token?.createdBy ?? 'local');
  // In one turn, so that both are in one commit.
  const used = token === null ? null : parts.joinTokens.use(token);
  try {
    await Promise.all([queue.putNode(record), used]);
  } catch (error) {
    if (token !== null) await parts.joinTokens.giveBack(token.id).catch(() => {});
    throw error;
  }
  fleet.add(record);
  const { id, name } = record;
  log.info(
    { nodeId: id, name, token: token?.id ?? 'local' },
    known === null ? 'node enrolled' : 'a removed node has joined again',
  );
  if (token !== null)
    parts.audit('token.used', { token: token.id, nodeId: id, usesLeft: token.usesLeft - 1 });
  parts.audit('node.enrolled', {
    nodeId: id,
    name,
    key: record.publicKey,
    token: token?.id ?? null,
    address: address ?? null,
    jurisdiction: placeOf(record).jurisdiction,
  });
  return answer(record, parts);
}

/** Throws Fault ENROL_TOKEN_NODE where the token is for another node. */
function requireFor(token: JoinTokenRecord | null, nodeId: string): void {
  if (token === null || token.nodeId === null || token.nodeId === nodeId) return;
  throw new Fault('ENROL_TOKEN_NODE', `the join token is for ${token.nodeId}, and this host is ${nodeId}`, {
    field: 'token',
    remedy: 'ask an admin for one of your own: flopd scheduler token create',
  });
}

function freshRecord(
  { token, place, labels }: Grant,
  publicKey: string,
  { name, nodeId: asked }: EnrolRequest,
  { queue, revocations, clock }: EnrolParts,
): NodeRecord {
  const fresh = { name, publicKey, enrolledAtMs: clock.wallMs(), generation: 0, bootId: null };
  if (token !== null && token.nodeId !== null) {
    if (asked !== undefined) requireFor(token, asked);
    const before = queue.node(token.nodeId);
    const serial =
      Math.max(revocations.leastSerial(token.nodeId), before === null ? 0 : serialOf(before)) + 1;
    return {
      ...fresh,
      id: token.nodeId,
      place: isNowhere(place) ? placeOf(before) : place,
      labels: { ...labelsOf(before), ...labels },
      serial,
      ...(before?.cordons === undefined ? {} : { cordons: before.cordons }),
    };
  }
  if (queue.nodes().length >= MAX_NODES)
    throw new Fault('ENROL_TOO_MANY', `${MAX_NODES} nodes are enrolled already`);
  // A node that another store of this network knew keeps its name, under which its jobs and their results go.
  let id = asked ?? createId('node');
  while (queue.node(id) !== null || revocations.isReserved(id)) id = createId('node');
  const serial = revocations.leastSerial(id) + 1;
  return { ...fresh, id, place, labels, serial };
}

/** A node that was removed and comes with the same key: what it is now is what the token says. */
function backAgain(known: NodeRecord, { place, labels }: Grant): NodeRecord {
  const { removedAtMs: _, cloned: __, ...member } = known;
  return { ...member, place, labels, serial: serialOf(known) + 1 };
}

/** The node has a new key: the one before is good for nothing any more, and neither is a session that it has proven. */
function replaceKey(
  before: NodeRecord,
  token: JoinTokenRecord | null,
  { revocations, fleet }: EnrolParts,
): void {
  if (revocations.standing(before.publicKey) !== 'revoked')
    revocations.revoke(before.id, before.publicKey, token?.createdBy ?? 'local');
  fleet.connection(before.id)?.close(closeCode.replaced, 'the node has joined again with a new key');
  fleet.forget(before.id);
}

function answer(record: NodeRecord, { schedulerId, key, credentials }: EnrolParts): EnrolAnswer {
  const { id: nodeId, publicKey, enrolledAtMs } = record;
  return {
    nodeId,
    schedulerId,
    credential: key.credential(nodeId, publicKey, enrolledAtMs),
    signedCredential: credentials.issue(record),
    keys: key.ring.statements(),
  };
}

function isNowhere({ jurisdiction, hub, cluster, city }: Place): boolean {
  return jurisdiction === null && hub === null && cluster === null && city === null;
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
