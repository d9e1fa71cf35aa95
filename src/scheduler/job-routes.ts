// Routes of jobs and arrays (protocol/api.ts).
import * as z from 'zod';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { type ArrayView, MAX_MEMBERS_ASKED, type OutputsView } from '../protocol/api.ts';
import { parseIndices } from '../protocol/array.ts';
import { type JobState, jobStates } from '../protocol/result.ts';
import { jobSpecSchema } from '../protocol/spec.ts';
import { arrayView, groupedRows, memberViews } from './array-view.ts';
import type { DataRules } from './data-rules.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { FileRoutes } from './file-routes.ts';
import type { Fleet } from './fleet.ts';
import { follow } from './follow.ts';
import { answerJson, queryInteger, readBody, writeHead } from './http.ts';
import { findArray, findJob, shown } from './job-names.ts';
import { jobView } from './job-view.ts';
import type { OutputStore } from './output.ts';
import type { ProgressBoard } from './progress.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import { type Call, drained, type Route } from './route.ts';
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
const streamSchema = z.enum(['stdout', 'stderr']);
const stateSchema = z.enum(jobStates);

export interface JobRoutesParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly data: DataRules;
  readonly progress: ProgressBoard;
  readonly files: FileRoutes;
  readonly watchers: Watchers;
  readonly clock: Clock;
  /** Aborted when the scheduler stops; ends the followers. */
  readonly stopped: AbortSignal;
}

export function createJobRoutes(parts: JobRoutesParts): readonly Route[] {
  const { queue, output, dispatcher } = parts;
  const view = (job: JobRecord) => jobView(job, parts);

  async function submit({ request, response, caller }: Call): Promise<void> {
    const spec = await readBody(request, jobSpecSchema);
    await parts.files.requireInputs(spec);
    const job = await dispatcher.submit(spec, { owner: caller.user });
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

  async function cancel({ request, response, name, caller }: Call): Promise<void> {
    const { reason } = await readBody(request, cancelSchema);
    const job = await dispatcher.cancel(findJob(name, queue).id, caller.user, reason);
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

  async function cancelArray({ request, response, name, caller }: Call): Promise<void> {
    const { reason } = await readBody(request, cancelSchema);
    const { id } = findArray(name, queue);
    await dispatcher.cancelArray(id, caller.user, reason);
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

  return [
    { method: 'POST', path: /^\/v1\/jobs$/, least: 'submitter', handle: submit },
    { method: 'GET', path: /^\/v1\/jobs$/, least: 'viewer', handle: listJobs },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)$/, least: 'viewer', handle: showJob },
    { method: 'POST', path: /^\/v1\/jobs\/([^/]+)\/cancel$/, least: 'submitter', handle: cancel },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)\/follow$/, least: 'submitter', handle: followJob },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)\/output$/, least: 'submitter', handle: readOutput },
    { method: 'GET', path: /^\/v1\/jobs\/([^/]+)\/outputs$/, least: 'submitter', handle: showOutputs },
    { method: 'GET', path: /^\/v1\/arrays\/([^/]+)$/, least: 'viewer', handle: showArray },
    { method: 'GET', path: /^\/v1\/arrays\/([^/]+)\/members$/, least: 'viewer', handle: showMembers },
    { method: 'POST', path: /^\/v1\/arrays\/([^/]+)\/cancel$/, least: 'submitter', handle: cancelArray },
  ];
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
