// The way of a pull: a proxy for one runtime, to the Internet alone (A36). What would be asked of it by a registry that
// sends elsewhere, or by a name that has another address by now, is asked here by hand.

import { request } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer, connect as dial, type Server } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import {
  type ContainerClient,
  createContainerClient,
} from '../../../../src/job/executor/container-client.ts';
import { createImages } from '../../../../src/job/executor/container-image.ts';
import { type PullWay, startPullWay } from '../../../../src/job/executor/container-way.ts';
import { authority, serverPair } from '../../../fakes/certificates.ts';
import { createPodman, podmanMissing } from '../../../fakes/podman.ts';
import { createRegistry } from '../../../fakes/registry.ts';

let way: PullWay | null = null;
let server: Server | null = null;
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  way?.close();
  server?.close();
});

const answers: Readonly<Record<string, readonly string[]>> = {
  'rebound.example': ['169.254.169.254'],
  'mixed.example': ['140.82.112.33', '10.0.0.5'],
  'here.example': ['127.0.0.1'],
  localhost: ['127.0.0.1', '::1'],
};

async function open(registries: readonly string[] = ['public']): Promise<URL> {
  way = await startPullWay({
    registries,
    resolve: async (host) => (answers[host] ?? []).map((address) => ({ address })),
  });
  return new URL(way.environment.HTTPS_PROXY ?? '');
}

/** The first line that comes back, and the connection. */
function ask(proxy: URL, line: string, secret = `${proxy.username}:${proxy.password}`): Promise<string> {
  const authorization = `Proxy-Authorization: Basic ${Buffer.from(secret).toString('base64')}`;
  return new Promise((resolve, reject) => {
    const socket = dial(Number(proxy.port), proxy.hostname, () =>
      socket.write(`${line} HTTP/1.1\r\nHost: x\r\n${authorization}\r\n\r\n`),
    );
    socket.once('data', (bytes: Buffer) => {
      socket.destroy();
      resolve(bytes.toString().split('\r\n', 1)[0] ?? '');
    });
    socket.once('error', reject);
    socket.once('close', () => resolve('closed'));
  });
}

function defer<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe('the way of a pull', () => {
  test.each([
    ...[
      '169.254.169.254:80',
      '10.0.0.1:443',
      '127.0.0.1:22',
      'localhost:443',
      '[::1]:443',
      '[fd00:ec2::254]:80',
    ],
    ...['[::ffff:10.0.0.1]:443', '2130706433:443', '0xa9fea9fe:80', '0177.0.0.1:80', 'rebound.example:443'],
    ...['mixed.example:443', 'unknown.example:443'],
  ])('does not lead to %s', async (target) => {
    expect(await ask(await open(), `CONNECT ${target}`)).toMatch(
      /^HTTP\/1.1 403 this node does not connect to .*, which does not lie on the Internet \(jobs.registries\)$/,
    );
  });

  test('reaches nothing that listens here, is for its runtime alone, and speaks no plain HTTP', async () => {
    let connections = 0;
    server = createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    const here = server;
    await new Promise<void>((resolve) => here.listen(0, '127.0.0.1', resolve));
    const { port } = here.address() as AddressInfo;
    const proxy = await open();
    for (const host of ['here.example', '127.1', '0x7f000001'])
      expect(await ask(proxy, `CONNECT ${host}:${port}`)).toContain(' 403 ');
    expect(await ask(proxy, 'CONNECT ghcr.io:443', 'flopd:guess')).toContain(' 407 ');
    expect(await ask(proxy, `GET http://127.0.0.1:${port}/`)).toContain(' 403 ');
    expect(await ask(proxy, 'CONNECT nothing')).toContain(' 400 ');
    expect(connections).toBe(0);
    way?.close();
    await expect(ask(proxy, 'CONNECT ghcr.io:443')).rejects.toThrow();
  });

  test('does not lead to a public address of this very host', async () => {
    way = await startPullWay({
      registries: ['public'],
      resolve: async () => [{ address: '140.82.112.99' }],
      ownAddresses: () => ['::1', '140.82.112.99'],
    });
    const proxy = new URL(way.environment.HTTPS_PROXY ?? '');
    for (const target of ['140.82.112.99:443', 'own.example:443', '[::ffff:140.82.112.99]:443'])
      expect(await ask(proxy, `CONNECT ${target}`)).toContain(' 403 ');
  });

  test('connects with nobody for a pull that has ended while a name was looked up', async () => {
    const reached: string[] = [];
    const [asked, answered] = [defer<void>(), defer<{ address: string }[]>()];
    const resolve = () => {
      asked.resolve();
      return answered.promise;
    };
    way = await startPullWay({ registries: ['public'], resolve }, ({ host }) => {
      reached.push(host ?? '');
      return dial(1, '127.0.0.1');
    });
    ask(new URL(way.environment.HTTPS_PROXY ?? ''), 'CONNECT ghcr.io:443').catch(() => {});
    await asked.promise;
    way.close();
    answered.resolve([{ address: '140.82.112.33' }]);
    await new Promise(setImmediate);
    expect(reached).toEqual([]);
  });

  test('is told nothing by whoever does not know its secret', async () => {
    const proxy = await open();
    expect(await ask(proxy, 'GET http://ghcr.io/', 'flopd:guess')).toContain(' 407 ');
    expect(await ask(proxy, 'CONNECT 127.0.0.1:1', 'flopd:guess')).toContain(' 407 ');
    expect(way?.refusal()).toBeNull();
    expect(await ask(proxy, 'GET http://ghcr.io/')).toContain(' 403 ');
    expect(way?.refusal()).toContain('nothing but TLS');
  });

  test.each([
    [{ https_proxy: '' }, true],
    [{ HTTPS_PROXY: '', http_proxy: 'http://proxy.corp:3128' }, true],
    [{ HTTPS_PROXY: 'http://proxy.corp:3128' }, false],
    [{ https_proxy: 'http://proxy.corp:3128', HTTPS_PROXY: '' }, false],
  ])('is taken unless a proxy of the operator is: with %o, %s', async (environment, isTaken) => {
    let given: Readonly<Record<string, string>> | undefined;
    const images = createImages({
      client: {
        ...{ environment, found: () => ({ runtime: 'podman' }), looked: async () => {}, problem: () => null },
        ...{ doubt() {}, close() {} },
        call(args: readonly string[], _ms: number, _line: unknown, more?: Readonly<Record<string, string>>) {
          if (args.includes('pull')) given = more;
          const stderr = args.includes('pull') ? 'it failed' : 'no such image';
          return { result: Promise.resolve({ exitCode: 1, stdout: '', stderr }), abort() {} };
        },
      } as unknown as ContainerClient,
      ...{ pull: 'missing', pullTimeoutMs: 1000, clock: createClock() },
      registryRules: {
        ...{ registries: ['public'], isProxied: () => false },
        resolve: async () => [{ address: '140.82.112.33' }],
      },
    });
    await images.obtain('ghcr.io/org/app', () => {}).answer;
    expect(given?.HTTPS_PROXY?.startsWith('http://flopd:') ?? false).toBe(isTaken);
  });

  test('is no matter of the hosts that the operator lists', async () => {
    await open(['public', 'mirror.corp:5000/hub', '10.0.0.9']);
    expect(way?.environment).toMatchObject({ NO_PROXY: 'mirror.corp:5000,10.0.0.9' });
  });
});

/** A registry of the Internet over TLS, by names below `example`: what it is asked, and whatever it answers instead. */
async function startPublicRegistry(
  host: string,
  instead: (path: string) => Readonly<Record<string, string>> | null,
) {
  const pair = await serverPair(await authority(), ['registry.example']);
  const [name, port] = host.split(':');
  const front = createTlsServer(pair, (asked, answer) => {
    const headers = instead(asked.url ?? '');
    if (headers !== null) {
      answer.writeHead(headers.Location === undefined ? 401 : 307, headers).end();
      return;
    }
    const { method, url: path } = asked;
    const onward = request({ host: name, port, path, method, headers: asked.headers }, (got) => {
      answer.writeHead(got.statusCode ?? 500, got.headers);
      got.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    asked.pipe(onward);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  return {
    port: (front.address() as AddressInfo).port,
    close() {
      front.close();
      front.closeAllConnections();
    },
  };
}

describe.skipIf(podmanMissing() !== null)('podman on this way', { timeout: 60_000 }, () => {
  test('pulls from a registry on the Internet, and goes nowhere else that the registry sends it to', async () => {
    const podman = createPodman();
    closing.push(() => podman.close());
    const registry = await createRegistry(podman.imageTar, ['A=1']);
    closing.push(() => registry.close());
    const elsewhere = 'https://169.254.169.254/latest/meta-data';
    let sendsTo: Readonly<Record<string, string>> = {};
    const front = await startPublicRegistry(registry.host, (path) => {
      if (path.includes('/redirect/blobs/')) return { Location: elsewhere };
      return path === '/v2/' && 'WWW-Authenticate' in sendsTo ? sendsTo : null;
    });
    closing.push(front.close);
    const reached: string[] = [];
    const clock = createClock();
    const client = createContainerClient({
      ...{ choice: podman.path, environment: { PATH: process.env.PATH }, onChange() {} },
      ...{ clock, log: createSilentLog() },
    });
    closing.push(() => client.close());
    const images = createImages({
      ...{ client, pull: 'missing', pullTimeoutMs: 30_000, clock },
      registryRules: {
        registries: ['public'],
        isProxied: () => false,
        resolve: async () => [{ address: '140.82.112.33' }],
      },
      connectTo(options) {
        reached.push(options.host ?? '');
        return dial(front.port, '127.0.0.1');
      },
    });
    const obtain = (name: string) => images.obtain(`registry.example/${name}:1`, () => {}).answer;
    expect(await obtain('good')).toMatchObject({ image: { environment: ['A=1'] } });
    const refused = {
      problem: expect.stringContaining(
        'this node does not connect to 169.254.169.254, which does not lie on',
      ),
    };
    // No part of it is here already.
    podman.run('rmi', '--all', '--force');
    expect(await obtain('redirect')).toMatchObject(refused);
    sendsTo = { 'WWW-Authenticate': `Bearer realm="${elsewhere}",service="x"` };
    expect(await obtain('token')).toMatchObject(refused);
    expect(new Set(reached)).toEqual(new Set(['registry.example']));
  });
});
