// The one file that knows the `ws` package: an outbound WebSocket as events and four verbs. Limits are set here,
// explicitly: frame size, fragments, no compression, no redirects. Every socket has its error listener from the
// start, because a WebSocket without one turns a malformed frame into the end of the process.
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { channelBinding } from '../base/channel-binding.ts';
import { gatherWrites } from '../base/gathered-writes.ts';
import type { Dialer } from '../dial/dialer.ts';
import { MAX_FRAME_BYTES, SUBPROTOCOL } from '../protocol/control.ts';

/** TCP, TLS and upgrade together; the session has a deadline of its own above this one. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
const MAX_FRAGMENTS = 256;
const MAX_BUFFERED_CHUNKS = 64 * 1024;
/** Pongs are not queued behind more than this; a peer that pings without reading is cut off. */
const MAX_PONG_BACKLOG_BYTES = 1024 * 1024;

/** What a socket tells; nothing after `closed`, which comes exactly once. */
export interface SocketEvents {
  open(): void;
  text(bytes: Uint8Array): void;
  binary(bytes: Uint8Array): void;
  /** A ping or pong; the peer is alive. */
  sign(): void;
  /** Bytes have left our memory; `bufferedBytes` is smaller now. */
  drained(): void;
  /** Why it is about to close, when it was not the peer's close frame; may come before `closed`. */
  failed(error: Error, retryAfterSeconds: number | null): void;
  closed(code: number, reason: string): void;
}

export interface LinkSocket {
  /** What ties a proof to this one TLS connection (RFC 9266), base64url; empty without TLS, or when it is closed. */
  binding(): string;
  send(data: string | Uint8Array): void;
  bufferedBytes(): number;
  /** Stops and continues reading; the peer feels it as a full window. */
  pause(): void;
  resume(): void;
  close(code: number, reason: string): void;
  /** Drops the connection without a word. */
  terminate(): void;
}

export type SocketFactory = (url: string, events: SocketEvents) => LinkSocket;

/** Opens a WebSocket to `url` (ws: or wss:) without proxies, and over TLS by Node's own list of authorities. */
export const connectSocket: SocketFactory = (url, events) => open(url, events, null);

/** The same by the way that a dialler knows. Never throws; a failure comes as `failed` and `closed`. */
export function createSocketFactory(dialer: Dialer): SocketFactory {
  return (url, events) => open(url, events, dialer);
}

function open(url: string, events: SocketEvents, dialer: Dialer | null): LinkSocket {
  let socket: WebSocket;
  try {
    socket = new WebSocket(url, SUBPROTOCOL, {
      perMessageDeflate: false,
      maxPayload: MAX_FRAME_BYTES,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_BUFFERED_CHUNKS,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      followRedirects: false,
      autoPong: false,
      ...dialer?.options(url),
    });
  } catch (error) {
    return notOpened(events, error);
  }
  let channel: Duplex | null = null;
  let gather = (): void => {};
  socket.on('error', (error) => events.failed(asError(dialer?.explain(url, error) ?? error), null));
  socket.on('upgrade', (response) => {
    channel = response.socket;
    gather = gatherWrites(channel);
  });
  socket.on('unexpected-response', (request, response) => {
    const status = response.statusCode ?? 0;
    const what = status >= 300 && status < 400 ? ' (a redirect, which is never followed)' : '';
    const text = `the server answered ${status}${what} instead of a WebSocket`;
    events.failed(new Error(text), retryAfterSeconds(response.headers['retry-after']));
    response.resume();
    request.destroy();
    socket.terminate();
  });
  socket.on('open', () => events.open());
  socket.on('message', (data, isBinary) => {
    if (isBinary) events.binary(data as Buffer);
    else events.text(data as Buffer);
  });
  socket.on('pong', () => events.sign());
  socket.on('ping', (data) => {
    events.sign();
    if (socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > MAX_PONG_BACKLOG_BYTES) {
      events.failed(new Error('the peer pings without reading'), null);
      socket.terminate();
    } else socket.pong(data);
  });
  socket.on('close', (code, reason) => events.closed(code, reason.toString('utf8')));
  const sent = (error?: Error | null): void => {
    if (error === undefined || error === null) events.drained();
  };
  return {
    binding: () => (channel === null || channel.destroyed ? '' : channelBinding(channel)),
    send(data) {
      if (socket.readyState !== WebSocket.OPEN) return;
      gather();
      socket.send(data, sent);
    },
    bufferedBytes: () => socket.bufferedAmount,
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close: (code, reason) => socket.close(code, reason),
    terminate: () => socket.terminate(),
  };
}

/** The way there was refused before anything was sent. */
function notOpened(events: SocketEvents, error: unknown): LinkSocket {
  queueMicrotask(() => {
    events.failed(asError(error), null);
    events.closed(1006, '');
  });
  return {
    send() {},
    bufferedBytes: () => 0,
    pause() {},
    resume() {},
    close() {},
    binding: () => '',
    terminate() {},
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Seconds of a Retry-After header or of a close reason such as `retry-after 20`, or null. */
export function retryAfterSeconds(text: string | undefined): number | null {
  const match = /^(?:.*retry-after[ :=]*)?(\d{1,6})\b/i.exec(text ?? '');
  return match === null ? null : Number(match[1]);
}

/** The link's WebSocket address below a scheduler's base URL: http becomes ws, https wss. */
export function linkUrl(base: string, path: string): string {
  const url = new URL(base);
  url.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:';
  url.pathname = `${url.pathname.replace(/\/+$/, '')}${path}`;
  url.search = '';
  url.hash = '';
  return url.href;
}
