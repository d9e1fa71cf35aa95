// Where a node stands: by the credential that this scheduler signed for it, never by what its host says.
import { nowhere, type Place } from '../protocol/place.ts';
import type { NodeRecord } from './queue/queue.ts';

/** A node whose credential names none stands nowhere. */
export function placeOfNode(record: NodeRecord | null): Place {
  return record?.place ?? nowhere;
}
