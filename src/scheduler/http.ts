// HTTP without a framework: limits, errors as ErrorView, bodies, files. Knows no jobs.
import { readFile } from 'node:fs/promises';
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { ZodType } from 'zod';
import type { Clock } from '../base/clock.ts';
import { describeError, errnoOf, Fault, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import type { ErrorView } from '../protocol/api.ts';
import { ATTEMPT_RETRY_SECONDS } from './access/attempts.ts';
import { keepDoor } from './front-door.ts';
import { parseJson } from './json.ts';
import type { Tls } from './tls/tls.ts';

export const MAX_BODY_BYTES = 1024 * 1024;
/** Bodies that are on their way at the same time, all together: who is slow with many holds memory for as long. */
export const MAX_BODIES_BYTES = 256 * 1024 * 1024;
const MAX_HEADERS = 100;
/** A connection that does not say what it wants, or does not finish its handshake, is closed. */
const HEADERS_TIMEOUT_MS = 5000;
const HANDSHAKE_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_TIMEOUT_MS = 5000;

/** Status by fault code; DATA_* is forbidden, anything else is a failure of ours. */
const statusOf: Readonly<Record<string, number>> = {
  API_JSON: 400,
  API_INVALID: 400,
  API_PATH: 400,
  JOB_DEPENDENCY_UNKNOWN: 400,
  API_UNAUTHENTICATED: 401,
  API_TOKEN_EXPIRED: 401,
  API_TOKEN_LOCAL: 403,
  API_TOO_MANY_ATTEMPTS: 429,
  USER_EXISTS: 409,
  USER_UNKNOWN: 404,
  USER_RESERVED: 409,
  USER_TOO_MANY: 503,
  USER_KEY_INVALID: 400,
  USER_KEY_UNKNOWN: 404,
  USER_KEY_TOO_MANY: 409,
  ENROL_TOKEN_WRONG: 401,
  ENROL_TOKEN_LOCAL: 403,
  ENROL_TOKEN_REVOKED: 403,
  ENROL_TOKEN_EXPIRED: 403,
  ENROL_TOKEN_EARLY: 403,
  ENROL_TOKEN_USED: 403,
  ENROL_TOKEN_NODE: 403,
  ENROL_KEY_REVOKED: 403,
  ENROL_TOO_OFTEN: 429,
  TOKENS_TOO_MANY: 409,
  REVOCATIONS_UNWRITTEN: 503,
  ACCOUNTS_UNWRITTEN: 503,
  FLEET_NODE_UNKNOWN: 404,
  API_CALLER: 403,
  API_ROLE: 403,
  API_NOT_OWNER: 403,
  API_NOT_FOUND: 404,
  QUEUE_JOB_UNKNOWN: 404,
  API_METHOD: 405,
  API_AMBIGUOUS: 409,
  FLEET_NODE_CONNECTED: 409,
  API_BODY_TOO_LONG: 413,
  JOB_ORDER_TOO_LONG: 413,
  SUBMISSION_HEADERS: 400,
  SUBMISSION_SIGNATURE: 403,
  SUBMISSION_KEY_UNKNOWN: 403,
  SUBMISSION_CLOCK: 403,
  SUBMISSION_REPEATED: 409,
  SCHEDULER_ROTATION_PENDING: 409,
  API_HEADERS: 431,
  TLS_ROTATING: 409,
  TLS_FILES: 409,
  TLS_OFF: 409,
  ENROL_KEY_INVALID: 400,
  ENROL_NAME_INVALID: 400,
  ENROL_TOO_MANY: 503,
  QUEUE_FULL: 503,
  QUEUE_STORE_FAILED: 503,
  QUEUE_STORE_FULL: 503,
  QUEUE_CLOSED: 503,
  API_BUSY: 503,
  FILES_INPUT_MISSING: 409,
  FILES_MISSING: 404,
  FILES_NOT_NAMED: 403,
  FILES_RANGE: 416,
  FILES_OFFSET: 409,
  FILES_BUSY: 409,
  FILES_TOO_LONG: 422,
  FILES_DIGEST: 422,
  FILES_LIST_INVALID: 422,
  FILES_TOO_LARGE: 413,
  FILES_FULL: 507,
  FILES_DISK_FULL: 507,
  EXEC_JOB_NOT_RUNNING: 409,
  EXEC_NODE_UNREACHABLE: 503,
};

const statusOfCode = (code: string): number => statusOf[code] ?? (code.startsWith('DATA_') ? 403 : 500);

const safetyHeaders = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
} as const;

export interface HttpParts {
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  answered(status: number): void;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  /** Null: without TLS. */
  readonly tls: Pick<Tls, 'secureContext' | 'serve'> | null;
}

/** A server that no input and no vanished client can bring down. */
export function createHttpServer(parts: HttpParts): Server {
  const { handle, upgrade, answered, clock, log, refusals } = parts;
  const server = createServer(parts.tls);
  keepDoor(server, refusals);
  // One more than allowed, so that too many can be told from just enough.
  server.maxHeadersCount = MAX_HEADERS + 1;
  server.on('request', (request, response) => {
    request.on('error', () => {});
    response.on('error', () => {});
    response.on('finish', () => answered(response.statusCode));
    const handled = tooManyHeaders(request) ? Promise.reject(headersFault()) : handle(request, response);
    handled.catch((error: unknown) => {
      if (isFault(error) && STRANGERS.has(error.code))
        refusals.refused({ address: request.socket.remoteAddress, code: error.code }, 'request refused');
      // Node's own is up to a second old: too old for whoever signs by it when this clock has jumped.
      if (!response.headersSent) response.setHeader('Date', new Date(clock.wallMs()).toUTCString());
      answerError(response, error, log);
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (!tooManyHeaders(request)) {
      upgrade(request, socket, head);
      return;
    }
    socket.on('error', () => socket.destroy());
    refusals.refused({ address: request.socket.remoteAddress, code: 'API_HEADERS' }, 'request refused');
    answerUpgrade(socket, headersFault());
  });
  return server;
}

/** What no client of ours ever meets: worth a line. */
const STRANGERS = new Set(['API_CALLER', 'API_HEADERS']);

function createServer(tls: HttpParts['tls']): Server {
  const limits = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: 1000,
  };
  if (tls === null) return createPlainServer(limits);
  const server = createTlsServer({
    ...limits,
    ...tls.secureContext(),
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    ALPNProtocols: ['http/1.1'],
  });
  tls.serve(server);
  return server;
}

function tooManyHeaders(request: IncomingMessage): boolean {
  return request.rawHeaders.length / 2 > MAX_HEADERS;
}

function headersFault(): Fault {
  return new Fault('API_HEADERS', `more than ${MAX_HEADERS} headers`);
}

export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  endWith(response, status, 'application/json; charset=utf-8', JSON.stringify(value));
}

export function answerText(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain',
): void {
  endWith(response, status, type.includes('charset') ? type : `${type}; charset=utf-8`, text);
}

/** As text, which goes out with the head in one piece. */
function endWith(response: ServerResponse, status: number, contentType: string, text: string): void {
  writeHead(response, status, contentType, { 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

export function writeHead(
  response: ServerResponse,
  status: number,
  contentType: string,
  headers: Readonly<Record<string, string | number>> = {},
): void {
  response.writeHead(status, { ...safetyHeaders, 'Content-Type': contentType, ...headers });
}

/** A fault as ErrorView. What is not a fault is a failure of ours: logged, and told without detail. */
function answerError(response: ServerResponse, error: unknown, log: Log): void {
  const facts = { cause: describeError(error) };
  if (isClientGone(error)) {
    log.debug(facts, 'a client left before its answer was complete');
    response.destroy();
    return;
  }
  if (response.headersSent || response.destroyed) {
    if (!isFault(error)) log.error(facts, 'a response failed half way');
    response.destroy();
    return;
  }
  const status = isFault(error) ? statusOfCode(error.code) : 500;
  if (status === 500) log.error(facts, 'a request failed');
  const view: ErrorView = {
    error: isFault(error)
      ? { code: error.code, message: error.message, field: error.field, remedy: error.remedy }
      : {
          code: 'API_INTERNAL',
          message: 'internal error; the log of the scheduler says more',
          field: null,
          remedy: null,
        },
  };
  if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
  if (status === 503) response.setHeader('Retry-After', '5');
  if (status === 429) response.setHeader('Retry-After', String(ATTEMPT_RETRY_SECONDS));
  // What may be left of the request's body is not worth reading, unless whoever answers said so.
  if (!response.hasHeader('Connection')) response.setHeader('Connection', 'close');
  answerJson(response, status, view);
}

/** Answers an upgrade that is not taken with an ErrorView, and ends the connection. */
export function answerUpgrade(socket: Duplex, fault: Fault): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const { code, message, field, remedy } = fault;
  const body = JSON.stringify({ error: { code, message, field, remedy } } satisfies ErrorView);
  const status = statusOf[code] ?? 400;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.once('finish', () => socket.destroy());
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/** The request or the response was cut off from the other side: no failure of ours. */
function isClientGone(error: unknown): boolean {
  return ['ECONNRESET', 'EPIPE', 'ERR_STREAM_DESTROYED'].includes(errnoOf(error) ?? '');
}

/** The body as a checked value. An empty body counts as `{}`. */
export async function readBody<T>(
  request: IncomingMessage,
  schema: ZodType<T>,
  maxBytes = MAX_BODY_BYTES,
): Promise<T> {
  const bytes = await readBytes(request, maxBytes);
  return check(bytes.length === 0 ? {} : parseJson(bytes, 'API'), schema);
}

/** The same with the text that it was read from. */
export async function readBodyText<T>(
  request: IncomingMessage,
  schema: ZodType<T>,
): Promise<{ readonly text: string; readonly value: T }> {
  const bytes = await readBytes(request);
  const value = check(bytes.length === 0 ? {} : parseJson(bytes, 'API'), schema);
  return { text: bytes.toString('utf8'), value };
}

async function readBytes(request: IncomingMessage, maxBytes = MAX_BODY_BYTES): Promise<Buffer> {
  const tooLong = new Fault('API_BODY_TOO_LONG', `the body is longer than ${maxBytes} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLong;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      length += chunk.length;
      bodiesBytes += chunk.length;
      if (length > maxBytes) throw tooLong;
      if (bodiesBytes > MAX_BODIES_BYTES)
        throw new Fault('API_BUSY', 'too many long requests come in at the same time', {
          remedy: 'try again later',
        });
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } finally {
    bodiesBytes -= length;
  }
}

/** Of this process: it has one memory. */
let bodiesBytes = 0;

/** The value as the schema says; throws Fault API_INVALID with the path of the first wrong field. */
export function check<T>(value: unknown, schema: ZodType<T>): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = [...(issue?.path ?? [])];
  if (issue?.code === 'unrecognized_keys') {
    const [key] = issue.keys;
    if (key !== undefined) path.push(key);
    throw invalid('unknown field', path, 'remove it: a field that nobody honours is refused');
  }
  throw invalid(issue?.message ?? 'does not fit', path);
}

function invalid(message: string, path: readonly PropertyKey[], remedy?: string): Fault {
  const field = path.map(String).join('.').slice(0, 256);
  return new Fault('API_INVALID', message, {
    ...(field === '' ? {} : { field }),
    ...(remedy === undefined ? {} : { remedy }),
  });
}

/** An integer of the query in [0, maximum], or `absent` where it is not given. */
export function queryInteger(query: URLSearchParams, name: string, absent: number, maximum: number): number {
  const text = query.get(name);
  if (text === null) return absent;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value <= maximum) return value;
  throw new Fault('API_INVALID', `must be a whole number from 0 to ${maximum}`, { field: name });
}

/** Static files by exact path; no path of a request ever reaches the file system. */
export const pages: Readonly<Record<string, { readonly file: string; readonly type: string }>> = {
  '/': { file: 'index.html', type: 'text/html; charset=utf-8' },
  ...Object.fromEntries(
    ['page.js', 'devices.js', 'element.js', 'figure.js', 'language.js', 'output.js', 'session.js'].map(
      (file) => [`/${file}`, { file, type: 'text/javascript; charset=utf-8' }],
    ),
  ),
  '/style.css': { file: 'style.css', type: 'text/css; charset=utf-8' },
};

export async function answerPage(
  response: ServerResponse,
  folder: string | null,
  file: string,
  type: string,
): Promise<void> {
  if (folder === null) throw new Fault('API_NOT_FOUND', 'this scheduler serves no dashboard');
  const body = await readFile(join(folder, file));
  // Node sends no body in answer to HEAD.
  writeHead(response, 200, type, { 'Content-Length': body.length });
  response.end(body);
}
