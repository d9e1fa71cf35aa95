// Who may take which route: every route of the API against every role. The table must name each route that there is, so
// that a new one without a line here fails.
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXEC_SUBPROTOCOL } from '../../../src/protocol/exec.ts';
import type { Role } from '../../../src/protocol/role.ts';
import type { NewTokenView } from '../../../src/protocol/user-api.ts';
import { type ApiParts, createRoutes } from '../../../src/scheduler/api.ts';
import { EXEC_PATH } from '../../../src/scheduler/exec.ts';
import { createFileRoutes, type FileRoutesParts } from '../../../src/scheduler/file-routes.ts';
import { type Bed, startBed } from './bed.ts';

type Least = Role | 'anybody' | 'neighbour';
interface Row {
  readonly least: Least;
  /** Submitters may do it with their own jobs alone. */
  readonly own?: true;
  /** Where the example is tried; by default the route with names of nobody in it. */
  readonly at?: string;
  readonly body?: object;
}

const JOB = '/v1/jobs/JOB';
const DIGEST = 'a'.repeat(64);
const table: Readonly<Record<string, Row>> = {
  'POST /v1/jobs': { least: 'submitter', body: { version: 1, command: ['true'] } },
  'GET /v1/jobs': { least: 'viewer' },
  'GET /v1/jobs/NAME': { least: 'viewer', at: JOB },
  'POST /v1/jobs/NAME/cancel': { least: 'submitter', own: true, at: `${JOB}/cancel`, body: {} },
  'GET /v1/jobs/NAME/follow': { least: 'submitter', own: true, at: `${JOB}/follow` },
  'GET /v1/jobs/NAME/output': { least: 'submitter', own: true, at: `${JOB}/output` },
  'GET /v1/jobs/NAME/outputs': { least: 'submitter', own: true, at: `${JOB}/outputs` },
  'GET /v1/jobs/NAME/exec': { least: 'submitter', own: true, at: `${JOB}/exec` },
  'GET /v1/arrays/NAME': { least: 'viewer', at: '/v1/arrays/ARRAY' },
  'GET /v1/arrays/NAME/members': { least: 'viewer', at: '/v1/arrays/ARRAY/members?indices=0' },
  'POST /v1/arrays/NAME/cancel': { least: 'submitter', own: true, at: '/v1/arrays/ARRAY/cancel', body: {} },
  'GET /v1/nodes': { least: 'viewer' },
  'GET /v1/nodes/NAME': { least: 'viewer' },
  'POST /v1/nodes/NAME/drain': { least: 'operator', body: { reason: 'dust' } },
  'POST /v1/nodes/NAME/resume': { least: 'operator', body: {} },
  'POST /v1/nodes/NAME/remove': { least: 'operator', body: {} },
  'GET /v1/join-tokens': { least: 'admin' },
  'POST /v1/join-tokens': { least: 'admin', body: { uses: 0 } },
  'POST /v1/join-tokens/NAME/revoke': { least: 'admin', body: {} },
  'POST /v1/nodes/NAME/revoke': { least: 'admin', body: {} },
  'POST /v1/nodes/NAME/place': { least: 'admin', body: { place: null } },
  'POST /v1/nodes/NAME/label': { least: 'admin', body: { labels: {} } },
  'POST /v1/nodes/NAME/trust': { least: 'admin', body: {} },
  'GET /v1/me': { least: 'viewer' },
  'POST /v1/me/keys': { least: 'submitter', body: {} },
  'POST /v1/me/keys/NAME/remove': { least: 'submitter', body: {} },
  'GET /v1/users': { least: 'admin' },
  'POST /v1/users': { least: 'admin', body: { name: 'x' } },
  'POST /v1/users/NAME/token': { least: 'admin', body: {} },
  'POST /v1/users/NAME/role': { least: 'admin', body: { role: 'viewer' } },
  'POST /v1/users/NAME/revoke': { least: 'admin', body: {} },
  'GET /v1/authorities': { least: 'anybody' },
  'GET /v1/authorities/succession': { least: 'admin' },
  'POST /v1/authorities/rotate': { least: 'admin', body: {} },
  'GET /v1/keys': { least: 'admin' },
  'POST /v1/keys/rotate': { least: 'admin', body: { now: 7 } },
  'GET /v1/overview': { least: 'neighbour' },
  'POST /v1/enrol': { least: 'anybody', body: {} },
  'GET /healthz': { least: 'anybody' },
  'GET /readyz': { least: 'anybody' },
  'GET /metrics': { least: 'neighbour' },
  'GET /v1/files/DIGEST': { least: 'submitter' },
  'HEAD /v1/files/DIGEST': { least: 'submitter' },
  'PUT /v1/files/DIGEST': { least: 'submitter' },
  'GET /v1/trees/DIGEST/files': { least: 'submitter' },
  'PUT /v1/trees/DIGEST/files': { least: 'submitter' },
  'GET /v1/trees/DIGEST/missing': { least: 'submitter' },
};

/** `GET /v1/jobs/NAME` of a route's method and expression. */
function nameOf({ method, path }: { readonly method: string; readonly path: RegExp }): string {
  const words = path.source
    .replaceAll('\\/', '/')
    .replace(/^\^|\$$/g, '')
    .replace('([0-9a-f]{64})', 'DIGEST')
    .replace(/\(\[\^[^\]]+\]\+\)/g, 'NAME');
  return `${method} ${words}`;
}

const callers = ['nobody', 'viewer', 'owner', 'other', 'operator', 'admin', 'local'] as const;
type Asker = (typeof callers)[number];
const rank: Readonly<Record<Asker, number>> = {
  nobody: -1,
  viewer: 0,
  owner: 1,
  other: 1,
  operator: 2,
  admin: 3,
  local: 3,
};
const needed: Readonly<Record<Least, number>> = {
  anybody: -1,
  neighbour: -1,
  viewer: 0,
  submitter: 1,
  operator: 2,
  admin: 3,
};

/** Null where it is let in. */
function expected({ least, own }: Row, asker: Asker): string | null {
  if (rank[asker] >= needed[least]) return own === true && asker === 'other' ? 'API_NOT_OWNER' : null;
  return asker === 'nobody' ? 'API_UNAUTHENTICATED' : 'API_ROLE';
}

/** One request; of a stream that begins only its status. */
function ask(
  method: string,
  at: string,
  token: string | undefined,
  body: object | undefined,
): Promise<{ readonly status: number; readonly text: string }> {
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-protocol': EXEC_SUBPROTOCOL };
  return new Promise((resolve, reject) => {
    const asked = request(`${bed.url}${at}`, {
      method,
      agent: false,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(at.endsWith('/exec') ? upgrade : {}),
      },
    });
    asked.on('error', reject);
    asked.on('response', (response) => {
      const status = response.statusCode ?? 0;
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('close', () => resolve({ status, text }));
      if (at.endsWith('/follow') && status === 200) asked.destroy();
    });
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

let bed: Bed;
const tokens = new Map<Asker, string>();
let job = '';
let array = '';
beforeAll(async () => {
  bed = await startBed();
  tokens.set('local', bed.token);
  for (const [asker, role] of [
    ['viewer', 'viewer'],
    ['owner', 'submitter'],
    ['other', 'submitter'],
    ['operator', 'operator'],
    ['admin', 'admin'],
  ] as const) {
    const { status, body } = await bed.call('POST', '/v1/users', { name: asker, role });
    expect(status).toBe(201);
    tokens.set(asker, (body as NewTokenView).token);
  }
  const submit = async (spec: object): Promise<string> => {
    const made = await bed.call(
      'POST',
      '/v1/jobs',
      { version: 1, command: ['sh', '-c', 'secret-words'], environment: { KEY: 'secret-words' }, ...spec },
      tokens.get('owner'),
    );
    return (made.body as { id: string }).id;
  };
  job = await submit({});
  array = await submit({ array: { first: 0, last: 1 } });
});
afterAll(() => bed.close());

describe('the routes', () => {
  it('are all in the table, and the table names no other', () => {
    const nothing = {} as ApiParts & FileRoutesParts;
    const routes = createRoutes({ ...nothing, access: {} } as unknown as ApiParts);
    const files = createFileRoutes(nothing).routes;
    const names = [...routes, ...files, { method: 'GET', path: EXEC_PATH }].map(nameOf);
    expect([...names].sort()).toEqual(Object.keys(table).sort());
    for (const route of [...routes, ...files]) expect(table[nameOf(route)]?.least).toBe(route.least);
  });

  it.each(Object.entries(table))('%s takes those that it should', async (name, row) => {
    const [method = '', path = ''] = name.split(' ');
    const at = (row.at ?? path)
      .replace('JOB', job)
      .replace('ARRAY', array)
      .replace('DIGEST', DIGEST)
      .replace('NAME', 'unknown');
    // Those who are refused first: what the others do may end what it is tried on.
    for (const asker of [...callers].sort((a, b) => rank[a] - rank[b])) {
      const token = tokens.get(asker);
      const { status, text } = await ask(method, at, token, row.body);
      const wanted = expected(row, asker);
      const code = /"code":"([A-Z_]+)"/.exec(text)?.[1] ?? null;
      const refused = status === 401 || status === 403;
      const found = !refused ? null : method === 'HEAD' ? wanted : code;
      expect([asker, found]).toEqual([asker, wanted]);
      if (wanted !== null) expect(status).toBe(asker === 'nobody' ? 401 : 403);
      if (wanted !== null || asker === 'viewer' || asker === 'other')
        expect(text).not.toContain('secret-words');
    }
  });

  it('show others that a job is there, and to whom it belongs, and nothing of what it computes', async () => {
    for (const asker of ['viewer', 'other'] as const) {
      const { body } = await bed.call('GET', `/v1/jobs/${job}`, undefined, tokens.get(asker));
      expect(body).toMatchObject({
        id: job,
        owner: 'owner',
        hidden: true,
        spec: { command: [], environment: { KEY: '' }, inputs: [], outputs: [] },
      });
      const listed = await bed.call('GET', '/v1/jobs', undefined, tokens.get(asker));
      expect(JSON.stringify(listed.body)).not.toContain('secret-words');
    }
    for (const asker of ['owner', 'operator', 'admin', 'local'] as const) {
      const { body } = await bed.call('GET', `/v1/jobs/${job}`, undefined, tokens.get(asker));
      expect(body).toMatchObject({ hidden: false, spec: { environment: { KEY: 'secret-words' } } });
    }
  });
});
