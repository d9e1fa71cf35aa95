// The way through an HTTP proxy: CONNECT, then TLS (or plain HTTP) with the scheduler itself, by https-proxy-agent. What
// that leaves open is closed here: a proxy that is silent ends at a deadline, one that refuses is told as such and never
// taken for the scheduler, and user and password of it appear in no text.
import type { ClientRequest, Agent as HttpAgent } from 'node:http';
import type { LookupFunction } from 'node:net';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { errnoOf, Fault } from '../base/fault.ts';
import { describeProxy } from './proxy.ts';

/** From connecting to the proxy to its answer. */
export const PROXY_DEADLINE_MS = 10_000;
const MAX_STATUS = 599;

type ConnectOptions = Parameters<HttpsProxyAgent<string>['connect']>[1];

export interface TunnelOptions {
  readonly proxy: URL;
  readonly lookup: LookupFunction;
  readonly keepAlive: boolean;
  readonly maxSockets?: number;
  readonly deadlineMs?: number;
}

/** An agent of `node:http` whose connections go through the proxy. */
export function createTunnel({ proxy, lookup, keepAlive, maxSockets, deadlineMs }: TunnelOptions): HttpAgent {
  const name = describeProxy(proxy);
  const waitMs = deadlineMs ?? PROXY_DEADLINE_MS;

  class Tunnel extends HttpsProxyAgent<string> {
    override async connect(request: ClientRequest, options: ConnectOptions) {
      const given = new AbortController();
      let isLate = false;
      let isGivenUp = false;
      const timer = setTimeout(() => {
        isLate = true;
        given.abort();
      }, waitMs);
      // A request that is given up before it has a socket tells nobody until it gets one; the connection to the proxy
      // has no other owner yet, and goes with it.
      const destroy = request.destroy;
      request.destroy = function giveUp(error) {
        isGivenUp = true;
        given.abort();
        return destroy.call(this, error);
      };
      let status = 0;
      request.once('proxyConnect', (answer: { statusCode: number }) => {
        status = answer.statusCode;
      });
      // Read by the base class before it first waits, so that each connection has a signal of its own.
      this.connectOpts = { ...this.connectOpts, lookup, signal: given.signal } as typeof this.connectOpts;
      try {
        const socket = await super.connect(request, options);
        if (status === 200) return socket;
        socket.destroy();
      } catch (error) {
        if (isGivenUp) throw error;
        throw proxyFault(name, error, isLate ? waitMs : null);
      } finally {
        clearTimeout(timer);
        request.destroy = destroy;
      }
      throw refused(name, status);
    }
  }
  return new Tunnel(proxy.href, {
    keepAlive,
    ...(maxSockets === undefined ? {} : { maxSockets }),
  });
}

function refused(name: string, status: number): Fault {
  const code = Number.isInteger(status) && status > 0 && status <= MAX_STATUS ? `HTTP ${status}` : 'no HTTP';
  return new Fault('DIAL_PROXY_REFUSED', `the proxy ${name} refused the way to the scheduler (${code})`, {
    remedy:
      status === 407
        ? 'put user and password into https_proxy (http://USER:PASSWORD@HOST:PORT)'
        : 'let the proxy pass CONNECT to the scheduler, or name the scheduler in no_proxy',
  });
}

function proxyFault(name: string, error: unknown, waitedMs: number | null): Fault {
  if (error instanceof Fault) return error;
  const why =
    waitedMs === null
      ? (errnoOf(error) ?? 'its answer is none of a proxy')
      : `no answer within ${waitedMs / 1000} s`;
  return new Fault('DIAL_PROXY_UNREACHABLE', `the proxy ${name} cannot be used: ${why}`, {
    remedy: 'check https_proxy, or name the scheduler in no_proxy',
    // Not as a cause: the library's own words may quote what the proxy sent.
  });
}
