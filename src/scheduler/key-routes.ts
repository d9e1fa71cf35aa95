// The routes of the keys that orders are signed with.

import { rotateKeyRequestSchema, type SchedulerKeysView } from '../protocol/api.ts';
import type { AuditSink } from '../protocol/audit.ts';
import type { Gateway } from './gateway.ts';
import { answerJson, readBody } from './http.ts';
import type { NodeStandings } from './node-standing.ts';
import type { Call, Route } from './route.ts';
import type { SchedulerKey } from './scheduler-key.ts';

export interface KeyRoutesParts {
  readonly key: SchedulerKey;
  readonly gateway: Pick<Gateway, 'tellKeys'>;
  readonly standings: NodeStandings;
  readonly audit: AuditSink;
}

export function createKeyRoutes({ key, gateway, standings, audit }: KeyRoutesParts): readonly Route[] {
  const view = (): SchedulerKeysView => ({ keys: key.ring.keys() });

  async function rotate({ request, response, caller }: Call): Promise<void> {
    const { overlapMs } = await readBody(request, rotateKeyRequestSchema);
    const { keyId, signsFromMs } = key.ring.rotate(overlapMs);
    audit('key.rotated', { keyId, signsFromMs, revokes: overlapMs === 0, by: caller.user });
    gateway.tellKeys();
    // After the key that they are signed with: a node stands nowhere by what a revoked one has signed.
    standings.renew();
    answerJson(response, 200, view());
  }

  return [
    {
      method: 'GET',
      path: /^\/v1\/keys$/,
      least: 'admin',
      handle: ({ response }) => answerJson(response, 200, view()),
    },
    { method: 'POST', path: /^\/v1\/keys\/rotate$/, least: 'admin', handle: rotate },
  ];
}
