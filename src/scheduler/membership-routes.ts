// Routes of membership (protocol/join-token.ts): join tokens, where nodes stand, and which keys are good no more.
import * as z from 'zod';
import { withPin } from '../base/token-text.ts';
import type { RemovedNode } from '../protocol/api.ts';
import type { AuditSink } from '../protocol/audit.ts';
import {
  joinTokenRequestSchema,
  labelRequestSchema,
  type NewJoinToken,
  placeRequestSchema,
} from '../protocol/join-token.ts';
import type { CloneWatch } from './clone-watch.ts';
import type { Fleet } from './fleet.ts';
import { answerJson, readBody } from './http.ts';
import type { JoinTokens } from './join-tokens.ts';
import type { NodeRemovals } from './node-removal.ts';
import { findNode } from './node-routes.ts';
import type { NodeStandings } from './node-standing.ts';
import type { Queue } from './queue/queue.ts';
import type { Call, Route } from './route.ts';

const nothingSchema = z.strictObject({});

export interface MembershipRoutesParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly joinTokens: JoinTokens;
  readonly removals: NodeRemovals;
  readonly standings: NodeStandings;
  readonly clones: CloneWatch;
  /** Pin of the scheduler's own authority, for tokens that are used from other hosts; null where it has none. */
  readonly authorityPin: () => string | null;
  readonly audit: AuditSink;
  /** Base URL that other hosts reach the scheduler by; null where it listens on its own machine only. */
  readonly joinUrl: () => string | null;
}

export function createMembershipRoutes(parts: MembershipRoutesParts): readonly Route[] {
  const { fleet, queue, joinTokens, audit } = parts;

  async function createToken({ request, response, caller }: Call): Promise<void> {
    const asked = await readBody(request, joinTokenRequestSchema);
    const { text, view } = await joinTokens.create(asked, caller.user);
    const answer: NewJoinToken = {
      ...view,
      token: withPin(text, parts.authorityPin()),
      url: parts.joinUrl(),
    };
    answerJson(response, 201, answer);
  }

  function listTokens({ response }: Call): void {
    answerJson(response, 200, { tokens: joinTokens.list() });
  }

  async function revokeToken({ request, response, name, caller }: Call): Promise<void> {
    await readBody(request, nothingSchema);
    answerJson(response, 200, await joinTokens.revoke(name, caller.user));
  }

  async function revokeNode({ request, response, name, caller }: Call): Promise<void> {
    await readBody(request, nothingSchema);
    const id = findNode(name, fleet);
    const gone: RemovedNode = { id, name: fleet.name(id), jobs: [...queue.active(id)].map((job) => job.id) };
    await parts.removals.revoke(id, caller.user);
    answerJson(response, 200, gone);
  }

  async function moveNode({ request, response, name, caller }: Call): Promise<void> {
    const { place } = await readBody(request, placeRequestSchema);
    const id = findNode(name, fleet);
    await parts.standings.move(id, place, caller.user);
    audit('node.changed', { nodeId: id, by: caller.user, what: 'place', jurisdiction: place.jurisdiction });
    answerJson(response, 200, fleet.view(id));
  }

  async function labelNode({ request, response, name, caller }: Call): Promise<void> {
    const { labels } = await readBody(request, labelRequestSchema);
    const id = findNode(name, fleet);
    await parts.standings.label(id, labels, caller.user);
    audit('node.changed', { nodeId: id, by: caller.user, what: 'labels' });
    answerJson(response, 200, fleet.view(id));
  }

  async function trustNode({ request, response, name, caller }: Call): Promise<void> {
    await readBody(request, nothingSchema);
    const id = findNode(name, fleet);
    await parts.clones.trust(id, caller.user);
    audit('node.changed', { nodeId: id, by: caller.user, what: 'trusted' });
    answerJson(response, 200, fleet.view(id));
  }

  return [
    { method: 'POST', path: /^\/v1\/join-tokens$/, least: 'admin', handle: createToken },
    { method: 'GET', path: /^\/v1\/join-tokens$/, least: 'admin', handle: listTokens },
    { method: 'POST', path: /^\/v1\/join-tokens\/([^/]+)\/revoke$/, least: 'admin', handle: revokeToken },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/revoke$/, least: 'admin', handle: revokeNode },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/place$/, least: 'admin', handle: moveNode },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/label$/, least: 'admin', handle: labelNode },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/trust$/, least: 'admin', handle: trustNode },
  ];
}
