// The HTTP API of protocol/api.ts: one function per route. Everything that starts, stops or shows a job needs the
// token; there is no mode without it.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as z from 'zod';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import {
  type ArrayView,
  drainRequestSchema,
  enrolRequestSchema,
  MAX_MEMBERS_ASKED,
  type OutputsView,
  type OverviewView,
  type RemovedNode,
  resumeRequestSchema,
} from '../protocol/api.ts';
import { parseIndices } from '../protocol/array.ts';
import { type JobState, jobStates } from '../protocol/result.ts';
import { jobSpecSchema } from '../protocol/spec.ts';
import { arrayView, groupedRows, memberViews } from './array-view.ts';
import type { Authenticate } from './authentication.ts';
import { callerProblem, isLoopbackAddress } from './caller.ts';
import type { DataRules } from './data-rules.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Drains } from './drain.ts';
import { enrolNode } from './enrolment.ts';
import type { FileRoutes } from './file-routes.ts';
import type { Fleet } from './fleet.ts';
import { totalsOfNodes } from './fleet-totals.ts';
import { follow } from './follow.ts';
import { answerJson, answerPage, answerText, pages, queryInteger, readBody, writeHead } from './http.ts';
import { ambiguous, findArray, findJob, shown } from './job-names.ts';
import { jobView } from './job-view.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { NodeRemovals } from './node-removal.ts';
import type { OutputStore } from './output.ts';
import type { ProgressBoard } from './progress.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import type { RefusalLog } from './refusal-log.ts';
import type { SchedulerKey } from './scheduler-key.ts';
import type { Secret } from './secrets.ts';
import type { Watchers } from './watchers.ts';

/** Clients that may follow jobs at the same time. */
export const MAX_FOLLOWERS = 4096;
const JOBS_LISTED = 100;
const MAX_JOBS_LISTED = 10_000;
const OUTPUT_PIECE_BYTES = 64 * 1024;
/** Furthest stamp that a Date can show. */
const MAX_STAMP_MS = 8.64e15;
const nothing = { stdoutBytes: 0, stderrBytes: 0 };

const cancelSchema = z.strictObject({ reason: z.string().max(1024).default('') });
const nothingSchema = z.strictObject({});
const streamSchema = z.enum(['stdout', 'stderr']);
const stateSchema = z.enum(jobStates);

export interface ApiParts {
  readonly schedulerId: string;
  readonly version: string;
  readonly listenHost: string;
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly data: DataRules;
  readonly progress: ProgressBoard;
  readonly files: FileRoutes;
  readonly drains: Drains;
  readonly removals: NodeRemovals;
  readonly key: SchedulerKey;
  readonly watchers: Watchers;
  readonly metrics: SchedulerMetrics;
  readonly authenticate: Authenticate;
  readonly joinToken: Secret;
  readonly dashboardFolder: string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  /** Aborted when the scheduler stops; ends the followers. */
  readonly stopped: AbortSignal;
}

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  /** The part of the path that the route leaves open. */
  readonly name: string;
}

interface Route {
  readonly method: 'GET' | 'POST';
  /** Whole path; its one group is `name`. */
  readonly path: RegExp;
  readonly open?: true;
  handle(call: Call): Promise<void> | void;
}

/** Answers one request; rejects with a Fault that the server turns into an ErrorView. */
export function createApi(
  parts: ApiParts,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const { queue, fleet, output, dispatcher, metrics, authenticate } = parts;
  const view = (job: JobRecord) => jobView(job, parts);

  const routes: readonly Route[] = [
    { method: 'POST', path: /^\/v1\/jobs$/, handle: submit },
    { method: 'GET', path: /^\/v1\/jobs$/, handle: listJobs },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)$/, handle: showJob },
    { method: 'POST', path: /^\/v1\/jobs\/([^/]+)\/cancel$/, handle: cancel },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)\/follow$/, handle: followJob },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)\/output$/, handle: readOutput },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)\/outputs$/, handle: showOutputs },
    { method: 'GET', path: /^\/v1\/arrays\/([^/]+)$/, handle: showArray },
    { method: 'GET', path: /^\/v1\/arrays\/([^/]+)\/members$/, handle: showMembers },
    { method: 'POST', path: /^\/v1\/arrays\/([^/]+)\/cancel$/, handle: cancelArray },
    {
      method: 'GET',
      path: /^\/v1\/nodes$/,
      handle: listNodes,
    },
    { method: 'GET', path: /^\/v1\/nodes\/([^/]+)$/, handle: showNode },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/drain$/, handle: drain },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/resume$/, handle: resume },
    { method: 'POST', path: /^\/v1\/nodes\/([^/]+)\/remove$/, handle: removeNode },
    { method: 'GET', path: /^\/v1\/overview$/, open: true, handle: overview },
    { method: 'POST', path: /^\/v1\/enrol$/, open: true, handle: enrol },
    {
      method: 'GET',
      path: /^\/healthz$/,
      open: true,
      handle: ({ response }) => answerText(response, 200, 'ok\n'),
    },
    { method: 'GET', path: /^\/readyz$/, open: true, handle: ready },
    { method: 'GET', path: /^\/metrics$/, open: true, handle: showMetrics },
  ];

  async function submit({ request, response }: Call): Promise<void> {
    const spec = await readBody(request, jobSpecSchema);
    await parts.files.requireInputs(spec);
    const job = await dispatcher.submit(spec);
    answerJson(response, 201, job.array === null ? await view(job) : viewOfArray(job.array.id));
  }

  async function listJobs({ response, query }: Call): Promise<void> {
    const asked = query.get('state');
    const state = asked === null ? null : namedState(asked);
    const limit = queryInteger(query, 'limit', JOBS_LISTED, MAX_JOBS_LISTED);
    const filter = state === null ? { limit } : { state, limit };
    const array = query.get('array');
    const rows =
      query.get('grouped') === 'true' && array === null
        ? groupedRows(filter, queue)
        : queue
            .jobs(array === null ? filter : { ...filter, array: findArray(array, queue).id })
            .map((job) => ({ job, members: null }));
    // One by one: specifications may be long, and the list must not be in memory twice.
    writeHead(response, 200, 'application/json; charset=utf-8');
    response.write('{"jobs":[');
    let between = '';
    for (const { job, members } of rows) {
      const text = between + JSON.stringify(await jobView(job, parts, members));
      between = ',';
      if (response.destroyed) return;
      if (!response.write(text)) await drained(response);
    }
    response.end(']}');
  }

  async function showJob({ response, name }: Call): Promise<void> {
    answerJson(response, 200, await view(findJob(name, queue)));
  }

  async function cancel({ request, response, name }: Call): Promise<void> {
    const { reason } = await readBody(request, cancelSchema);
    const job = await dispatcher.cancel(findJob(name, queue).id, 'user', reason);
    // 202: the wish is not on disk yet.
    answerJson(response, queue.failure() === null ? 200 : 202, await view(job));
  }

  function viewOfArray(id: string): ArrayView {
    const answer = arrayView(id, parts);
    if (answer === null) throw new Fault('API_NOT_FOUND', `there is no array "${shown(id)}"`);
    return answer;
  }

  function showArray({ response, name }: Call): void {
    answerJson(response, 200, viewOfArray(findArray(name, queue).id));
  }

  async function showMembers({ response, query, name }: Call): Promise<void> {
    const { id } = findArray(name, queue);
    const indices = parseIndices(query.get('indices') ?? '', MAX_MEMBERS_ASKED);
    if (indices === null)
      throw new Fault('API_INVALID', `must be at most ${MAX_MEMBERS_ASKED} indices, as 0-9,12`, {
        field: 'indices',
      });
    answerJson(response, 200, { members: await memberViews(id, indices, parts) });
  }

  async function cancelArray({ request, response, name }: Call): Promise<void> {
    const { reason } = await readBody(request, cancelSchema);
    const { id } = findArray(name, queue);
    await dispatcher.cancelArray(id, 'user', reason);
    answerJson(response, queue.failure() === null ? 200 : 202, viewOfArray(id));
  }

  async function followJob({ request, response, query, name }: Call): Promise<void> {
    const offsets = {
      stdout: queryInteger(query, 'stdout', 0, Number.MAX_SAFE_INTEGER),
      stderr: queryInteger(query, 'stderr', 0, Number.MAX_SAFE_INTEGER),
    };
    const job = findJob(name, queue);
    if (parts.watchers.count >= MAX_FOLLOWERS) {
      throw new Fault('API_BUSY', `${MAX_FOLLOWERS} clients follow jobs already`, {
        remedy: 'try again later',
      });
    }
    request.socket.setNoDelay(true);
    writeHead(response, 200, 'application/octet-stream');
    await follow(response, job, offsets, { ...parts, view }, parts.stopped);
  }

  async function readOutput({ response, query, name }: Call): Promise<void> {
    const stream = namedStream(query.get('stream') ?? 'stdout');
    const offset = queryInteger(query, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const job = findJob(name, queue);
    const attempt = namedAttempt(query, job);
    const lengths = attempt === 0 ? nothing : await output.lengths(job.id, attempt);
    const end = stream === 'stdout' ? lengths.stdoutBytes : lengths.stderrBytes;
    writeHead(response, 200, 'application/octet-stream', { 'Content-Length': Math.max(0, end - offset) });
    for (let at = offset; at < end && !response.destroyed; ) {
      const bytes = await output.read(job.id, attempt, stream, at, Math.min(OUTPUT_PIECE_BYTES, end - at));
      if (bytes.length === 0) throw new Error(`output of ${job.id} is shorter than it was`);
      at += bytes.length;
      if (!response.write(bytes)) await drained(response);
    }
    response.end();
  }

  async function showOutputs({ response, query, name }: Call): Promise<void> {
    const job = findJob(name, queue);
    const attempt = namedAttempt(query, job);
    const sinceMs = query.has('since') ? queryInteger(query, 'since', 0, MAX_STAMP_MS) : null;
    const lengths = attempt === 0 ? nothing : await output.lengths(job.id, attempt);
    const from =
      attempt === 0 || sinceMs === null ? nothing : await output.offsetsAt(job.id, attempt, sinceMs);
    const answer: OutputsView = {
      attempt,
      ...lengths,
      since: sinceMs === null ? null : { stdout: from.stdoutBytes, stderr: from.stderrBytes },
      removed: attempt === 0 ? null : await output.removal(job.id, attempt),
    };
    answerJson(response, 200, answer);
  }

  function listNodes({ response }: Call): void {
    const nodes = fleet.views();
    answerJson(response, 200, { nodes, fleet: totalsOfNodes(nodes) });
  }

  function findNode(name: string): string {
    const ids = fleet.find(name);
    const [id] = ids;
    if (ids.length > 1) throw ambiguous('node', name, ids);
    if (id !== undefined) return id;
    throw new Fault('API_NOT_FOUND', `there is no node "${shown(name)}"`, {
      remedy: 'see the list of nodes',
    });
  }

  function showNode({ response, name }: Call): void {
    answerJson(response, 200, fleet.view(findNode(name)));
  }

  async function drain({ request, response, name }: Call): Promise<void> {
    const { device, reason, forMs } = await readBody(request, drainRequestSchema);
    const id = findNode(name);
    await parts.drains.drain(id, device, { by: 'user', reason, forMs });
    answerJson(response, 200, fleet.view(id));
  }

  async function resume({ request, response, name }: Call): Promise<void> {
    const { device } = await readBody(request, resumeRequestSchema);
    const id = findNode(name);
    await parts.drains.resume(id, device);
    answerJson(response, 200, fleet.view(id));
  }

  async function removeNode({ request, response, name }: Call): Promise<void> {
    await readBody(request, nothingSchema);
    const id = findNode(name);
    const gone: RemovedNode = { id, name: fleet.name(id), jobs: [...queue.active(id)].map((job) => job.id) };
    await parts.removals.remove(id, 'user');
    answerJson(response, 200, gone);
  }

  function overview({ request, response }: Call): void {
    if (!isLoopbackAddress(request.socket.remoteAddress)) authenticate(request);
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
    const asked = await readBody(request, enrolRequestSchema);
    answerJson(response, 200, await enrolNode(asked, parts));
  }

  function ready({ response }: Call): void {
    const failure = queue.failure();
    if (failure !== null) throw failure;
    answerText(response, 200, 'ready\n');
  }

  async function showMetrics({ response }: Call): Promise<void> {
    answerText(response, 200, await metrics.page(), metrics.contentType);
  }

  return async (request, response) => {
    const problem = callerProblem(request, parts.listenHost);
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
    if (route?.open !== true) authenticate(request);
    if (fitting.length === 0) throw new Fault('API_NOT_FOUND', `there is nothing at ${shown(path)}`);
    if (route === undefined) throw wrongMethod(fitting.map((one) => one.method).join(' or '));
    const name = decodeName(route.path.exec(path)?.[1] ?? '');
    await route.handle({ request, response, query, name });
  };
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

/** The attempt that the query names, or the latest; 0 where there was none yet. */
function namedAttempt(query: URLSearchParams, job: JobRecord): number {
  const attempt = queryInteger(query, 'attempt', job.epoch, job.epoch);
  if (attempt > 0 || job.epoch === 0) return attempt;
  throw new Fault('API_INVALID', 'attempts are counted from 1', { field: 'attempt' });
}

function namedStream(text: string): 'stdout' | 'stderr' {
  const parsed = streamSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new Fault('API_INVALID', 'must be stdout or stderr', { field: 'stream' });
}

function namedState(text: string): JobState {
  const parsed = stateSchema.safeParse(text.toUpperCase());
  if (parsed.success) return parsed.data;
  throw new Fault('API_INVALID', `must be one of ${jobStates.join(', ')}`, { field: 'state' });
}

function wrongMethod(allowed: string): Fault {
  return new Fault('API_METHOD', `only ${allowed} is allowed here`);
}

/** Waits until the response takes more, or is gone. */
async function drained(response: ServerResponse): Promise<void> {
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
