// The client of the routes of users (protocol/user-api.ts).
import type { KeyRequest, MeView, NewTokenView, NewUser, UserView } from '../protocol/user-api.ts';
import { askJson } from './client.ts';
import type { Access } from './endpoint.ts';

export interface UserClient {
  me(): Promise<MeView>;
  addKey(request: KeyRequest): Promise<MeView>;
  removeKey(id: string): Promise<MeView>;
  list(): Promise<{ readonly users: readonly UserView[] }>;
  create(user: NewUser): Promise<NewTokenView>;
  renew(name: string, lifetimeMs: number | undefined): Promise<NewTokenView>;
  setRole(name: string, role: string): Promise<UserView>;
  revoke(name: string): Promise<UserView>;
}

export function createUserClient(access: Access): UserClient {
  const path = (name: string): string => `/v1/users/${encodeURIComponent(name)}`;
  return {
    me: () => askJson(access, 'GET', '/v1/me', null),
    addKey: (request) => askJson(access, 'POST', '/v1/me/keys', request),
    removeKey: (id) => askJson(access, 'POST', `/v1/me/keys/${encodeURIComponent(id)}/remove`, {}),
    list: () => askJson(access, 'GET', '/v1/users', null),
    create: (user) => askJson(access, 'POST', '/v1/users', user),
    renew: (name, lifetimeMs) =>
      askJson(access, 'POST', `${path(name)}/token`, lifetimeMs === undefined ? {} : { lifetimeMs }),
    setRole: (name, role) => askJson(access, 'POST', `${path(name)}/role`, { role }),
    revoke: (name) => askJson(access, 'POST', `${path(name)}/revoke`, {}),
  };
}
