// The HTTP client of the scheduler's API (protocol/api.ts). Every failure is one Fault with a stable code:
// SCHEDULER_UNREACHABLE, SCHEDULER_SILENT, SCHEDULER_LOST (mid-answer), SCHEDULER_STRANGE (not a flopd scheduler),
// SCHEDULER_TOKEN_REFUSED, or the code that the scheduler itself gave.
import type { IncomingMessage } from 'node:http';
import { errnoOf, Fault } from '../base/fault.ts';
import { isTrustFault } from '../dial/failure.ts';
import { isLoopback } from '../dial/proxy.ts';
import type {
  ArrayView,
  AuthorityView,
  DrainRequest,
  ErrorView,
  JobView,
  MemberView,
  NodeView,
  OutputsView,
  RemovedNode,
  SchedulerKeysView,
} from '../protocol/api.ts';
import { namesArray } from '../protocol/array.ts';
import type { FleetTotals } from '../protocol/device-totals.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import type { Access } from './endpoint.ts';
import type { Signer } from './submitter-key.ts';
import { usageFault } from './usage.ts';

/** An API answer takes milliseconds; this is for a scheduler that hangs. */
const ANSWER_DEADLINE_MS = 10_000;
/** Ten thousand jobs with long commands; beyond it something else answers. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
const MAX_ERROR_BYTES = 1024 * 1024;

export interface Client {
  readonly url: string;
  submit(spec: JobSpecInput): Promise<JobView | ArrayView>;
  /** `grouped`: jobs of an array that stand alike as one, with `members`. */
  jobs(filter: { state?: string; limit?: number; array?: string; grouped?: boolean }): Promise<{
    jobs: JobView[];
  }>;
  array(id: string): Promise<ArrayView>;
  /** `indices` as in `0-9,12`. */
  members(arrayId: string, indices: string): Promise<{ members: MemberView[] }>;
  cancelArray(id: string, reason: string | null): Promise<ArrayView>;
  /** A job, or an array where the name is one of an array as a whole. */
  find(id: string): Promise<JobView | ArrayView>;
  job(id: string): Promise<JobView>;
  cancel(id: string, reason: string | null): Promise<JobView>;
  nodes(): Promise<{ nodes: NodeView[]; fleet: FleetTotals }>;
  node(id: string): Promise<NodeView>;
  drain(node: string, request: DrainRequest): Promise<NodeView>;
  resume(node: string, device: string | null): Promise<NodeView>;
  removeNode(node: string): Promise<RemovedNode>;
  /** Any other route, for the verbs of admins. */
  call<T>(method: 'GET' | 'POST', target: string, body: object | null): Promise<T>;
  authority(): Promise<AuthorityView>;
  schedulerKeys(): Promise<SchedulerKeysView>;
  rotateKey(overlapMs: number): Promise<SchedulerKeysView>;
  /** `now`: does not wait for the overlap. */
  rotateAuthority(now: boolean): Promise<AuthorityView>;
  /** The stream of follow records from these offsets; end it with `destroy()`. */
  openFollow(id: string, stdoutOffset: number, stderrOffset: number): Promise<IncomingMessage>;
  /** What is stored of an attempt's output, and where what came since a time (wall clock ms) begins; null: the latest. */
  outputs(id: string, attempt: number | null, sinceMs: number | null): Promise<OutputsView>;
  /** The bytes of a stream of an attempt (0: the latest) that are stored, from an offset. */
  openOutput(
    id: string,
    stream: 'stdout' | 'stderr',
    offset: number,
    attempt: number,
  ): Promise<IncomingMessage>;
}

export function createClient(access: Access): Client {
  const path = (id: string): string => {
    // The usual accident is a shell variable that is not set.
    if (id === '')
      throw usageFault('id: it is empty', 'name a job or node as "flopd jobs" and "flopd nodes" show it');
    return encodeURIComponent(id);
  };
  const get = <T>(target: string): Promise<T> => askJson<T>(access, 'GET', target, null);
  return {
    url: access.url,
    submit: (spec) => askJson(access, 'POST', '/v1/jobs', spec, access.signer),
    jobs({ state, limit, array, grouped }) {
      const query = new URLSearchParams();
      if (state !== undefined) query.set('state', state);
      if (limit !== undefined) query.set('limit', String(limit));
      if (array !== undefined) query.set('array', array);
      if (grouped === true) query.set('grouped', 'true');
      return get(`/v1/jobs?${query}`);
    },
    array: async (id) => get(`/v1/arrays/${path(id)}`),
    members: async (id, indices) => get(`/v1/arrays/${path(id)}/members?indices=${indices}`),
    cancelArray: async (id, reason) =>
      askJson(access, 'POST', `/v1/arrays/${path(id)}/cancel`, reason === null ? {} : { reason }),
    find: async (id) => get(`/v1/${namesArray(id) ? 'arrays' : 'jobs'}/${path(id)}`),
    job: async (id) => get(`/v1/jobs/${path(id)}`),
    cancel: async (id, reason) =>
      askJson(access, 'POST', `/v1/jobs/${path(id)}/cancel`, reason === null ? {} : { reason }),
    nodes: () => get('/v1/nodes'),
    node: async (id) => get(`/v1/nodes/${path(id)}`),
    drain: async (node, request) => askJson(access, 'POST', `/v1/nodes/${path(node)}/drain`, request),
    resume: async (node, device) => askJson(access, 'POST', `/v1/nodes/${path(node)}/resume`, { device }),
    removeNode: async (node) => askJson(access, 'POST', `/v1/nodes/${path(node)}/remove`, {}),
    authority: () => get('/v1/authorities/succession'),
    schedulerKeys: () => get('/v1/keys'),
    rotateKey: (overlapMs) => askJson(access, 'POST', '/v1/keys/rotate', { overlapMs }),
    rotateAuthority: (now) => askJson(access, 'POST', '/v1/authorities/rotate', { now }),
    call: (method, target, body) => askJson(access, method, target, body),
    openFollow: (id, stdoutOffset, stderrOffset) =>
      open(access, 'GET', `/v1/jobs/${path(id)}/follow?stdout=${stdoutOffset}&stderr=${stderrOffset}`, null),
    outputs(id, attempt, sinceMs) {
      const query = new URLSearchParams();
      if (attempt !== null) query.set('attempt', String(attempt));
      if (sinceMs !== null) query.set('since', String(sinceMs));
      return get(`/v1/jobs/${path(id)}/outputs?${query}`);
    },
    openOutput: (id, stream, offset, attempt) =>
      open(
        access,
        'GET',
        `/v1/jobs/${path(id)}/output?stream=${stream}&offset=${offset}&attempt=${attempt}`,
        null,
      ),
  };
}

/** True for failures that may pass by themselves while the scheduler restarts. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof Fault)) return false;
  if (
    error.code === 'SCHEDULER_UNREACHABLE' ||
    error.code === 'SCHEDULER_SILENT' ||
    error.code === 'SCHEDULER_LOST'
  )
    return true;
  return statuses.get(error) === 503;
}

/** HTTP status of a fault that the scheduler answered with; null for other failures. */
export function statusOf(error: unknown): number | null {
  return error instanceof Fault ? (statuses.get(error) ?? null) : null;
}

const statuses = new WeakMap<Fault, number>();

/** Asks and reads the answer. `signer` signs the very text that is sent. */
export async function askJson<T>(
  access: Access,
  method: string,
  target: string,
  body: unknown,
  signer: Signer | null = null,
): Promise<T> {
  const response = await open(access, method, target, body, signer);
  const text = await readText(access, response, MAX_ANSWER_BYTES);
  try {
    return JSON.parse(text) as T;
  } catch {
    throw strange(access, 'its answer is not JSON');
  }
}

/** Sends a request; resolves with a response whose status says success. */
async function open(
  access: Access,
  method: string,
  target: string,
  body: unknown,
  signer: Signer | null = null,
  isAgain = false,
): Promise<IncomingMessage> {
  const { request } = access.url.startsWith('https:')
    ? await import('node:https')
    : await import('node:http');
  const text = body === null ? null : JSON.stringify(body);
  const payload = text === null ? null : Buffer.from(text);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request(new URL(target, access.url), {
      method,
      agent: false,
      ...access.dialer.options(access.url),
      headers: {
        authorization: `Bearer ${access.token}`,
        accept: 'application/json',
        ...(text === null ? {} : signer?.headers(text)),
        ...(payload === null ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
      },
    });
    const deadline = setTimeout(() => {
      reject(
        new Fault(
          'SCHEDULER_SILENT',
          `scheduler ${access.url} accepted the connection but did not answer within ${ANSWER_DEADLINE_MS / 1000} s`,
          {
            remedy: 'look at its log, or restart it',
          },
        ),
      );
      outgoing.destroy();
    }, ANSWER_DEADLINE_MS);
    outgoing.on('response', (incoming) => {
      clearTimeout(deadline);
      // A connection that breaks later reaches the reader of the body; it must not end the process.
      incoming.on('error', () => {});
      resolve(incoming);
    });
    outgoing.on('error', (error) => {
      clearTimeout(deadline);
      reject(unreachable(access, error));
    });
    outgoing.end(payload ?? undefined);
  });
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 300) return response;
  const fault = await refusal(access, response, status);
  const theirMs = Date.parse(response.headers.date ?? '');
  // The clock of this host is off: signed by that of the scheduler, which is who the signature is for.
  if (fault.code === 'SUBMISSION_CLOCK' && signer !== null && !isAgain && Number.isFinite(theirMs))
    return open(access, method, target, body, signer.by(theirMs), true);
  throw fault;
}

/** The fault that an answer without success tells. */
export function refusalOf(access: Access, response: IncomingMessage): Promise<Fault> {
  return refusal(access, response, response.statusCode ?? 0);
}

async function refusal(access: Access, response: IncomingMessage, status: number): Promise<Fault> {
  const text = await readText(access, response, MAX_ERROR_BYTES).catch(() => '');
  const view = parseErrorView(text);
  let fault: Fault;
  if (view?.code === 'API_UNAUTHENTICATED' || (view === null && (status === 401 || status === 403))) {
    fault = new Fault(
      'SCHEDULER_TOKEN_REFUSED',
      `scheduler ${access.url} refused the token of ${access.tokenFile} (HTTP ${status})`,
      {
        field: 'tokenFile',
        remedy: `log in with "flopd login ${access.url}", or name the file with this scheduler's token with --token-file PATH or FLOPD_TOKEN_FILE`,
      },
    );
  } else if (view !== null) {
    fault = new Fault(view.code, view.message, {
      ...(view.field === null ? {} : { field: view.field }),
      ...(view.remedy === null ? {} : { remedy: view.remedy }),
    });
  } else if (status === 503) {
    fault = new Fault('SCHEDULER_LOST', `scheduler ${access.url} is not ready (HTTP 503)`, {
      remedy: 'try again in a moment',
    });
  } else {
    fault = strange(access, `HTTP ${status} without a flopd error`);
  }
  statuses.set(fault, status);
  return fault;
}

function parseErrorView(text: string): ErrorView['error'] | null {
  try {
    const { error } = JSON.parse(text) as Partial<ErrorView>;
    if (typeof error?.code !== 'string' || typeof error.message !== 'string') return null;
    return {
      code: error.code,
      message: error.message,
      field: typeof error.field === 'string' ? error.field : null,
      remedy: typeof error.remedy === 'string' ? error.remedy : null,
    };
  } catch {
    return null;
  }
}

async function readText(access: Access, response: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  const deadline = setTimeout(() => response.destroy(new Error('timeout')), ANSWER_DEADLINE_MS);
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) throw strange(access, `its answer is longer than ${limit} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof Fault ? error : lost(access, error);
  } finally {
    clearTimeout(deadline);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The link broke in the middle of an answer. */
export function lost(access: { readonly url: string }, cause: unknown): Fault {
  return new Fault(
    'SCHEDULER_LOST',
    `the connection to scheduler ${access.url} broke (${errnoOf(cause) ?? 'closed'})`,
    {
      remedy: 'look whether the scheduler still runs',
      cause,
    },
  );
}

function strange(access: Access, what: string): Fault {
  return new Fault('SCHEDULER_STRANGE', `${access.url} does not answer like a flopd scheduler: ${what}`, {
    field: 'scheduler',
    remedy: 'check --scheduler and FLOPD_SCHEDULER',
  });
}

const connectProblems: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name could not be resolved',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ECONNRESET: 'connection reset',
};

/** No connection came about. */
export function unreachable(access: Access, error: Error): Fault {
  const errno = errnoOf(error);
  if (errno?.startsWith('HPE_')) return strange(access, 'not HTTP');
  const words = connectProblems[errno ?? ''];
  const known = words === undefined ? access.dialer.explain(access.url, error) : error;
  // What is not trusted stays so until somebody acts: it says so itself, and is never tried again.
  if (isTrustFault(known)) return known;
  const why =
    words !== undefined
      ? `${words} (${errno})`
      : known instanceof Fault || errno === null
        ? known.message
        : errno;
  return new Fault('SCHEDULER_UNREACHABLE', `${access.url} is unreachable: ${why}`, {
    field: 'scheduler',
    remedy:
      known instanceof Fault && known.remedy !== null
        ? known.remedy
        : errno === 'ECONNRESET' && access.url.startsWith('http:')
          ? 'if it speaks TLS, name it by its https:// address'
          : isLoopback(new URL(access.url).hostname)
            ? 'start one with "flopd up", or name another with --scheduler URL'
            : 'check the address, and that the scheduler runs there; or name another with --scheduler URL',
    cause: error,
  });
}

/** Whether it is an array; else it is a job. */
export function isArray(view: JobView | ArrayView): view is ArrayView {
  return 'counts' in view;
}
