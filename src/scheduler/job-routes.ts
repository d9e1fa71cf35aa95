// Routes of jobs and arrays (protocol/api.ts).
import * as z from 'zod';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { type ArrayView, type JobView, MAX_MEMBERS_ASKED, type OutputsView } from '../protocol/api.ts';
import { memberId, parseIndices } from '../protocol/array.ts';
import { type JobState, jobStates } from '../protocol/result.ts';
import type { Caller } from '../protocol/role.ts';
import { jobSpecSchema } from '../protocol/spec.ts';
import type { Access } from './access/access.ts';
import { hideArray, hideJob, hideMember } from './access/hidden.ts';
import { isOwn, requireOwn } from './access/ownership.ts';
import { arrayView, groupedRows, memberViews } from './array-view.ts';
import type { DataRules } from './data-rules.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { FileRoutes } from './file-routes.ts';
import type { Fleet } from './fleet.ts';
import { follow } from './follow.ts';
import { answerJson, queryInteger, readBody, readBodyText, writeHead } from './http.ts';
import { findArray, findJob, shown } from './job-names.ts';
import { jobView } from './job-view.ts';
import type { OutputStore } from './output.ts';
import type { ProgressBoard } from './progress.ts';
import type { ArrayTally, JobRecord, Queue } from './queue/queue.ts';
import { type Call, drained, type Route } from './route.ts';
import { createShares } from './shares.ts';
import type { SubmissionCheck } from './submission-check.ts';
import type { Watchers } from './watchers.ts';

/** Clients that may follow jobs at the same time. */
export const MAX_FOLLOWERS = 4096;
export const MAX_FOLLOWERS_PER_USER = 2048;
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
  readonly access: Pick<Access, 'hold'>;
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly data: DataRules;
  readonly progress: ProgressBoard;
  readonly files: FileRoutes;
  readonly submissions: SubmissionCheck;
  readonly watchers: Watchers;
  readonly clock: Clock;
  /** Aborted when the scheduler stops; ends the followers. */
  readonly stopped: AbortSignal;
}

export function createJobRoutes(parts: JobRoutesParts): readonly Route[] {
  const { queue, output, dispatcher } = parts;
  const shares = createShares(MAX_FOLLOWERS_PER_USER);

  /** As much of it as the caller may see. */
  async function view(job: JobRecord, caller: Caller, members: string | null = null): Promise<JobView> {
    const whole = await jobView(job, parts, members);
    if (isOwn(caller, job)) return whole;
    return hideJob(whole, job.state === 'PENDING' ? dispatcher.waitingReason(job) : null);
  }

  /** One that the caller may do anything with. */
  function findOwn(name: string, caller: Caller): JobRecord {
    const job = findJob(name, queue);
    requireOwn(caller, job);
    return job;
  }

  /** The record of an array's first job, which says whose it is. */
  function headOf({ id, first }: ArrayTally): JobRecord {
    const job = queue.job(memberId(id, first));
    if (job === null) throw new Fault('API_NOT_FOUND', `there is no array "${shown(id)}"`);
    return job;
  }

  async function submit({ request, response, caller }: Call): Promise<void> {
    const { text, value: spec } = await readBodyText(request, jobSpecSchema);
    const submission = parts.submissions.check(request.headers, text, caller.user);
    await parts.files.requireInputs(spec);
    const job = await dispatcher.submit(spec, { owner: caller.user, submission });
    answerJson(
      response,
      201,
      job.array === null ? await view(job, caller) : viewOfArray(job.array.id, caller),
    );
  }

  async function listJobs({ response, query, caller }: Call): Promise<void> {
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
      const text = between + JSON.stringify(await view(job, caller, members));
      between = ',';
      if (response.destroyed) return;
      if (!response.write(text)) await drained(response);
    }
    response.end(']}');
  }

  async function showJob({ response, name, caller }: Call): Promise<void> {
    answerJson(response, 200, await view(findJob(name, queue), caller));
  }

  async function cancel({ request, response, name, caller }: Call): Promise<void> {
    const { reason } = await readBody(request, cancelSchema);
    const job = await dispatcher.cancel(findOwn(name, caller).id, caller.user, reason);
    // 202: the wish is not on disk yet.
    answerJson(response, queue.failure() === null ? 200 : 202, await view(job, caller));
  }

  function viewOfArray(id: string, caller: Caller): ArrayView {
    const answer = arrayView(id, parts);
    const tally = queue.array(id);
    if (answer === null || tally === null)
      throw new Fault('API_NOT_FOUND', `there is no array "${shown(id)}"`);
    return isOwn(caller, headOf(tally)) ? answer : hideArray(answer);
  }

  function showArray({ response, name, caller }: Call): void {
    answerJson(response, 200, viewOfArray(findArray(name, queue).id, caller));
  }

  async function showMembers({ response, query, name, caller }: Call): Promise<void> {
    const array = findArray(name, queue);
    const isHidden = !isOwn(caller, headOf(array));
    const indices = parseIndices(query.get('indices') ?? '', MAX_MEMBERS_ASKED);
    if (indices === null)
      throw new Fault('API_INVALID', `must be at most ${MAX_MEMBERS_ASKED} indices, as 0-9,12`, {
        field: 'indices',
      });
    const members = await memberViews(array.id, indices, parts);
    answerJson(response, 200, { members: isHidden ? members.map(hideMember) : members });
  }

  async function cancelArray({ request, response, name, caller }: Call): Promise<void> {
    const { reason } = await readBody(request, cancelSchema);
    const array = findArray(name, queue);
    requireOwn(caller, headOf(array));
    const { id } = array;
    await dispatcher.cancelArray(id, caller.user, reason);
    answerJson(response, queue.failure() === null ? 200 : 202, viewOfArray(id, caller));
  }

  async function followJob({ request, response, query, name, caller }: Call): Promise<void> {
    const offsets = {
      stdout: queryInteger(query, 'stdout', 0, Number.MAX_SAFE_INTEGER),
      stderr: queryInteger(query, 'stderr', 0, Number.MAX_SAFE_INTEGER),
    };
    const job = findOwn(name, caller);
    if (parts.watchers.count >= MAX_FOLLOWERS) {
      throw new Fault('API_BUSY', `${MAX_FOLLOWERS} clients follow jobs already`, {
        remedy: 'try again later',
      });
    }
    const giveBack = shares.take(caller);
    if (giveBack === null)
      throw new Fault('API_BUSY', `${caller.user} follows ${MAX_FOLLOWERS_PER_USER} jobs already`, {
        remedy: 'end some of what follows jobs',
      });
    request.socket.setNoDelay(true);
    writeHead(response, 200, 'application/octet-stream');
    const denied = new AbortController();
    const release = parts.access.hold(
      caller,
      (now) => isOwn(now, job),
      () => denied.abort(),
    );
    const ended = AbortSignal.any([parts.stopped, denied.signal]);
    try {
      await follow(response, job, offsets, { ...parts, view: (one) => jobView(one, parts) }, ended);
    } finally {
      release();
      giveBack();
    }
  }

  async function readOutput({ response, query, name, caller }: Call): Promise<void> {
    const stream = namedStream(query.get('stream') ?? 'stdout');
    const offset = queryInteger(query, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const job = findOwn(name, caller);
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

  async function showOutputs({ response, query, name, caller }: Call): Promise<void> {
    const job = findOwn(name, caller);
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
  const attempt = queryInteger(query, 'attempt', job.epoch, Number.MAX_SAFE_INTEGER);
  if ((attempt > 0 || job.epoch === 0) && attempt <= job.epoch) return attempt;
  const message = `there is no attempt ${attempt} of this job; attempts so far: ${job.epoch}`;
  throw new Fault('API_INVALID', message, { field: 'attempt' });
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
