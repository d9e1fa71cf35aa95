// Where a node stands and what it is labelled, when an admin changes it: into its record, and in a credential with a later
// serial to its agent. An earlier credential is out of date from then on, also for a scheduler that loses its store. And when
// another key of the scheduler begins to sign, whoever is connected gets its credential anew: a node believes the key before
// for a few minutes more.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { type Labels, labelsSchema, type Place } from '../protocol/place.ts';
import type { Fleet } from './fleet.ts';
import { labelsOf, type NodeCredentials, placeOf, serialOf } from './node-credentials.ts';
import type { NodeRecord, Queue } from './queue/queue.ts';
import type { Revocations } from './revocations.ts';

export interface NodeStandings {
  /** Resolves when it is on disk; its agent, if there is one, has been told. */
  move(nodeId: string, place: Place, by: string): Promise<void>;
  /** Null takes a label away. Throws Fault API_INVALID for what are no labels, or too many. */
  label(nodeId: string, changes: Readonly<Record<string, string | null>>, by: string): Promise<void>;
  /** Another key signs now: everybody's credential is signed anew at once, not at the next look. */
  renew(): void;
  close(): void;
}

/** Far below the time for which a key is good that signs no more (key-ring.ts). */
const LOOK_MS = 60_000;
/** Credentials that are signed in one go: about ten milliseconds. */
const SIGNED_AT_ONCE = 200;
const BETWEEN_MS = 20;

export interface NodeStandingParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly credentials: NodeCredentials;
  readonly revocations: Revocations;
  readonly clock: Clock;
  readonly log: Log;
  /** Looks for work: jobs may be allowed there now. */
  readonly place: () => void;
}

export function createNodeStandings(parts: NodeStandingParts): NodeStandings {
  const { queue, fleet, clock, log, credentials } = parts;
  let keyId = credentials.keyId();
  let timer = clock.after(LOOK_MS, look);

  function look(): void {
    const now = credentials.keyId();
    if (now === keyId) {
      timer = clock.after(LOOK_MS, look);
      return;
    }
    keyId = now;
    tellAll(queue.nodes().map(({ id }) => id));
  }

  /** To all that are connected; the others get it when they come. */
  function tellAll(ids: readonly string[]): void {
    for (const id of ids.slice(0, SIGNED_AT_ONCE)) {
      const record = queue.node(id);
      const session = fleet.connection(id);
      if (record !== null && session !== null) session.credential(credentials.issue(record));
    }
    const rest = ids.slice(SIGNED_AT_ONCE);
    timer = rest.length === 0 ? clock.after(LOOK_MS, look) : clock.after(BETWEEN_MS, () => tellAll(rest));
  }

  async function change(nodeId: string, by: string, standing: Pick<NodeRecord, 'place' | 'labels'>) {
    const failure = queue.failure();
    if (failure !== null) throw failure;
    const record = queue.node(nodeId);
    if (record === null) throw new Fault('FLEET_NODE_UNKNOWN', `there is no node ${nodeId}`);
    const serial = Math.max(serialOf(record), parts.revocations.leastSerial(nodeId)) + 1;
    parts.revocations.outdate(nodeId, serial);
    const changed = { ...record, ...standing, serial };
    const stored = queue.putNode(changed);
    fleet.refresh(nodeId);
    await stored;
    // Before any order that is given because of it: they go the same way.
    fleet.connection(nodeId)?.credential(credentials.issue(changed));
    log.info({ nodeId, by, place: placeOf(changed), labels: labelsOf(changed) }, 'a node stands elsewhere');
    parts.place();
  }

  return {
    renew() {
      if (credentials.keyId() === keyId) return;
      timer.cancel();
      look();
    },
    move: (nodeId, place, by) => change(nodeId, by, { place }),
    async label(nodeId, changes, by) {
      const present: Record<string, string> = { ...labelsOf(queue.node(nodeId)) };
      for (const [name, value] of Object.entries(changes))
        if (value === null) delete present[name];
        else present[name] = value;
      const parsed = labelsSchema.safeParse(present);
      if (!parsed.success) throw unfit(parsed.error.issues[0]?.message ?? 'are no labels');
      await change(nodeId, by, { labels: parsed.data satisfies Labels });
    },
    close: () => timer.cancel(),
  };
}

function unfit(message: string): Fault {
  return new Fault('API_INVALID', message, {
    field: 'labels',
    remedy: 'names are lower-case words of at most 32 characters, values short words; at most 16 of them',
  });
}
