// The way through an HTTP proxy: CONNECT, then TLS (or plain HTTP) with the scheduler itself. Forty lines on top of
// node:http: the library for it (https-proxy-agent) costs every agent 3 MB, has no deadline, and hands the answer of a
// proxy that refuses to the caller as if the scheduler had given it. User and password of a proxy appear in no text.
import { type ClientRequest, type IncomingMessage, Agent as PlainAgent, request } from 'node:http';
import { request as requestTls, Agent as TlsAgent } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect } from 'node:tls';
import { errnoOf, Fault } from '../base/fault.ts';
import { describeProxy, isTls } from './proxy.ts';

/** From connecting to the proxy to its answer; shorter than the deadlines of those who ask, who have no socket so long. */
export const PROXY_DEADLINE_MS = 8000;

export interface TunnelOptions {
  readonly proxy: URL;
  /** Whether TLS is spoken through it. */
  readonly isTls: boolean;
  readonly lookup: LookupFunction;
  readonly keepAlive: boolean;
  readonly maxSockets?: number;
  /** Of a connection that is kept and not used, ms. */
  readonly idleMs?: number;
  readonly deadlineMs?: number;
}

type Made = (error: Error | null, socket?: Duplex) => void;

/** An agent of `node:http` or `node:https` whose connections go through the proxy. */
export function createTunnel(options: TunnelOptions): PlainAgent {
  const { keepAlive, maxSockets, idleMs } = options;
  const limits = {
    keepAlive,
    ...(maxSockets === undefined ? {} : { maxSockets }),
    ...(idleMs === undefined ? {} : { timeout: idleMs }),
  };
  const agent = options.isTls ? new TlsAgent(limits) : new PlainAgent(limits);
  const made = (wanted: ConnectionOptions, callback: Made): undefined => void open(options, wanted, callback);
  return Object.assign(agent, { createConnection: made });
}

function open(options: TunnelOptions, wanted: ConnectionOptions, callback: Made): void {
  const { proxy, lookup, isTls: isSecure, deadlineMs = PROXY_DEADLINE_MS } = options;
  const name = describeProxy(proxy);
  const asked = ask(proxy, lookup, `${bracketed(wanted.host ?? '')}:${wanted.port}`);
  let isOver = false;
  const over = (error: Error | null, socket?: Duplex): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    if (error !== null) asked.destroy();
    callback(error, socket);
  };
  const timer = setTimeout(
    () => over(unreachable(name, `no answer within ${deadlineMs / 1000} s`)),
    deadlineMs,
  );
  asked.on('error', (error) =>
    over(unreachable(name, errnoOf(error) ?? 'its answer is none of a proxy', error)),
  );
  // What comes for a CONNECT is told as `connect`, whatever its status.
  asked.on('connect', ({ statusCode = 0 }: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isOver || statusCode !== 200) {
      socket.destroy();
      over(refused(name, statusCode));
      return;
    }
    if (head.length > 0) socket.unshift(head);
    // The host is that of the scheduler's name, and nothing is to be looked up here.
    const { host: _, port: __, path: ___, ...tls } = wanted;
    over(null, isSecure ? connect({ ...tls, socket }) : socket);
  });
  asked.end();
}

function ask(proxy: URL, lookup: LookupFunction, target: string): ClientRequest {
  const words = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const credentials =
    words === ':' ? {} : { 'proxy-authorization': `Basic ${Buffer.from(words).toString('base64')}` };
  return (isTls(proxy) ? requestTls : request)({
    host: proxy.hostname.replace(/^\[|\]$/g, ''),
    port: proxy.port === '' ? (isTls(proxy) ? 443 : 80) : Number(proxy.port),
    method: 'CONNECT',
    path: target,
    headers: { host: target, ...credentials },
    agent: false,
    lookup,
  });
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

function refused(name: string, status: number): Fault {
  return new Fault(
    'DIAL_PROXY_REFUSED',
    `the proxy ${name} refused the way to the scheduler (HTTP ${status})`,
    {
      remedy:
        status === 407
          ? 'put user and password into https_proxy (http://USER:PASSWORD@HOST:PORT)'
          : 'let the proxy pass CONNECT to the scheduler, or name the scheduler in no_proxy',
    },
  );
}

function unreachable(name: string, why: string, cause?: unknown): Fault {
  return new Fault('DIAL_PROXY_UNREACHABLE', `the proxy ${name} cannot be used: ${why}`, {
    remedy: 'check https_proxy, or name the scheduler in no_proxy',
    cause,
  });
}
