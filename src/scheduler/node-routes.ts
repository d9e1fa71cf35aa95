// Routes of nodes (protocol/api.ts).
import * as z from 'zod';
import { Fault } from '../base/fault.ts';
import { drainRequestSchema, type RemovedNode, resumeRequestSchema } from '../protocol/api.ts';
import type { Drains } from './drain.ts';
import type { Fleet } from './fleet.ts';
import { totalsOfNodes } from './fleet-totals.ts';
import { answerJson, readBody } from './http.ts';
import { ambiguous, shown } from './job-names.ts';
import type { NodeRemovals } from './node-removal.ts';
import type { Queue } from './queue/queue.ts';
import type { Call, Route } from './route.ts';

const nothingSchema = z.strictObject({});

export interface NodeRoutesParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly drains: Drains;
  readonly removals: NodeRemovals;
}

export function createNodeRoutes(parts: NodeRoutesParts): readonly Route[] {
  const { queue, fleet } = parts;

  function listNodes({ response }: Call): void {
    const nodes = fleet.views();
    answerJson(response, 200, { nodes, fleet: totalsOfNodes(nodes) });
  }

  function showNode({ response, name }: Call): void {
    answerJson(response, 200, fleet.view(findNode(name, fleet)));
  }

  async function drain({ request, response, name, caller }: Call): Promise<void> {
    const { device, reason, forMs } = await readBody(request, drainRequestSchema);
    const id = findNode(name, fleet);
    await parts.drains.drain(id, device, { by: caller.user, reason, forMs });
    answerJson(response, 200, fleet.view(id));
  }

  async function resume({ request, response, name, caller }: Call): Promise<void> {
    const { device } = await readBody(request, resumeRequestSchema);
    const id = findNode(name, fleet);
    await parts.drains.resume(id, device, caller.user);
    answerJson(response, 200, fleet.view(id));
  }

  async function removeNode({ request, response, name, caller }: Call): Promise<void> {
    await readBody(request, nothingSchema);
    const id = findNode(name, fleet);
    const gone: RemovedNode = { id, name: fleet.name(id), jobs: [...queue.active(id)].map((job) => job.id) };
    await parts.removals.remove(id, caller.user);
    answerJson(response, 200, gone);
  }

  return [
    { method: 'GET', path: /^\/v1\/nodes$/, least: 'viewer', handle: listNodes },
    { method: 'GET', path: /^\/v1\/nodes\/([^/]+)$/, least: 'viewer', handle: showNode },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/drain$/, least: 'operator', handle: drain },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/resume$/, least: 'operator', handle: resume },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/remove$/, least: 'operator', handle: removeNode },
  ];
}

/** Id of the node with this id or name, or whose id starts so (base/id.ts). Throws Fault API_NOT_FOUND or API_AMBIGUOUS. */
export function findNode(name: string, fleet: Pick<Fleet, 'find'>): string {
  const ids = fleet.find(name);
  const [id] = ids;
  if (ids.length > 1) throw ambiguous('node', name, ids);
  if (id !== undefined) return id;
  throw new Fault('API_NOT_FOUND', `there is no node "${shown(name)}"`, {
    remedy: 'see the list of nodes; an id may be cut to its first four letters or more, behind its word',
  });
}
