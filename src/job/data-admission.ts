// May this node compute on the data that a job states? The last look, with the place of the node's own signed
// credential and with what its own operator says: whatever the scheduler insists on, a node that may not, does not.
// Pure, but for the wall clock that is handed in; asked at admission and again whenever a program is about to start.
import type { Corridor } from '../protocol/corridor.ts';
import { decidePlacement, describeData } from '../protocol/data-policy.ts';
import type { DataClass } from '../protocol/jurisdiction.ts';
import type { Place } from '../protocol/place.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { Refusal } from './admission.ts';

/** What a node goes by. */
export interface NodeDataRules {
  /** From its signed credential; a credential that names none stands nowhere. */
  readonly place: Place;
  /** Classes that its operator lets in (`policy.classes`). */
  readonly classes: readonly DataClass[];
  readonly corridors: readonly Corridor[];
}

/** Null lets the job in, as far as its data goes. Without rules no data is let in. */
export function refuseData(spec: JobSpec, rules: NodeDataRules | null, nowMs: number): Refusal | null {
  const { data } = spec;
  if (data === null || data === undefined) return null;
  if (rules === null)
    return {
      code: 'DATA_PLACE_MISSING',
      message: `nobody has told this node where it stands, so it takes no ${describeData(data)}`,
    };
  if (!rules.classes.includes(data.class))
    return {
      code: 'DATA_CLASS_NOT_TAKEN',
      message: `this node takes no ${data.class} data (policy.classes: ${rules.classes.join(', ') || 'none'}); its operator may add it`,
    };
  return decidePlacement(data, rules.place, rules, nowMs);
}

/**
 * Whether `data.egress: none` is kept on this node: `walls` is what those say of the order, and there are none where it
 * is undefined.
 */
export function refuseEgress({ data, network }: JobSpec, walls: Refusal | null | undefined): Refusal | null {
  if (data?.egress !== 'none') return null;
  if (network !== 'none')
    return {
      code: 'DATA_EGRESS_OPEN',
      message: 'data.egress is none and network is not: set network to none as well',
    };
  const missing = walls === undefined ? 'it has no walls for jobs' : walls?.message;
  if (missing === undefined) return null;
  return {
    code: 'DATA_EGRESS_UNHELD',
    message: `data.egress is none, and this node does not hold it: ${missing}`,
  };
}
