// Routes of users (protocol/user-api.ts).
import * as z from 'zod';
import type { Clock } from '../../base/clock.ts';
import {
  keyRequestSchema,
  type MeView,
  newTokenSchema,
  newUserSchema,
  roleRequestSchema,
} from '../../protocol/user-api.ts';
import { answerJson, readBody } from '../http.ts';
import type { Call, Route } from '../route.ts';
import { type IssuedToken, type Users, userView } from './users.ts';

const nothingSchema = z.strictObject({});

export interface UserRoutesParts {
  readonly schedulerId: string;
  readonly users: Users;
  /** Pin of the scheduler's private authority; null where it has none. */
  readonly authorityPin: () => string | null;
  /** Where other hosts reach this scheduler; null where they do not. */
  readonly joinUrl: () => string | null;
  readonly clock: Clock;
}

export function createUserRoutes({
  schedulerId,
  users,
  authorityPin,
  joinUrl,
  clock,
}: UserRoutesParts): readonly Route[] {
  const issued = ({ user, text }: IssuedToken) => ({
    user: userView(user, clock.wallMs()),
    token: text,
    pin: authorityPin(),
    url: joinUrl(),
  });

  function list({ response }: Call): void {
    const nowMs = clock.wallMs();
    const all = users.all().map((user) => userView(user, nowMs));
    answerJson(response, 200, { users: all.sort((a, b) => (a.name < b.name ? -1 : 1)) });
  }

  async function create({ request, response, caller }: Call): Promise<void> {
    const asked = await readBody(request, newUserSchema);
    answerJson(response, 201, issued(await users.create(asked, caller.user)));
  }

  async function renew({ request, response, caller, name }: Call): Promise<void> {
    const { lifetimeMs } = await readBody(request, newTokenSchema);
    answerJson(response, 200, issued(await users.renew(name, lifetimeMs, caller.user)));
  }

  async function setRole({ request, response, caller, name }: Call): Promise<void> {
    const { role } = await readBody(request, roleRequestSchema);
    answerJson(response, 200, userView(await users.setRole(name, role, caller.user), clock.wallMs()));
  }

  async function revoke({ request, response, caller, name }: Call): Promise<void> {
    await readBody(request, nothingSchema);
    answerJson(response, 200, userView(await users.revoke(name, caller.user), clock.wallMs()));
  }

  function me({ response, caller }: Pick<Call, 'response' | 'caller'>): void {
    const expiresAtMs = users.get(caller.user)?.token?.expiresAtMs ?? null;
    const view: MeView = {
      schedulerId,
      user: caller.user,
      role: caller.role,
      tokenExpiresAt: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(),
      keys: users.keys(caller.user),
    };
    answerJson(response, 200, view);
  }

  async function addKey(call: Call): Promise<void> {
    await users.addKey(call.caller.user, await readBody(call.request, keyRequestSchema));
    me(call);
  }

  async function removeKey(call: Call): Promise<void> {
    await readBody(call.request, nothingSchema);
    await users.removeKey(call.caller.user, call.name);
    me(call);
  }

  return [
    { method: 'GET', path: /^\/v1\/me$/, least: 'viewer', handle: me },
    { method: 'POST', path: /^\/v1\/me\/keys$/, least: 'submitter', handle: addKey },
    { method: 'POST', path: /^\/v1\/me\/keys\/([^/]+)\/remove$/, least: 'submitter', handle: removeKey },
    { method: 'GET', path: /^\/v1\/users$/, least: 'admin', handle: list },
    { method: 'POST', path: /^\/v1\/users$/, least: 'admin', handle: create },
    { method: 'POST', path: /^\/v1\/users\/([^/]+)\/token$/, least: 'admin', handle: renew },
    { method: 'POST', path: /^\/v1\/users\/([^/]+)\/role$/, least: 'admin', handle: setRole },
    { method: 'POST', path: /^\/v1\/users\/([^/]+)\/revoke$/, least: 'admin', handle: revoke },
  ];
}
