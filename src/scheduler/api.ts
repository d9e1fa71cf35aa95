// The HTTP API of protocol/api.ts: every route, and who may take it. Everything that starts, stops or shows a job needs
// a token; there is no mode without it.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import { enrolRequestSchema, type OverviewView } from '../protocol/api.ts';
import type { Caller } from '../protocol/role.ts';
import type { Access } from './access/access.ts';
import { requireRole } from './access/ownership.ts';
import { createUserRoutes } from './access/user-routes.ts';
import { askerOf, callerProblem, isAskedHere } from './caller.ts';
import { type EnrolParts, enrolNode } from './enrolment.ts';
import { totalsOfNodes } from './fleet-totals.ts';
import { answerJson, answerPage, answerText, pages, readBody } from './http.ts';
import { shown } from './job-names.ts';
import { createJobRoutes, type JobRoutesParts } from './job-routes.ts';
import { createKeyRoutes, type KeyRoutesParts } from './key-routes.ts';
import { createMembershipRoutes, type MembershipRoutesParts } from './membership-routes.ts';
import type { SchedulerMetrics } from './metrics.ts';
import { createNodeRoutes, type NodeRoutesParts } from './node-routes.ts';
import type { OwnNames } from './own-names.ts';
import { type Call, type Least, type Route, stranger } from './route.ts';
import { type AuthorityRoutesParts, createAuthorityRoutes } from './tls/authority-routes.ts';

export interface ApiParts
  extends JobRoutesParts,
    NodeRoutesParts,
    MembershipRoutesParts,
    EnrolParts,
    KeyRoutesParts,
    AuthorityRoutesParts {
  readonly schedulerId: string;
  readonly version: string;
  readonly ownNames: OwnNames;
  readonly metrics: SchedulerMetrics;
  readonly access: Access;
  readonly dashboardFolder: string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
}

/** Taken from anybody, so that many at once must not be much. */
const MAX_ENROL_BYTES = 16 * 1024;

/** Every route but those of files and of commands beside jobs (file-routes.ts, exec.ts). */
export function createRoutes(parts: ApiParts): readonly Route[] {
  const { queue, fleet, metrics } = parts;

  function overview({ response }: Call): void {
    const answer: OverviewView = {
      schedulerId: parts.schedulerId,
      version: parts.version,
      nodes: fleet.overview(),
      jobs: queue.counts(),
      fleet: totalsOfNodes(fleet.views()),
    };
    answerJson(response, 200, answer);
  }

  async function enrol({ request, response }: Call): Promise<void> {
    const asked = await readBody(request, enrolRequestSchema, MAX_ENROL_BYTES);
    answerJson(response, 200, await enrolNode(asked, askerOf(request), parts));
  }

  function ready({ response }: Call): void {
    const failure = queue.failure();
    if (failure !== null) throw failure;
    answerText(response, 200, 'ready\n');
  }

  async function showMetrics({ response }: Call): Promise<void> {
    answerText(response, 200, await metrics.page(), metrics.contentType);
  }

  return [
    ...createJobRoutes(parts),
    ...createNodeRoutes(parts),
    ...createUserRoutes({ ...parts, users: parts.access.users }),
    ...createMembershipRoutes(parts),
    ...createKeyRoutes(parts),
    ...createAuthorityRoutes(parts),
    { method: 'GET', path: /^\/v1\/overview$/, least: 'neighbour', handle: overview },
    { method: 'POST', path: /^\/v1\/enrol$/, least: 'anybody', handle: enrol },
    {
      method: 'GET',
      path: /^\/healthz$/,
      least: 'anybody',
      handle: ({ response }) => answerText(response, 200, 'ok\n'),
    },
    { method: 'GET', path: /^\/readyz$/, least: 'anybody', handle: ready },
    { method: 'GET', path: /^\/metrics$/, least: 'neighbour', handle: showMetrics },
  ];
}

/** Answers one request; rejects with a Fault that the server turns into an ErrorView. */
export function createApi(
  parts: ApiParts,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const routes = createRoutes(parts);

  /** Throws the Fault of whoever may not. */
  function admit(request: IncomingMessage, least: Least): Caller {
    if (least === 'anybody') return stranger;
    if (least === 'neighbour' && isAskedHere(request)) return stranger;
    const caller = parts.access.authenticate(request);
    requireRole(caller, least === 'neighbour' ? 'viewer' : least);
    return caller;
  }

  return async (request, response) => {
    try {
      await answer(request, response);
    } catch (error) {
      parts.access.denied(request, error);
      throw error;
    }
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const problem = callerProblem(request, parts.ownNames);
    if (problem !== null) throw new Fault('API_CALLER', problem);
    const { path, query } = parseTarget(request.url ?? '/');
    if (parts.files.owns(path)) return parts.files.handle(request, response, path, query);
    // As GET, of which Node leaves the body away; a follower would have nothing to read.
    const isHead = request.method === 'HEAD' && !path.endsWith('/follow');
    const method = isHead ? 'GET' : request.method;
    const page = pages[path];
    if (page !== undefined && Object.hasOwn(pages, path)) {
      if (method !== 'GET') throw wrongMethod('GET or HEAD');
      return answerPage(response, parts.dashboardFolder, page.file, page.type);
    }
    const fitting = routes.filter((route) => route.path.test(path));
    const route = fitting.find((one) => one.method === method);
    // Before anything is told about what exists.
    const caller = admit(request, route?.least ?? 'viewer');
    if (fitting.length === 0) throw new Fault('API_NOT_FOUND', `there is nothing at ${shown(path)}`);
    if (route === undefined) throw wrongMethod(fitting.map((one) => one.method).join(' or '));
    const name = decodeName(route.path.exec(path)?.[1] ?? '');
    await route.handle({ request, response, query, name, caller });
  }
}

function parseTarget(target: string): { path: string; query: URLSearchParams } {
  const [path = '/', ...rest] = target.split('?');
  if (!path.startsWith('/')) throw new Fault('API_PATH', 'the request names no path');
  return { path, query: new URLSearchParams(rest.join('?')) };
}

function decodeName(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new Fault('API_PATH', 'the path is not valid', { cause });
  }
}

function wrongMethod(allowed: string): Fault {
  return new Fault('API_METHOD', `only ${allowed} is allowed here`);
}
