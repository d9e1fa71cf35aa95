// The routes of the private authority: what it is, for anybody, since it is shown in every handshake; how its succession
// stands and goes on, for admins.
import { Fault } from '../../base/fault.ts';
import {
  type AuthoritiesView,
  type AuthorityView,
  rotateAuthorityRequestSchema,
} from '../../protocol/api.ts';
import { answerJson, readBody } from '../http.ts';
import type { Call, Route } from '../route.ts';
import type { Tls } from './tls.ts';

export interface AuthorityRoutesParts {
  readonly tls: Pick<Tls, 'authorities' | 'authority' | 'rotate'> | null;
}

export function createAuthorityRoutes({ tls }: AuthorityRoutesParts): readonly Route[] {
  function succession(): AuthorityView {
    if (tls === null)
      throw new Fault('TLS_OFF', 'this scheduler speaks no TLS', {
        remedy: 'start it with --tls on, or beyond loopback',
      });
    if (tls.authority === null)
      throw new Fault(
        'TLS_FILES',
        'this scheduler has no authority of its own: its certificate is from files',
      );
    return tls.authority.succession();
  }

  async function rotate({ request, response, caller }: Call): Promise<void> {
    const { now } = await readBody(request, rotateAuthorityRequestSchema);
    succession();
    await tls?.rotate(now, caller.user);
    answerJson(response, 200, succession());
  }

  return [
    {
      method: 'GET',
      path: /^\/v1\/authorities$/,
      least: 'anybody',
      handle: ({ response }) =>
        answerJson(response, 200, { authorities: tls?.authorities() ?? [] } satisfies AuthoritiesView),
    },
    {
      method: 'GET',
      path: /^\/v1\/authorities\/succession$/,
      least: 'admin',
      handle: ({ response }) => answerJson(response, 200, succession()),
    },
    { method: 'POST', path: /^\/v1\/authorities\/rotate$/, least: 'admin', handle: rotate },
  ];
}
