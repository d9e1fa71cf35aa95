// Join tokens as the API sees them: who may enrol how many hosts until when, and where those stand.
//
//   POST /v1/join-tokens            body: JoinTokenRequest     201 NewJoinToken      the secret is shown this once
//   GET  /v1/join-tokens                                       {tokens: JoinTokenView[]}
//   POST /v1/join-tokens/ID/revoke  body: {}                   JoinTokenView
//   POST /v1/nodes/NODE/revoke      body: {}                   RemovedNode
//   POST /v1/nodes/NODE/place       body: PlaceRequest         NodeView
//   POST /v1/nodes/NODE/label       body: LabelRequest         NodeView
//   POST /v1/nodes/NODE/trust       body: {}                   NodeView              of the agents that share its key one is left
//
// All of them are for admins.
import * as z from 'zod';
import { type Labels, labelsSchema, nowhere, type Place, placeSchema } from './place.ts';

export const DEFAULT_TOKEN_LIFE_MS = 3_600_000;
export const MAX_TOKEN_LIFE_MS = 366 * 24 * 3_600_000;
export const MAX_TOKEN_USES = 100_000;

export const joinTokenRequestSchema = z.strictObject({
  uses: z.number().int().min(1).max(MAX_TOKEN_USES).default(1),
  forMs: z.number().int().min(1000).max(MAX_TOKEN_LIFE_MS).default(DEFAULT_TOKEN_LIFE_MS),
  labels: labelsSchema.default({}),
  place: placeSchema.default(nowhere),
  /** Only for a host that takes this name, with a new key: for one that was removed, revoked or installed anew. */
  nodeId: z
    .string()
    .regex(/^node-[0-9a-z]{1,32}$/, 'must be the id of a node')
    .nullable()
    .default(null),
});
export type JoinTokenRequest = z.input<typeof joinTokenRequestSchema>;

export interface JoinTokenView {
  readonly id: string;
  readonly state: 'good' | 'used' | 'expired' | 'revoked';
  readonly uses: number;
  readonly usesLeft: number;
  /** ISO 8601, UTC. */
  readonly expiresAt: string;
  readonly labels: Labels;
  readonly place: Place;
  readonly nodeId: string | null;
  readonly createdBy: string;
  readonly createdAt: string;
  readonly revokedAt: string | null;
}

export interface NewJoinToken extends JoinTokenView {
  /** The whole token with the pin of the scheduler's authority, where it has one. */
  readonly token: string;
  /** Base URL that other hosts reach the scheduler by, as far as it knows; null where it listens on its own machine only. */
  readonly url: string | null;
}

export const placeRequestSchema = z.strictObject({ place: placeSchema });
export type PlaceRequest = z.input<typeof placeRequestSchema>;
/** Null takes a label away. */
export const labelRequestSchema = z.strictObject({
  labels: z.record(z.string().max(32), z.string().max(64).nullable()),
});
export type LabelRequest = z.input<typeof labelRequestSchema>;
