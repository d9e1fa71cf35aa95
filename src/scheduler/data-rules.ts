// What the scheduler makes of the data that a job states: which nodes may have it, whether this scheduler may keep its
// output and files, and why a job waits for that. The decision itself is protocol/data-policy.ts; the node makes it again.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { type AuditSink, noAudit } from '../protocol/audit.ts';
import { builtInCorridors, type Corridor } from '../protocol/corridor.ts';
import {
  type Data,
  type DataRefusal,
  decideKeeping,
  decidePlacement,
  describeData,
  judgePlacement,
} from '../protocol/data-policy.ts';
import { nowhere, type Place } from '../protocol/place.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { PlacementNode } from './demand.ts';
import type { JobRecord } from './queue/queue.ts';

/** The part of a demand that speaks of data. Only `data` tells one demand from another. */
export interface DataDemand {
  readonly data: Data;
  /** Why the node may not have it now, or null. */
  refuse(node: PlacementNode): DataRefusal | null;
}

export interface DataRules {
  /** Null for a job that states nothing. */
  demand(spec: JobSpec): DataDemand | null;
  /** Throws Fault DATA_* where this scheduler itself may not keep what the job reads and writes. */
  requireKept(spec: JobSpec): void;
  /** A node has refused an order for the data of the job: it is given none with the same until it comes back. */
  refused(nodeId: string, spec: JobSpec, refusal: DataRefusal): void;
  /** The node has come back, maybe with other rules. */
  forget(nodeId: string): void;
  /** By which rule the job is where it is, a clause; null for one without data, or with no node. */
  ruleOf(job: JobRecord, place: Place): string | null;
}

export interface DataRulesOptions {
  /** Where this scheduler stands. */
  readonly place?: Place;
  readonly corridors?: readonly Corridor[];
  readonly clock: Clock;
  readonly audit?: AuditSink;
}

/** Refusals that are remembered of one node. */
const SAID_MAX = 256;

/** Codes of what a job waits for, as a clause behind "2 nodes" or, the second, "1 node". */
const clauses: Readonly<Record<string, readonly [string, string]>> = {
  DATA_CLASS_NOT_TAKEN: ['take no data of this class', 'takes no data of this class'],
  DATA_PLACE_MISSING: ['have no jurisdiction', 'has no jurisdiction'],
  DATA_PLACE_INVALID: ['have a jurisdiction that is none', 'has a jurisdiction that is none'],
  DATA_PLACE_NOT_ALLOWED: ['stand outside of data.allowed', 'stands outside of data.allowed'],
  DATA_IMPORTANT: ['stand outside of its origin', 'stands outside of its origin'],
  DATA_CORRIDOR_MISSING: [
    'stand behind a border without a corridor',
    'stands behind a border without a corridor',
  ],
  DATA_FILING_MISSING: ['need data.filing', 'needs data.filing'],
  DATA_FILING_EXPIRED: ['need a filing that has not expired', 'needs a filing that has not expired'],
  DATA_EGRESS_UNHELD: ['cannot keep the job from the network', 'cannot keep the job from the network'],
};

export function createDataRules(options: DataRulesOptions): DataRules {
  const { clock, place = nowhere, corridors = builtInCorridors, audit = noAudit } = options;
  const facts = { corridors };
  /** By node, what it said of data (as JSON). */
  const said = new Map<string, Map<string, DataRefusal>>();

  function refuseKeeping(data: Data): DataRefusal | null {
    const refusal = decideKeeping(data, place, facts, clock.wallMs());
    if (refusal === null) return null;
    const message =
      refusal.code === 'DATA_PLACE_MISSING'
        ? `this scheduler keeps the output and files of jobs, and nobody has said where it stands: ${describeData(data)} may not lie here; its operator sets place.jurisdiction`
        : `this scheduler keeps the output and files of jobs, and they may not lie here: ${refusal.message}`;
    return { code: refusal.code, message };
  }

  return {
    demand({ data }) {
      if (data === null || data === undefined) return null;
      const key = JSON.stringify(data);
      return {
        data,
        refuse: (node) =>
          refuseKeeping(data) ??
          refuseClass(data, node) ??
          said.get(node.id)?.get(key) ??
          decidePlacement(data, node.place ?? nowhere, facts, clock.wallMs()),
      };
    },

    refused(nodeId, { data }, { code, message }) {
      if (data === null || data === undefined) return;
      const ofNode = said.get(nodeId) ?? new Map<string, DataRefusal>();
      const [oldest] = ofNode.keys();
      if (ofNode.size >= SAID_MAX && oldest !== undefined) ofNode.delete(oldest);
      said.set(nodeId, ofNode.set(JSON.stringify(data), { code, message: `it refused: ${message}` }));
    },

    forget(nodeId) {
      said.delete(nodeId);
    },

    requireKept({ data }) {
      if (data === null || data === undefined) return;
      const refusal = refuseKeeping(data);
      if (refusal === null) return;
      audit('policy.refused', {
        by: 'scheduler',
        code: refusal.code,
        class: data.class,
        origin: data.origin,
      });
      throw new Fault(refusal.code, refusal.message, {
        field: 'data',
        remedy: 'submit it to a scheduler that stands where its data may be',
      });
    },

    ruleOf({ spec, nodeId, startedAtMs }, nodePlace) {
      const { data } = spec;
      if (data === null || data === undefined || nodeId === null) return null;
      const judgement = judgePlacement(data, nodePlace, facts, startedAtMs ?? clock.wallMs());
      return judgement.allowed ? judgement.rule : judgement.refusal.message;
    },
  };
}

function refuseClass(data: Data, { dataClasses }: PlacementNode): DataRefusal | null {
  if (dataClasses?.includes(data.class) === true) return null;
  return {
    code: 'DATA_CLASS_NOT_TAKEN',
    message: `takes no ${data.class} data; its operator may add it to policy.classes`,
  };
}

/**
 * `no node may have personal data of CN-GD: 2 nodes need data.filing, 1 node …; node-a: …`: counts where there are
 * several nodes, then the most frequent reason in full.
 */
export function describeDataRefusals(demand: DataDemand, nodes: readonly PlacementNode[]): string {
  const found = new Map<string, { count: number; readonly example: string }>();
  for (const node of nodes) {
    const refusal = demand.refuse(node);
    if (refusal === null) continue;
    const known = found.get(refusal.code);
    if (known === undefined)
      found.set(refusal.code, { count: 1, example: `${node.name}: ${refusal.message}` });
    else known.count += 1;
  }
  const ranked = [...found].sort(([, a], [, b]) => b.count - a.count);
  const counts = ranked.map(([code, { count }]) => {
    const [plural, singular] = clauses[code] ?? [`refuse it with ${code}`, `refuses it with ${code}`];
    return count === 1 ? `1 node ${singular}` : `${count} nodes ${plural}`;
  });
  const tally = nodes.length === 1 ? '' : `${counts.join(', ')}; `;
  return `no node may have ${describeData(demand.data)}: ${tally}${ranked[0]?.[1].example ?? ''}`;
}
