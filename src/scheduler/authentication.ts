// Whoever starts, stops, enters or sees a job shows the token; there is no mode without it.
import type { IncomingMessage } from 'node:http';
import { Fault } from '../base/fault.ts';
import type { Caller } from '../protocol/role.ts';
import type { RefusalLog } from './refusal-log.ts';
import type { Secret } from './secrets.ts';

/** Who asks, by the token that the request shows. Throws Fault API_UNAUTHENTICATED without a good one. */
export type Authenticate = (request: IncomingMessage) => Caller;

/** For the token of the scheduler's own state directory. */
export const LOCAL_USER = 'local';

export function createAuthentication(token: Secret, refusals: RefusalLog): Authenticate {
  return (request) => {
    const match = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '');
    if (match?.[1] !== undefined && token.matches(match[1])) return { user: LOCAL_USER, role: 'admin' };
    refusals.refused(
      { address: request.socket.remoteAddress, given: match !== null },
      'request without the token',
    );
    throw new Fault(
      'API_UNAUTHENTICATED',
      match === null ? 'a token is needed' : 'the token is not the one of this scheduler',
      {
        remedy: "give the token of the scheduler's state directory (file scheduler/token)",
      },
    );
  };
}
