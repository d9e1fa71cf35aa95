// The agent's own web server: /metrics for Prometheus (in the names of other exporters /metrics/dcgm and
// /metrics/npu-exporter, so that one scrape never gets a number twice), /healthz and /readyz for whoever starts it. Reads only; small
// answers, few sockets, short patience, so that nobody who reaches the port can make it cost much.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { errnoOf, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Window } from '../protocol/columns.ts';
import type { Inventory } from '../protocol/control.ts';
import type { AgentMetrics } from './agent-metrics.ts';
import { renderDcgm } from './dcgm-page.ts';
import { createDevicePage } from './device-page.ts';
import { type ExportedDevices, readDevices } from './device-reader.ts';
import { renderNpuExporter } from './npu-exporter-page.ts';
import { createPage } from './page.ts';

const MAX_SOCKETS = 64;
const MAX_HEADER_BYTES = 8192;
/** Time to send a whole request, and to sit on a socket without a word. */
const REQUEST_TIMEOUT_MS = 5000;
/** Longer than the usual time between two scrapes. */
const KEEP_ALIVE_MS = 35_000;
/** Numbers older than this many windows are not shown. */
const STALE_WINDOWS = 5;
const DEFAULT_WINDOW_MS = 1000;
const noDevices: ExportedDevices = { records: [], heldBy: () => [] };
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export interface Health {
  /** The process does its work; otherwise it should be restarted. */
  readonly live: boolean;
  /** It can serve. */
  readonly ready: boolean;
  /** One sentence. */
  readonly reason: string;
  /** What a person must know although it is live; null where there is nothing. */
  readonly note: string | null;
}

export interface ExporterOptions {
  readonly listen: { readonly host: string; readonly port: number };
  latest(): Window | null;
  inventory(): Inventory | null;
  /** Accelerators of this host; absent: it has none. */
  devices?(): ExportedDevices;
  /** Of flopd. */
  readonly version?: string;
  health(): Health;
  readonly metrics: AgentMetrics;
  /** Usual time between two windows. */
  readonly windowMs?: number;
  readonly requestTimeoutMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Exporter {
  /** Base URL, without a slash at the end. */
  readonly url: string;
  close(): Promise<void>;
}

/** Resolves when it listens; rejects with a Fault EXPORTER_ADDRESS_* or EXPORTER_LISTEN. */
export async function startExporter(options: ExporterOptions): Promise<Exporter> {
  const { listen, metrics, log } = options;
  const answer = createAnswers(options);
  const timeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    requestTimeout: timeoutMs,
    headersTimeout: timeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: Math.min(1000, timeoutMs),
  });
  boundSockets(server);
  server.setTimeout(timeoutMs);
  server.on('clientError', refuseClient);
  server.on('request', (request, response) => {
    answer(request, response).catch((error: unknown) => {
      log.error({ error }, 'the exporter could not answer');
      response.destroy();
    });
  });
  await listenOn(server, listen);
  server.on('error', (error) => log.error({ error }, 'the exporter has trouble with its socket'));
  const { port } = server.address() as AddressInfo;
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  return {
    url: `http://${host}:${port}`,
    close() {
      metrics.close();
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

/** Keeps room for whoever asks: beyond MAX_SOCKETS the oldest that has asked for nothing gives way. */
function boundSockets(server: Server): void {
  const quiet = new Set<Socket>();
  const asking = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    quiet.add(socket);
    socket.on('close', () => {
      quiet.delete(socket);
      asking.delete(socket);
    });
    if (quiet.size + asking.size <= MAX_SOCKETS) return;
    const [oldest] = quiet.size > 1 ? quiet : asking;
    oldest?.destroy();
  });
  server.on('request', ({ socket }: IncomingMessage) => {
    if (quiet.delete(socket)) asking.add(socket);
  });
}

function createAnswers(
  options: ExporterOptions,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const { latest, inventory, health, metrics, clock } = options;
  const page = createPage();
  const devicePage = createDevicePage();
  const devicesNow = (): ExportedDevices => options.devices?.() ?? noDevices;
  const staleMs = STALE_WINDOWS * (options.windowMs ?? DEFAULT_WINDOW_MS);

  /** The last window, or null when it is too old to be shown. */
  function freshWindow(): Window | null {
    const window = latest();
    const isStale =
      window === null || clock.wallMs() - window.endMs > Math.max(staleMs, STALE_WINDOWS * window.durationMs);
    metrics.setHostStale(isStale);
    return isStale ? null : window;
  }

  async function metricsText(): Promise<string> {
    const window = freshWindow();
    const facts = inventory();
    const host = window === null ? '' : page.host(window);
    const accelerators = devicePage.render(devicesNow(), window, clock.wallMs());
    return `${facts === null ? '' : page.inventory(facts)}${host}${accelerators}${await metrics.page()}`;
  }

  /** Pages in the names of other exporters, by path. */
  const others: Readonly<Record<string, (query: URLSearchParams) => string>> = {
    '/metrics/dcgm': (query) =>
      renderDcgm(readDevices(devicesNow(), freshWindow()), {
        hostname: inventory()?.hostname ?? '',
        hostLabel: query.get('host-label') === 'hostname' ? 'hostname' : 'Hostname',
      }),
    '/metrics/npu-exporter': () =>
      renderNpuExporter(readDevices(devicesNow(), freshWindow()), { version: options.version ?? '' }),
  };

  return async (request, response) => {
    request.on('error', () => {});
    response.on('error', () => {});
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      // Whatever body comes with it is not waited for.
      response.setHeader('allow', 'GET, HEAD');
      response.setHeader('connection', 'close');
      response.on('finish', () => request.socket.destroySoon());
      send(request, response, 405, 'this server only reads: GET and HEAD\n');
      return;
    }
    const [path = '', ...rest] = (request.url ?? '').split('?');
    const other = Object.hasOwn(others, path) ? others[path] : undefined;
    // The bare address too: it is what --ready-file names.
    if (path === '/metrics' || path === '/') {
      send(request, response, 200, await metricsText());
    } else if (other !== undefined) {
      send(request, response, 200, other(new URLSearchParams(rest.join('?'))));
    } else if (path === '/healthz') {
      const { live, reason, note } = health();
      const well = note === null ? 'ok\n' : sentence(`ok; ${note}`);
      send(request, response, live ? 200 : 503, live ? well : sentence(reason));
    } else if (path === '/readyz') {
      const { live, ready, reason } = health();
      send(request, response, live && ready ? 200 : 503, sentence(reason));
    } else
      send(
        request,
        response,
        404,
        'there is /metrics, /metrics/dcgm, /metrics/npu-exporter, /healthz and /readyz\n',
      );
  };
}

function send(request: IncomingMessage, response: ServerResponse, status: number, text: string): void {
  const body = Buffer.from(text);
  response.writeHead(status, {
    'content-type': CONTENT_TYPE,
    'content-length': body.length,
    'cache-control': 'no-store',
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function sentence(reason: string): string {
  return `${reason.replaceAll(/\s+/g, ' ').trim()}\n`;
}

function refuseClient(error: Error, socket: Socket): void {
  if (!socket.writable || errnoOf(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const status =
    errnoOf(error) === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroy());
}

function listenOn(server: Server, { host, port }: ExporterOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error) => reject(listenFault(error, `${host}:${port}`));
    server.once('error', refuse);
    server.listen({ host, port }, () => {
      server.off('error', refuse);
      resolve();
    });
  });
}

function listenFault(cause: Error, address: string): Fault {
  const field = 'metricsListen';
  const another = 'choose another address with --metrics-listen HOST:PORT (port 0 picks a free one)';
  switch (errnoOf(cause)) {
    case 'EADDRINUSE':
      return new Fault('EXPORTER_ADDRESS_IN_USE', `another process listens on ${address}`, {
        field,
        remedy: `stop it, or ${another}`,
        cause,
      });
    case 'EACCES':
      return new Fault('EXPORTER_ADDRESS_DENIED', `this user may not listen on ${address}`, {
        field,
        remedy: `${another}; ports below 1024 are for root`,
        cause,
      });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new Fault('EXPORTER_ADDRESS_UNKNOWN', `${address} is no address of this host`, {
        field,
        remedy: another,
        cause,
      });
    default:
      return new Fault('EXPORTER_LISTEN', `cannot listen on ${address}: ${cause.message}`, {
        field,
        remedy: another,
        cause,
      });
  }
}
