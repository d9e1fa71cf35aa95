// Files of jobs that a runner without a network fetches and brings: its requests come over connections that this agent
// made to it, and go on to the scheduler with this session's ticket. Only the store of files is served, and nothing of
// the runner's request but method, path, range and attempt goes on.
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as requestPlain,
  type ServerResponse,
} from 'node:http';
import { request as requestTls } from 'node:https';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Dialer } from '../dial/dialer.ts';
import { ATTEMPT_HEADER } from '../protocol/file-api.ts';

const TARGET = /^\/v1\/(files|trees)\/[0-9a-f]{64}(\/files|\/missing)?(\?[\w=&]{1,256})?$/;
const ATTEMPT = /^[a-z]+-[0-9a-z]{1,32}\.[1-9]\d{0,14}$/;
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT']);
const CARRIED = ['content-length', 'content-type', 'content-range', 'flopd-received-bytes'];
/** A connection on which nothing moves for so long is given up. */
const IDLE_MS = 60_000;
const SOCKETS_MAX = 8;

export interface FileRelayParts {
  /** The scheduler's base URL. */
  readonly url: string;
  readonly dialer: Dialer;
  /** What opens the store of files; null without a session. */
  readonly ticket: () => string | null;
  readonly log: Log;
}

export interface FileRelay {
  /** Serves the runner on this connection. */
  serve(socket: Socket): void;
  close(): void;
}

export function createFileRelay({ url, dialer, ticket, log }: FileRelayParts): FileRelay {
  const isTls = url.startsWith('https:');
  const pool = dialer.pool(url, { maxSockets: SOCKETS_MAX, idleMs: IDLE_MS });
  // Never listens: connections are handed to it.
  const server = createServer({ requestTimeout: 0, headersTimeout: 10_000 }, (request, response) => {
    carry(request, response);
  });
  const sockets = new Set<Socket>();

  function carry(incoming: IncomingMessage, response: ServerResponse): void {
    const { method = '', url: target = '' } = incoming;
    const attempt = String(incoming.headers[ATTEMPT_HEADER] ?? '');
    if (!METHODS.has(method) || !TARGET.test(target) || !ATTEMPT.test(attempt)) {
      refuse(response, 404, 'RELAY_REFUSED', 'only the store of files is carried');
      return;
    }
    const key = ticket();
    if (key === null) {
      refuse(response, 503, 'FILES_AWAY', 'there is no session with the scheduler');
      return;
    }
    const headers: OutgoingHttpHeaders = { authorization: `Bearer ${key}`, [ATTEMPT_HEADER]: attempt };
    const { range } = incoming.headers;
    if (range !== undefined) headers.range = range;
    let outgoing: ReturnType<typeof requestPlain>;
    try {
      outgoing = (isTls ? requestTls : requestPlain)(new URL(target, url), {
        ...dialer.options(url),
        agent: pool,
        method,
        headers,
      });
    } catch (error) {
      refuse(response, 503, 'FILES_AWAY', describeError(error));
      return;
    }
    outgoing.setTimeout(IDLE_MS, () => outgoing.destroy(new Error('nothing moved')));
    outgoing.once('response', (answer) => {
      for (const name of CARRIED) {
        const value = answer.headers[name];
        if (value !== undefined) response.setHeader(name, value);
      }
      response.writeHead(answer.statusCode ?? 502);
      pipeline(answer, response, () => {
        if (!answer.complete) response.destroy();
      });
    });
    outgoing.once('error', (error) => {
      log.debug({}, `a request for files broke off: ${describeError(error)}`);
      if (response.headersSent) response.destroy();
      else refuse(response, 503, 'FILES_AWAY', dialer.explain(url, error).message);
    });
    response.once('close', () => outgoing.destroy());
    // Ends with it, whatever happens: an answer may come before the whole request was read.
    if (method === 'PUT') pipeline(incoming, outgoing, () => {});
    else outgoing.end();
  }

  return {
    serve(socket) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      socket.on('error', () => {});
      server.emit('connection', socket);
    },
    close() {
      for (const socket of sockets) socket.destroy();
      pool.destroy();
    },
  };
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  const text = JSON.stringify({ error: { code, message: message.slice(0, 512), remedy: null } });
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(text);
}
