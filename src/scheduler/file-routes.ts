// The HTTP side of the store of files (protocol/file-api.ts): who may have or bring what, and the bytes themselves.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Fault } from '../base/fault.ts';
import type { FileStore } from '../files/store.ts';
import { piecesOf } from '../files/stream.ts';
import { contentsOf, missing, missingOf, takeContents } from '../files/trees.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { ATTEMPT_HEADER, RECEIVED_HEADER } from '../protocol/file-api.ts';
import { isFinalState } from '../protocol/result.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { Admission } from './access/access.ts';
import { requireRole } from './access/ownership.ts';
import type { FileTickets } from './file-tickets.ts';
import { answerJson, queryInteger, writeHead } from './http.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import type { Route } from './route.ts';

/** A connection on which nothing moves for so long is given up. */
const IDLE_MS = 60_000;
const FILE = /^\/v1\/files\/([0-9a-f]{64})$/;
const TREE_FILES = /^\/v1\/trees\/([0-9a-f]{64})\/files$/;
const TREE_MISSING = /^\/v1\/trees\/([0-9a-f]{64})\/missing$/;
const BINARY = 'application/octet-stream';

export interface FileRoutesParts {
  readonly audit?: AuditSink;
  readonly store: FileStore;
  readonly tickets: FileTickets;
  readonly access: Pick<Admission, 'authenticate'>;
  readonly queue: Pick<Queue, 'job'>;
}

export interface FileRoutes {
  /** Each way to have or bring files. */
  readonly routes: readonly Pick<Route, 'method' | 'path' | 'least'>[];
  /** Whether the path is one of these. */
  owns(path: string): boolean;
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    query: URLSearchParams,
  ): Promise<void>;
  /** Throws FILES_INPUT_MISSING with the first input of a job that is not in the store. */
  requireInputs(spec: Pick<JobSpec, 'inputs'>): Promise<void>;
}

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly digest: string;
}

/** Who asks: a user, or a node for one of its attempts. */
type Asker =
  | { readonly kind: 'user' }
  | { readonly kind: 'node'; readonly nodeId: string; readonly job: JobRecord | null };

export function createFileRoutes(parts: FileRoutesParts): FileRoutes {
  const { store, tickets, access, queue } = parts;

  function askerOf(request: IncomingMessage): Asker {
    const given = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    const nodeId = given === undefined ? null : tickets.nodeOf(given);
    if (nodeId !== null) return { kind: 'node', nodeId, job: attemptOf(request, nodeId) };
    requireRole(access.authenticate(request), least);
    return { kind: 'user' };
  }

  /** The job that a node says it works for, if it does. */
  function attemptOf(request: IncomingMessage, nodeId: string): JobRecord | null {
    const [id = '', epoch = ''] = String(request.headers[ATTEMPT_HEADER] ?? '').split('.');
    const job = queue.job(id);
    return job?.nodeId === nodeId && String(job.epoch) === epoch ? job : null;
  }

  function allow(asker: Asker, digest: string, to: 'read' | 'write'): void {
    if (asker.kind === 'user') return;
    const { job } = asker;
    const isOutput = job?.result?.outputs.some((output) => output.digest === digest) ?? false;
    const isInput =
      to === 'read' &&
      job !== null &&
      !isFinalState(job.state) &&
      job.spec.inputs.some((input) => input.digest === digest);
    if (isOutput || isInput) return;
    parts.audit?.('access.denied', { what: `files.${to}`, nodeId: asker.nodeId, digest });
    throw new Fault('FILES_NOT_NAMED', 'no job that this node holds names that file');
  }

  async function send(response: ServerResponse, pieces: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const piece of pieces) {
      if (response.destroyed) return;
      if (!response.write(piece)) await roomIn(response);
    }
    response.end();
  }

  async function sendFile({ request, response, digest }: Call): Promise<void> {
    const isHead = request.method === 'HEAD';
    const sizeBytes = store.sizeOf(digest);
    if (isHead && sizeBytes === null) {
      writeHead(response, 404, BINARY, { [RECEIVED_HEADER]: store.receivedBytes(digest) });
      response.end();
      return;
    }
    const file = await store.open(digest);
    if (file === null || sizeBytes === null) throw missing(digest);
    try {
      const from = rangeStart(request.headers.range, sizeBytes);
      writeHead(response, from === 0 ? 200 : 206, BINARY, {
        'Content-Length': sizeBytes - from,
        'Accept-Ranges': 'bytes',
        ...(from === 0 ? {} : { 'Content-Range': `bytes ${from}-${sizeBytes - 1}/${sizeBytes}` }),
      });
      if (isHead) response.end();
      else await send(response, piecesOf(file, from, sizeBytes));
    } finally {
      await file.close();
    }
  }

  async function takeFile({ request, response, query, digest }: Call): Promise<void> {
    const offset = queryInteger(query, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const sizeBytes = queryInteger(query, 'size', 0, Number.MAX_SAFE_INTEGER);
    await answerPut(request, response, store.put(digest, { offset, sizeBytes }, bodyOf(request)));
  }

  async function sendTree({ response, query, digest }: Call): Promise<void> {
    const from = queryInteger(query, 'from', 0, Number.MAX_SAFE_INTEGER);
    const to = queryInteger(query, 'to', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    const offset = queryInteger(query, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const contents = contentsOf(store, digest, from, to, offset);
    // What is missing is told by a status only when nothing was sent yet; later the answer breaks off.
    const first = await contents.next();
    writeHead(response, 200, BINARY);
    if (first.done === true) response.end();
    else await send(response, chain(first.value, contents));
  }

  async function takeTree({ request, response, query, digest }: Call): Promise<void> {
    const from = queryInteger(query, 'from', 0, Number.MAX_SAFE_INTEGER);
    const offset = queryInteger(query, 'offset', 0, Number.MAX_SAFE_INTEGER);
    await answerPut(request, response, takeContents(store, digest, from, offset, bodyOf(request)));
  }

  /** For users; a node has its ticket. */
  const least = 'submitter';
  const routes: readonly (Pick<Route, 'method' | 'path' | 'least'> & {
    handle(call: Call): Promise<void>;
  })[] = [
    { method: 'GET', path: FILE, least, handle: sendFile },
    { method: 'HEAD', path: FILE, least, handle: sendFile },
    { method: 'PUT', path: FILE, least, handle: takeFile },
    { method: 'GET', path: TREE_FILES, least, handle: sendTree },
    { method: 'PUT', path: TREE_FILES, least, handle: takeTree },
    {
      method: 'GET',
      path: TREE_MISSING,
      least,
      handle: async ({ response, digest }) => answerJson(response, 200, await missingOf(store, digest)),
    },
  ];

  return {
    routes,
    owns: (path) => path.startsWith('/v1/files/') || path.startsWith('/v1/trees/'),

    async handle(request, response, path, query) {
      const asker = askerOf(request);
      const { method } = request;
      const fitting = routes.filter((route) => route.path.test(path));
      const digest = fitting[0]?.path.exec(path)?.[1];
      if (digest === undefined) throw new Fault('API_NOT_FOUND', 'there is nothing at this path');
      allow(asker, digest, method === 'PUT' ? 'write' : 'read');
      const route = fitting.find((one) => one.method === method);
      if (route === undefined) throw new Fault('API_METHOD', 'this method is not allowed here');
      request.setTimeout(IDLE_MS);
      return route.handle({ request, response, query, digest });
    },

    async requireInputs({ inputs }) {
      for (const [place, { digest, kind, path }] of inputs.entries()) {
        const isHere =
          store.use(digest) !== null &&
          (kind === 'file' || (await missingOf(store, digest)).missingFiles === 0);
        if (isHere) continue;
        throw new Fault('FILES_INPUT_MISSING', `the contents of input ${JSON.stringify(path)} are not here`, {
          field: `inputs.${place}.digest`,
          remedy: 'bring them with PUT before the job is submitted; "flopd run --input" does',
        });
      }
    },
  };
}

/** Its pieces; whoever stops reading them can still answer. */
function bodyOf(request: IncomingMessage): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => request.iterator({ destroyOnReturn: false }) };
}

/**
 * Answers while the body may still be on its way: the rest of it is read and dropped, since a connection that is closed
 * with bytes unread takes the answer along. The time of a request bounds it.
 */
async function answerPut(
  request: IncomingMessage,
  response: ServerResponse,
  taking: Promise<object>,
): Promise<void> {
  response.setHeader('Connection', 'keep-alive');
  try {
    answerJson(response, 200, await taking);
  } finally {
    request.resume();
  }
}

/** Waits until the response takes more, or is gone. */
function roomIn(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
    if (response.destroyed) done();
  });
}

async function* chain(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  yield* rest;
}

/** Where `Range: bytes=N-` begins; 0 without one. */
function rangeStart(range: string | undefined, sizeBytes: number): number {
  if (range === undefined) return 0;
  const from = Number(/^bytes=(\d{1,16})-$/.exec(range)?.[1] ?? Number.NaN);
  if (Number.isSafeInteger(from) && from < Math.max(1, sizeBytes)) return from;
  throw new Fault('FILES_RANGE', `must be bytes=N- with N below ${sizeBytes}`, { field: 'Range' });
}
