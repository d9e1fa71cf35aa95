// Who an agent is, by its hello: the node whose key it has, if that is a member, and the one agent that has it. And what is
// written down of it.
import { createPublicKey, verify } from 'node:crypto';
import type { Log } from '../base/log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { type Challenge, closeCode, type Hello, helloProofText } from '../protocol/control.ts';
import type { Signed } from '../protocol/signed.ts';
import { chooseVersion, describeVersions, type VersionRange } from '../protocol/version.ts';
import type { CloneWatch } from './clone-watch.ts';
import { type Fleet, isRemoved } from './fleet.ts';
import type { NodeCredentials } from './node-credentials.ts';
import type { NodeRecord, Queue } from './queue/queue.ts';
import type { Revocations } from './revocations.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import { Refusal } from './session-refusal.ts';

/** The first version whose proof names the connection. */
const BOUND_VERSION = 2;

export interface Admitted {
  readonly rebooted: boolean;
  /** That both speak. */
  readonly version: number;
  /** A credential that is later than the one that the agent has shown. */
  readonly credential: Signed | null;
}

export interface NodeAdmission {
  /** `binding` ties the proof to the connection; empty without TLS. Rejects with a Refusal. */
  admit(hello: Hello, challenge: Challenge, binding: string): Promise<Admitted>;
  /** Writes down what the hello tells of the node. */
  remember(hello: Hello): Promise<void>;
}

export interface NodeAdmissionParts {
  readonly key: SchedulerKey;
  /** That this scheduler speaks. */
  readonly versions: VersionRange;
  /**
   * Also a proof over TLS that names no connection: the operator knows what ends the TLS in between, and that it, or whoever
   * takes its place, can pass for each node that connects through it.
   */
  readonly takesUnbound: boolean;
  readonly credentials: NodeCredentials;
  readonly revocations: Revocations;
  readonly clones: CloneWatch;
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly log: Log;
  readonly audit: AuditSink;
}

export function createNodeAdmission(parts: NodeAdmissionParts): NodeAdmission {
  const { queue, fleet, credentials, revocations, clones, log } = parts;
  /** Nodes known by their credential alone, until they are on disk again. */
  const recognised = new Map<string, NodeRecord>();

  /** The record of a node that this scheduler once enrolled and then lost with its store. */
  function recognise({ nodeId, name, credential, signedCredential }: Hello): NodeRecord | null {
    const again = recognised.get(nodeId);
    if (again !== undefined) return again;
    const signed = credentials.read(nodeId, signedCredential);
    const fresh = { id: nodeId, name, generation: 0, bootId: null };
    if (signed !== null && signed.serial >= revocations.leastSerial(nodeId)) {
      const { publicKey, enrolledAtMs, place, labels, serial } = signed;
      return { ...fresh, publicKey, enrolledAtMs, place, labels, serial };
    }
    // What it shows is out of date, or of version 1: it is a member, and nobody knows where.
    const shown = signed ?? (credential !== null && parts.key.isOurs(nodeId, credential) ? credential : null);
    if (shown === null) return null;
    const { publicKey, enrolledAtMs } = shown;
    // Below the one that says it, should that still come.
    const serial = Math.max(1, revocations.leastSerial(nodeId) - 1);
    return { ...fresh, publicKey, enrolledAtMs, serial };
  }

  /** Throws a Refusal for a node that is no member any more. */
  function requireMember(node: NodeRecord): void {
    const standing = revocations.standing(node.publicKey);
    if (standing === 'good' && !isRemoved(node)) return;
    throw standing === 'revoked'
      ? new Refusal(
          closeCode.removed,
          'LINK_NODE_REVOKED',
          'an admin revoked the key of the node; it may join again with a new one (flopd join --new-key)',
        )
      : new Refusal(closeCode.removed, 'LINK_NODE_REMOVED', 'an operator removed the node; join it again');
  }

  /** The store may be older than what this scheduler signed since: the later of the two counts. */
  function withLater(node: NodeRecord, hello: Hello): NodeRecord {
    const shown = credentials.later(node, hello.signedCredential);
    if (shown === null || shown.publicKey !== node.publicKey) return node;
    return { ...node, place: shown.place, labels: shown.labels, serial: shown.serial };
  }

  return {
    async admit(hello, challenge, binding) {
      const version = chooseVersion(parts.versions, hello.versions);
      if (version === null) {
        const theirs = describeVersions(hello.versions);
        throw new Refusal(
          closeCode.version,
          'LINK_VERSION',
          `this scheduler speaks ${describeVersions(parts.versions)}, the agent ${theirs}`,
        );
      }
      const known = queue.node(hello.nodeId);
      const node = known ?? recognise(hello);
      if (node === null)
        throw new Refusal(
          closeCode.unknownNode,
          'LINK_NODE_UNKNOWN',
          'this scheduler does not know the node; join it again',
        );
      requireMember(node);
      const textFor = (bound: string): string =>
        helloProofText(hello, challenge, version < BOUND_VERSION ? 1 : version, bound);
      const isUnbound = (): boolean =>
        parts.takesUnbound && binding !== '' && isProven(node, hello.proof, textFor(''));
      if (!isProven(node, hello.proof, textFor(binding)) && !isUnbound()) {
        parts.audit('access.denied', { what: 'hello', nodeId: node.id, code: 'LINK_PROOF' });
        throw new Refusal(
          closeCode.unauthenticated,
          'LINK_PROOF',
          'the proof does not fit this connection: something between ends the TLS, or the node has another key',
        );
      }
      await clones.requireOnly(node, hello);
      const present = withLater(queue.node(node.id) ?? node, hello);
      // It may have been revoked while we waited.
      requireMember(present);
      if (queue.node(node.id) === null && !recognised.has(node.id)) {
        log.warn(
          { nodeId: node.id, name: node.name },
          'a node that the store had lost is taken back by its credential',
        );
        recognised.set(node.id, present);
        fleet.add(present);
      }
      return {
        version,
        rebooted: present.bootId !== null && present.bootId !== hello.bootId,
        credential: version < BOUND_VERSION ? null : credentials.newer(present, hello.signedCredential),
      };
    },
    async remember(hello) {
      const known = queue.node(hello.nodeId);
      const record = known ?? recognised.get(hello.nodeId);
      if (record === undefined || isRemoved(record)) return;
      const node = withLater(record, hello);
      const { name, bootId, instance } = hello;
      const generation = Math.max(node.generation, hello.generation);
      const isSame =
        node === record &&
        node.name === name &&
        node.bootId === bootId &&
        node.generation === generation &&
        (node.instance ?? null) === instance;
      if (known === null || !isSame) await queue.putNode({ ...node, name, bootId, generation, instance });
      recognised.delete(node.id);
      clones.remembered(hello);
    },
  };
}

function isProven(node: NodeRecord, proof: string, text: string): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(node.publicKey, 'base64'), format: 'der', type: 'spki' });
    return (
      key.asymmetricKeyType === 'ed25519' &&
      verify(null, Buffer.from(text), key, Buffer.from(proof, 'base64'))
    );
  } catch {
    return false;
  }
}
