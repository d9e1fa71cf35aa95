// An HTTP proxy that knows CONNECT and nothing else, as it stands in front of many sites; it may refuse, ask for a
// password, or say nothing.
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

export interface FakeProxy {
  readonly url: string;
  readonly port: number;
  /** Targets asked for, as `host:port`. */
  readonly asked: string[];
  /** `Proxy-Authorization` of each request. */
  readonly credentials: (string | undefined)[];
  /** 200 passes; any other status refuses; 0 never answers. */
  status: number;
  /** Connections to the proxy that are open now. */
  open(): number;
  close(): Promise<void>;
}

export interface ProxyOptions {
  readonly host?: string;
  readonly port?: number;
  /** Where a target really lies; without it, where it says. */
  readonly route?: (host: string, port: number) => { host: string; port: number };
}

export async function startProxy({
  host = '127.0.0.1',
  port = 0,
  route,
}: ProxyOptions = {}): Promise<FakeProxy> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  const server = createServer((_, response) => response.writeHead(405).end());
  let clients = 0;
  server.on('connection', (socket) => {
    keep(socket);
    clients += 1;
    socket.on('close', () => {
      clients -= 1;
    });
  });
  server.on('connect', (request, client: Socket, head) => {
    proxy.asked.push(request.url ?? '');
    proxy.credentials.push(request.headers['proxy-authorization']);
    if (proxy.status === 0) {
      // A socket that nobody reads does not see that its peer has left.
      client.resume().on('end', () => client.destroy());
      return;
    }
    if (proxy.status !== 200) {
      client.end(`HTTP/1.1 ${proxy.status} No\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const { hostname, port: asked } = new URL(`tcp://${request.url}`);
    const there = hostname.replace(/^\[|\]$/g, '');
    const target = route?.(there, Number(asked)) ?? { host: there, port: Number(asked) };
    const far = connect(target, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      if (head.length > 0) far.write(head);
      far.pipe(client);
      client.pipe(far);
    });
    keep(far);
    far.on('close', () => client.destroy());
    client.on('close', () => far.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  const proxy: FakeProxy = {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    port: (server.address() as AddressInfo).port,
    asked: [],
    credentials: [],
    status: 200,
    open: () => clients,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
