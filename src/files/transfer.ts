// The client of a scheduler's store of files (protocol/file-api.ts), for the command line and for agents: single
// requests, each of which may break off. Faults: FILES_AWAY where the scheduler cannot be reached or the link broke,
// which may pass by itself; otherwise the code that the scheduler gave.
import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  Agent as PlainAgent,
  request,
} from 'node:http';
import { request as requestTls, Agent as TlsAgent } from 'node:https';
import * as z from 'zod';
import { describeError, Fault } from '../base/fault.ts';
import type { Dialer } from '../dial/dialer.ts';
import {
  type MissingAnswer,
  missingAnswerSchema,
  PUT_MS,
  type PutAnswer,
  putAnswerSchema,
  RECEIVED_HEADER,
  type TreePutAnswer,
  treePutAnswerSchema,
} from '../protocol/file-api.ts';

/** A connection on which nothing moves for so long is given up. */
const IDLE_MS = 30_000;
const ANSWER_BYTES_MAX = 1024 * 1024;
const SOCKETS_MAX = 4;

const errorSchema = z.object({
  error: z.object({ code: z.string().max(64), message: z.string(), remedy: z.string().nullish() }),
});

/** How connections to the store are made: a dialler, or whatever else brings one there. */
export interface FileWay extends Pick<Dialer, 'pool' | 'explain'> {
  options(url: string): Partial<ReturnType<Dialer['options']>>;
}

/** Where the store is, and what lets one in; null headers: not at present. */
export interface TransferAccess {
  readonly url: string;
  /** The way there; without it directly, by Node's own means. */
  readonly dialer?: FileWay;
  headers(): Readonly<Record<string, string>> | null;
}

type Pieces = AsyncIterable<Uint8Array>;

export interface Transfer {
  /** Size of a file that the store has, or how much of it came; in bytes. */
  head(digest: string): Promise<{ readonly sizeBytes: number | null; readonly receivedBytes: number }>;
  getFile(digest: string, offset: number): Promise<Pieces>;
  getTree(digest: string, from: number, to: number, offset: number): Promise<Pieces>;
  missing(digest: string): Promise<MissingAnswer>;
  /** Brings bytes for some seconds; the answer says where to go on. */
  putFile(digest: string, offset: number, sizeBytes: number, pieces: Pieces): Promise<PutAnswer>;
  putTree(digest: string, from: number, offset: number, pieces: Pieces): Promise<TreePutAnswer>;
  close(): void;
}

export function createTransfer(access: TransferAccess, signal: AbortSignal): Transfer {
  const isTls = access.url.startsWith('https:');
  const { dialer } = access;
  const options = { keepAlive: true, maxSockets: SOCKETS_MAX, timeout: IDLE_MS };
  let agent: Agent | null = null;

  function openPool(): Agent {
    if (dialer !== undefined) return dialer.pool(access.url, { maxSockets: SOCKETS_MAX, idleMs: IDLE_MS });
    return isTls ? new TlsAgent(options) : new PlainAgent(options);
  }

  function open(method: string, target: string): ClientRequest {
    const headers = access.headers();
    if (headers === null) throw away('there is no session with it');
    agent ??= openPool();
    const outgoing = (isTls ? requestTls : request)(new URL(target, access.url), {
      ...dialer?.options(access.url),
      method,
      agent,
      signal,
      headers,
    });
    outgoing.setTimeout(IDLE_MS, () => outgoing.destroy(new Error(`nothing moved for ${IDLE_MS / 1000} s`)));
    return outgoing;
  }

  function away(why: string, cause?: unknown): Fault {
    return new Fault('FILES_AWAY', `the scheduler ${access.url} does not answer for files: ${why}`, {
      remedy: 'look whether it runs and can be reached',
      cause,
    });
  }

  function asFault(error: unknown): unknown {
    if (signal.aborted) return signal.reason;
    if (error instanceof Fault && !error.code.startsWith('DIAL_')) return error;
    return away(describeError(dialer?.explain(access.url, error) ?? error), error);
  }

  async function ask(
    method: string,
    target: string,
    pieces: Pieces | null,
    offset = 0,
  ): Promise<IncomingMessage> {
    const outgoing = open(method, target);
    if (offset > 0) outgoing.setHeader('Range', `bytes=${offset}-`);
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve);
      outgoing.once('error', reject);
      outgoing.once('close', () => reject(new Error('the connection was closed')));
    });
    let isOver = false;
    const over = answered.then(
      () => {
        isOver = true;
      },
      () => {
        isOver = true;
      },
    );
    // After the answer an error of the connection reaches the reader of the body.
    outgoing.on('error', () => {});
    try {
      for await (const piece of pieces ?? []) {
        if (isOver) break;
        if (!outgoing.write(piece)) await roomIn(outgoing, over);
      }
    } catch (error) {
      outgoing.destroy();
      throw error;
    }
    outgoing.end();
    try {
      return await answered;
    } catch (error) {
      throw asFault(error);
    }
  }

  async function textOf(response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) throw new Error('its answer is too long');
        chunks.push(chunk);
      }
    } catch (error) {
      throw asFault(error);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  /** Throws for every status but success. */
  async function refuse(response: IncomingMessage): Promise<void> {
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return;
    const text = await textOf(response).catch(() => '');
    const parsed = errorSchema.safeParse(parseJson(text));
    if (status === 503 || !parsed.success)
      throw away(parsed.success ? parsed.data.error.message : `HTTP ${status}`);
    const { code, message, remedy } = parsed.data.error;
    throw new Fault(code, message, remedy == null ? {} : { remedy });
  }

  async function json<T>(method: string, target: string, schema: z.ZodType<T>, pieces: Pieces | null = null) {
    const response = await ask(method, target, pieces);
    await refuse(response);
    const parsed = schema.safeParse(parseJson(await textOf(response)));
    if (parsed.success) return parsed.data;
    throw away('its answer is not one of a flopd scheduler');
  }

  async function body(target: string, offset: number): Promise<Pieces> {
    const response = await ask('GET', target, null, offset);
    await refuse(response);
    return faultsOf(response);
  }

  async function* faultsOf(response: IncomingMessage): AsyncGenerator<Uint8Array> {
    try {
      yield* response as AsyncIterable<Buffer>;
      if (!response.complete) throw new Error('its answer broke off');
    } catch (error) {
      throw asFault(error);
    }
  }

  return {
    async head(digest) {
      const response = await ask('HEAD', `/v1/files/${digest}`, null);
      response.resume();
      const count = (name: string): number => Number(response.headers[name] ?? 0) || 0;
      if (response.statusCode === 404) return { sizeBytes: null, receivedBytes: count(RECEIVED_HEADER) };
      // A HEAD has no body that would say more.
      if (response.statusCode === 403)
        throw new Fault('FILES_NOT_NAMED', 'no job that this node holds names that file');
      if (response.statusCode === 401)
        throw new Fault('API_UNAUTHENTICATED', 'the scheduler refused the key');
      if (response.statusCode !== 200) throw away(`HTTP ${response.statusCode}`);
      const sizeBytes = count('content-length');
      return { sizeBytes, receivedBytes: sizeBytes };
    },
    getFile: (digest, offset) => body(`/v1/files/${digest}`, offset),
    getTree: (digest, from, to, offset) =>
      body(`/v1/trees/${digest}/files?from=${from}&to=${to}&offset=${offset}`, 0),
    missing: (digest) => json('GET', `/v1/trees/${digest}/missing`, missingAnswerSchema),
    putFile: (digest, offset, sizeBytes, pieces) =>
      json(
        'PUT',
        `/v1/files/${digest}?offset=${offset}&size=${sizeBytes}`,
        putAnswerSchema,
        forAWhile(pieces),
      ),
    putTree: (digest, from, offset, pieces) =>
      json(
        'PUT',
        `/v1/trees/${digest}/files?from=${from}&offset=${offset}`,
        treePutAnswerSchema,
        forAWhile(pieces),
      ),
    close: () => agent?.destroy(),
  };
}

/** Waits until the request takes more, or is over. */
function roomIn(outgoing: ClientRequest, over: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done);
      resolve();
    };
    outgoing.on('drain', done);
    void over.then(done);
  });
}

/** Ends a body after PUT_MS: the server bounds the time of a request, whatever the speed of the link. */
async function* forAWhile(pieces: Pieces): AsyncGenerator<Uint8Array> {
  const endMs = performance.now() + PUT_MS;
  for await (const piece of pieces) {
    yield piece;
    if (performance.now() > endMs) return;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
