// The way of one pull from a registry on the Internet: a proxy on loopback that lives as long as the pull, knows a secret
// that only the runtime is told, and connects to addresses of the Internet alone. So a registry that sends the runtime
// elsewhere (a redirect, a place for tokens), and a name that has another address by now, lead to nothing: what is
// connected to is the very address that was looked at.
//
//   podman -- CONNECT host:port --> this way: resolve, look at every address -- TCP --> registry
//
// Not seen here: docker, whose daemon pulls by itself; localhost and addresses of loopback in figures, which programs in Go
// never ask a proxy for; and names below a listed one, which NO_PROXY takes in. A registry can send a runtime to those.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import {
  type AddressInfo,
  connect,
  isIP,
  type LookupFunction,
  type Socket,
  type TcpNetConnectOpts,
} from 'node:net';
import type { Duplex } from 'node:stream';
import { isFault } from '../../base/fault.ts';
import { addressElsewhere, type RegistryRules } from './container-registry.ts';

const CONNECT_DEADLINE_MS = 10_000;
const CONNECTIONS_MAX = 64;
/** Told to whoever does not know the secret, and to nobody else. */
const STRANGER = 'this way is for one pull';
const TARGET = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253})):(\d{1,5})$/;

export interface PullWay {
  /** The first thing that it did not do, a clause; the runtime may tell of it in words of its own, or of the last only. */
  refusal(): string | null;
  /** For the runtime's client. */
  readonly environment: Readonly<Record<string, string>>;
  /** Ends it, and what goes through it. */
  close(): void;
}

/** To an address that was looked at. */
export type ConnectTo = (options: TcpNetConnectOpts) => Socket;

/** Rejects with the system's error where no port of loopback is free. */
export function startPullWay(
  rules: Pick<RegistryRules, 'registries' | 'resolve' | 'ownAddresses'>,
  connectTo: ConnectTo = connect,
): Promise<PullWay> {
  const secret = `flopd:${randomBytes(18).toString('base64url')}`;
  const expected = Buffer.from(`Basic ${Buffer.from(secret).toString('base64')}`);
  const sockets = new Set<Duplex>();
  // Hosts that the operator lists are reached directly, be they mirrors of others.
  const listed = rules.registries.map((one) => one.split('/', 1)[0] ?? '').filter((one) => /[.:]/.test(one));
  let refusal: string | null = null;
  const server = createServer((request, response) => {
    const words = 'this node speaks nothing but TLS with registries that are not in jobs.registries';
    if (isAllowed(request)) refusal ??= words;
    response.writeHead(isAllowed(request) ? 403 : 407, isAllowed(request) ? words : STRANGER);
    response.end();
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('connection', (socket: Socket) => hold(socket));
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (!isAllowed(request)) refuse(socket, 407, STRANGER);
    else pass(request.url ?? '', socket, head).catch((error: unknown) => refuse(socket, 502, wordsOf(error)));
  });

  function isAllowed({ headers }: IncomingMessage): boolean {
    const given = Buffer.from(headers['proxy-authorization'] ?? '');
    return given.length === expected.length && timingSafeEqual(given, expected);
  }

  function hold(socket: Duplex): void {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
  }

  async function pass(target: string, socket: Duplex, head: Buffer): Promise<void> {
    const [, six, name, port] = TARGET.exec(target) ?? [];
    const host = six ?? name;
    if (host === undefined) {
      refuse(socket, 400, 'no host and port');
      return;
    }
    // As in the name of an image: numbers in any spelling are addresses.
    const { hostname } = new URL(`http://${six === undefined ? host : `[${host}]`}/`);
    const plain = hostname.replace(/^\[(.*)\]$/, '$1');
    const addresses =
      isIP(plain) === 0 ? (await rules.resolve(plain)).map(({ address }) => address) : [plain];
    // The pull may be over by now, and nobody would end what is begun for it.
    if (socket.destroyed) return;
    const other = addressElsewhere(addresses, rules);
    if (other !== undefined || addresses.length === 0) {
      const at = other === undefined || other === plain ? plain : `${plain} (${other})`;
      const words = `this node does not connect to ${at}, which does not lie on the Internet (jobs.registries)`;
      refusal ??= words;
      refuse(socket, 403, words);
      return;
    }
    const found = addresses.map((address) => ({ address, family: isIP(address) }));
    const lookup: LookupFunction = (_name, _options, callback) => callback(null, found);
    const onward = connectTo({ host: plain, port: Number(port), lookup, autoSelectFamily: true });
    hold(onward);
    onward.setTimeout(CONNECT_DEADLINE_MS, () => onward.destroy());
    let isOpen = false;
    onward.once('connect', () => {
      isOpen = true;
      onward.setTimeout(0);
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.write(head);
      socket.pipe(onward);
      onward.pipe(socket);
    });
    onward.once('close', () => {
      if (isOpen) socket.end();
      else refuse(socket, 502, `no connection with ${plain}`);
    });
    socket.once('close', () => onward.destroy());
  }

  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const proxy = `http://${secret}@127.0.0.1:${(server.address() as AddressInfo).port}`;
      resolve({
        refusal: () => refusal,
        environment: Object.fromEntries(
          Object.entries({ HTTPS_PROXY: proxy, HTTP_PROXY: proxy, NO_PROXY: listed.join(',') }).flatMap(
            ([name, value]) => [
              [name, value],
              [name.toLowerCase(), value],
            ],
          ),
        ),
        close() {
          server.close();
          for (const socket of sockets) socket.destroy();
        },
      });
    });
  });
}

/** Go's programs show the words behind the status. */
function refuse(socket: Duplex, status: number, words: string): void {
  if (!socket.writable) return;
  const plain = words.replace(/[^\x20-\x7e]/g, '?').slice(0, 300);
  socket.end(`HTTP/1.1 ${status} ${plain}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

function wordsOf(error: unknown): string {
  return isFault(error) ? error.message : 'that host cannot be looked up';
}
