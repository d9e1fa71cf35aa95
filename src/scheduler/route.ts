// What a route of the API is. Each names the least role that it takes; there is no route without one.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller, Role } from '../protocol/role.ts';

/**
 * The least role · `anybody`: no token at all · `neighbour`: no token from this machine itself, from elsewhere that of a
 * viewer at least.
 */
export type Least = Role | 'anybody' | 'neighbour';

export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  /** The part of the path that the route leaves open. */
  readonly name: string;
  /** Who asks; `stranger` where the route takes anybody and no token was asked for. */
  readonly caller: Caller;
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'HEAD' | 'PUT';
  /** Whole path; its one group is `name`. */
  readonly path: RegExp;
  readonly least: Least;
  handle(call: Call): Promise<void> | void;
}

/** Owns nothing and may do nothing. */
export const stranger: Caller = { user: '', role: 'viewer', tokenId: null };

/** Waits until the response takes more, or is gone. */
export async function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed) return;
  const ended = new AbortController();
  const gone = () => ended.abort();
  response.once('close', gone);
  try {
    await once(response, 'drain', { signal: ended.signal });
  } catch {
    // Closed: the caller looks at `destroyed`.
  } finally {
    response.off('close', gone);
  }
}
