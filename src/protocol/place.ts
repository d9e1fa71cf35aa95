// Where a node stands, in the law and in the network. A node's place comes from the join token that it was enrolled
// with and stands in its signed credential (credential.ts in `control.ts`): what a host says of itself moves it nowhere.
import * as z from 'zod';
import { JURISDICTION, PLACE_WORD } from './jurisdiction.ts';

/**
 * A jurisdiction: ISO 3166-1 alpha-2, or with a subdivision ISO 3166-2 (`CN`, `CN-GD`, `HK`, `MO`, `SG`), upper case.
 * `CN` holds `CN-GD`; Hong Kong and Macao (`HK`, `MO`) are jurisdictions of their own for data.
 */
export const jurisdictionSchema = z
  .string()
  .regex(JURISDICTION, 'must be a jurisdiction such as CN, CN-GD or HK');

const word = z.string().min(1).max(64).regex(PLACE_WORD, 'must be letters, digits, spaces, ".", "_" or "-"');

export const placeSchema = z.strictObject({
  jurisdiction: jurisdictionSchema.nullable().default(null),
  /** Of the eight national hubs, a cluster of it, and the city; in the words of the network's operator. */
  hub: word.nullable().default(null),
  cluster: word.nullable().default(null),
  city: word.nullable().default(null),
});
export type Place = z.output<typeof placeSchema>;

export const nowhere: Place = { jurisdiction: null, hub: null, cluster: null, city: null };

/** Labels of a node, given with its join token: at most 16 pairs of short words. */
export const labelsSchema = z
  .record(z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/), word)
  .refine((labels) => Object.keys(labels).length <= 16, 'must not be more than 16');
export type Labels = z.output<typeof labelsSchema>;
