// A17 and the way through proxies: the real link, enrolment and file client against real TLS servers that are not what
// they should be, and a CONNECT proxy that helps, refuses or is silent.
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { postJson } from '../../../src/agent/http-post.ts';
import { authorityPin } from '../../../src/base/authority-pin.ts';
import { channelBinding } from '../../../src/base/channel-binding.ts';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createDialer, type Dialer, type DialerParts } from '../../../src/dial/dialer.ts';
import { createNames } from '../../../src/dial/names.ts';
import { fetchPinned } from '../../../src/dial/pinned.ts';
import { createTransfer } from '../../../src/files/transfer.ts';
import { createSocketFactory, type LinkSocket } from '../../../src/link/socket.ts';
import { authority, serverPair, validity } from '../../fakes/certificates.ts';
import { startNameServer } from '../../fakes/name-server.ts';
import { type FakeProxy, startProxy } from '../../fakes/proxy.ts';
import { type FakeScheduler, startFakeScheduler, until } from '../../fakes/scheduler.ts';
import { fastTiming, openTestLink } from '../link/parts.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const part of open.splice(0).reverse()) await part.close();
});
const keep = <T extends { close(): unknown }>(part: T): T => {
  open.push(part);
  return part;
};

const ours = await authority('ours');
const theirs = await authority('theirs');
const namesake = await authority('ours');
const clock = createClock();
const log = createSilentLog();
const dialerOf = (authorities: readonly string[] | null, more: Partial<DialerParts> = {}): Dialer =>
  createDialer({ authorities: () => authorities, clock, log, proxyOf: () => null, ...more });

async function scheduler(tls = serverPair(ours)): Promise<FakeScheduler> {
  return keep(await startFakeScheduler({ tls: await tls, joinToken: 'secret-token' }));
}

const enrolled = (url: string, dialer: Dialer) =>
  postJson(`${url}/v1/enrol`, { token: 'secret-token' }, 30_000, dialer);

describe('a scheduler with TLS', () => {
  test('is reached by link and enrolment where its authority is trusted, and the channel is the same at both ends', async () => {
    const fake = await scheduler();
    const dialer = dialerOf([ours.certificate]);
    let socket: LinkSocket | null = null;
    const connect = createSocketFactory(dialer);
    const { link } = openTestLink(fake.url, undefined, fastTiming, (url, events) => {
      socket = connect(url, events);
      return socket;
    });
    keep(link);
    await link.connected(30_000);
    const theirs = (await fake.session(0)).socket as unknown as { _socket: TLSSocket };
    expect(theirs._socket.getProtocol()).toBe('TLSv1.3');
    const binding = (socket as LinkSocket | null)?.binding();
    expect(binding).toMatch(/^[\w-]{43}$/);
    expect(binding).toBe(channelBinding(theirs._socket));
    // The fake refuses what is no enrolment, and so has been reached.
    expect((await enrolled(fake.url, dialer)).status).toBeGreaterThanOrEqual(400);
  });

  const [hourMs, dayMs] = [3600_000, 86_400_000];
  const past = validity(Date.now() - 2 * dayMs, Date.now() - hourMs);
  const future = validity(Date.now() + hourMs, Date.now() + dayMs);
  test.each([
    ['another authority', serverPair(theirs), 'DIAL_AUTHORITY_UNKNOWN'],
    ['another authority of the same name', serverPair(namesake), 'DIAL_AUTHORITY_UNKNOWN'],
    ['another name', serverPair(ours, ['scheduler.example']), 'DIAL_NAME_OTHER'],
    ['an expired certificate', serverPair(ours, undefined, past), 'DIAL_CERTIFICATE_EXPIRED'],
    ['a certificate of tomorrow', serverPair(ours, undefined, future), 'DIAL_CERTIFICATE_EARLY'],
  ])(
    'but %s is refused by link, enrolment and files, with the reason, before anything is sent',
    async (_, tls, code) => {
      let bytes = 0;
      const server = createTlsServer({ ...(await tls) }, () => (bytes += 1));
      server.on('tlsClientError', () => {});
      server.on('upgrade', () => (bytes += 1));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      keep({ close: () => new Promise((resolve) => server.close(resolve)) });
      const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const dialer = dialerOf([ours.certificate]);
      await expect(enrolled(url, dialer)).rejects.toMatchObject({ code });
      const { link } = openTestLink(url, undefined, fastTiming, createSocketFactory(dialer));
      keep(link);
      await until(() => link.state().error !== null, 'a refusal');
      expect(link.state().error).toContain(
        code === 'DIAL_NAME_OTHER' ? 'it is for scheduler.example' : 'certificate',
      );
      const transfer = keep(
        createTransfer(
          { url, dialer, headers: () => ({ authorization: 'Bearer secret' }) },
          new AbortController().signal,
        ),
      );
      await expect(transfer.missing('a'.repeat(64))).rejects.toMatchObject({ code: 'FILES_AWAY' });
      expect(bytes).toBe(0);
    },
  );

  test('is not left for one without, nor for a redirect', async () => {
    const plain = keep(await startFakeScheduler({ joinToken: 'secret-token' }));
    const dialer = dialerOf([ours.certificate], { tlsOnly: true });
    await expect(async () => enrolled(plain.url, dialer)).rejects.toMatchObject({ code: 'DIAL_PLAIN' });
    const { link } = openTestLink(plain.url, undefined, fastTiming, createSocketFactory(dialer));
    keep(link);
    await until(() => link.state().error !== null, 'a refusal');
    expect(link.state().error).toContain('no safe way');
    expect(plain.sessions).toHaveLength(0);

    const answer = `HTTP/1.1 307 Away\r\nLocation: ${plain.url}/v1/link\r\nContent-Length: 0\r\n\r\n`;
    const away = createTlsServer(await serverPair(ours));
    const send = (socket: { end(text: string): unknown }): void => void socket.end(answer);
    away.on('upgrade', (_, socket) => send(socket));
    away.on('request', (_, response) => response.writeHead(307, { location: `${plain.url}/v1/enrol` }).end());
    await new Promise<void>((resolve) => away.listen(0, '127.0.0.1', resolve));
    keep({ close: () => new Promise((resolve) => away.close(resolve)) });
    const url = `https://127.0.0.1:${(away.address() as AddressInfo).port}`;
    const redirected = openTestLink(
      url,
      undefined,
      fastTiming,
      createSocketFactory(dialerOf([ours.certificate])),
    );
    keep(redirected.link);
    await until(() => redirected.link.state().error !== null, 'a refusal');
    expect(redirected.link.state().error).toContain('a redirect, which is never followed');
    expect((await enrolled(url, dialer)).status).toBe(307);
    expect(plain.sessions).toHaveLength(0);
    expect(plain.enrolments).toBe(0);
  });

  test('that is none, because plain HTTP answers there, is told', async () => {
    const plain = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    });
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
    keep({ close: () => new Promise((resolve) => plain.close(resolve)) });
    const url = `https://127.0.0.1:${(plain.address() as AddressInfo).port}`;
    await expect(enrolled(url, dialerOf([ours.certificate]))).rejects.toMatchObject({ code: 'DIAL_NO_TLS' });
  });

  test('is asked for without TLS on this machine alone', () => {
    const dialer = dialerOf(null);
    expect(() => dialer.options('ws://scheduler.example/v1/link')).toThrow('no safe way');
    expect(dialer.options('http://127.0.0.1:7070')).not.toHaveProperty('secureContext');
  });

  test('whose authority changes is believed from the next connection on', async () => {
    const next = await authority('next');
    let trusted: readonly string[] = [ours.certificate];
    const dialer = createDialer({ authorities: () => trusted, clock, log, proxyOf: () => null });
    const fake = await scheduler(serverPair(next));
    await expect(enrolled(fake.url, dialer)).rejects.toMatchObject({ code: 'DIAL_AUTHORITY_UNKNOWN' });
    trusted = [ours.certificate, next.certificate];
    expect((await enrolled(fake.url, dialer)).status).toBeGreaterThanOrEqual(400);
  });
});

describe('an authority by its pin', () => {
  test('is taken from the handshake over which nothing is said', async () => {
    const fake = await scheduler();
    let said = 0;
    const pin = authorityPin(ours.certificate);
    const found = await fetchPinned(dialerOf(null), fake.url, pin);
    expect(found).toBe(ours.certificate);
    for (const session of fake.sessions) said += session.messages.length;
    expect(said).toBe(0);
  });

  test('of another is refused, and so is a scheduler without TLS', async () => {
    const fake = await scheduler(serverPair(theirs));
    const pin = authorityPin(ours.certificate);
    await expect(fetchPinned(dialerOf(null), fake.url, pin)).rejects.toMatchObject({
      code: 'DIAL_PIN_OTHER',
    });
    await expect(fetchPinned(dialerOf(null), 'http://127.0.0.1:1', pin)).rejects.toMatchObject({
      code: 'DIAL_PIN_PLAIN',
    });
  });

  test('that somebody else shows behind a certificate of his own opens nothing', async () => {
    const own = await serverPair(theirs);
    const fake = await scheduler(Promise.resolve({ key: own.key, cert: `${own.cert}${ours.certificate}` }));
    const pin = authorityPin(ours.certificate);
    const found = await fetchPinned(dialerOf(null), fake.url, pin).catch(() => ours.certificate);
    await expect(enrolled(fake.url, dialerOf([found]))).rejects.toMatchObject({
      code: 'DIAL_AUTHORITY_UNKNOWN',
    });
  });

  test('ends at its deadline with one who does not answer', async () => {
    const sockets: Socket[] = [];
    const mute = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    keep({
      close: () => {
        for (const socket of sockets) socket.destroy();
        return new Promise((resolve) => mute.close(resolve));
      },
    });
    const url = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    await expect(fetchPinned(dialerOf(null), url, 'sha256-x', 200)).rejects.toThrow('no TLS within 0.2 s');
  });
});

describe('through a proxy', () => {
  /** `scheduler.test`, which only the proxy knows, and a dialler that goes through it. */
  async function behind(tls = serverPair(ours, ['scheduler.test'])): Promise<{
    fake: FakeScheduler;
    proxy: FakeProxy;
    url: string;
    dialer: Dialer;
  }> {
    const fake = await scheduler(tls);
    const proxy = keep(await startProxy({ route: (_, port) => ({ host: '127.0.0.1', port }) }));
    const through = new URL(proxy.url.replace('http://', 'http://user:hunter2@'));
    const dialer = dialerOf([ours.certificate], { proxyOf: () => through });
    return { fake, proxy, url: `https://scheduler.test:${fake.port}`, dialer };
  }

  test('link, enrolment, files and the pin go, the name is the business of the proxy, TLS that of the scheduler', async () => {
    const { fake, proxy, url, dialer } = await behind();
    const { link } = openTestLink(url, undefined, fastTiming, createSocketFactory(dialer));
    keep(link);
    await link.connected(30_000);
    expect((await enrolled(url, dialer)).status).toBeGreaterThanOrEqual(400);
    const transfer = keep(createTransfer({ url, dialer, headers: () => ({}) }, new AbortController().signal));
    for (const digit of 'abc') await transfer.missing(digit.repeat(64)).catch(() => {});
    expect(await fetchPinned(dialer, url, authorityPin(ours.certificate))).toBe(ours.certificate);
    expect(new Set(proxy.asked)).toEqual(new Set([`scheduler.test:${fake.port}`]));
    // One each: files keep theirs.
    expect(proxy.asked).toHaveLength(4);
    expect(proxy.credentials[0]).toBe(`Basic ${Buffer.from('user:hunter2').toString('base64')}`);
  });

  test('a certificate for the proxy, for localhost or for another name is none for the scheduler', async () => {
    const { url, dialer } = await behind(serverPair(ours, ['127.0.0.1', 'localhost']));
    await expect(enrolled(url, dialer)).rejects.toMatchObject({ code: 'DIAL_NAME_OTHER' });
    const byAddress = url.replace('scheduler.test', '10.9.8.7');
    await expect(enrolled(byAddress, dialer)).rejects.toMatchObject({ code: 'DIAL_NAME_OTHER' });
  });

  test.each([
    [407, 'user and password'],
    [403, 'let the proxy pass'],
    [502, 'let the proxy pass'],
  ])('that answers %i it is told that the proxy refused, without its password', async (status, remedy) => {
    const { proxy, url, dialer } = await behind();
    proxy.status = status;
    const refused = await enrolled(url, dialer).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'DIAL_PROXY_REFUSED', remedy: expect.stringContaining(remedy) });
    const { link } = openTestLink(url, undefined, fastTiming, createSocketFactory(dialer));
    keep(link);
    await until(() => link.state().error !== null, 'a refusal');
    expect(link.state().error).toContain(`(HTTP ${status})`);
    expect(`${String(refused)}${link.state().error}${JSON.stringify(refused)}`).not.toContain('hunter2');
  });

  test('that is silent it is told, and the connection to it ends', async () => {
    const proxy = keep(await startProxy());
    proxy.status = 0;
    const dialer = dialerOf([ours.certificate], {
      proxyOf: () => new URL(proxy.url),
      proxyDeadlineMs: 300,
    });
    const silent = await enrolled('https://scheduler.test', dialer).catch((error: unknown) => error);
    expect(silent).toMatchObject({ code: 'DIAL_PROXY_UNREACHABLE' });
    expect(String(silent)).toContain('no answer within 0.3 s');
    await until(() => proxy.open() === 0, 'no connection to the proxy');
  });

  test('that is not there it is told which one', async () => {
    const dialer = dialerOf([ours.certificate], { proxyOf: () => new URL('http://u:hunter2@127.0.0.1:1') });
    const gone = await enrolled('https://scheduler.test', dialer).catch((error: unknown) => error);
    expect(gone).toMatchObject({ code: 'DIAL_PROXY_UNREACHABLE' });
    expect(String(gone)).toContain('http://127.0.0.1:1 cannot be used: ECONNREFUSED');
    expect(String(gone)).not.toContain('hunter2');
  });
});

describe('a name whose servers fall silent', () => {
  test('leads the link back to its last address', async () => {
    const server = keep(await startNameServer());
    server.names.set('scheduler.test', ['127.0.0.1']);
    const fake = await scheduler(serverPair(ours, ['scheduler.test']));
    const names = createNames({
      clock,
      log,
      servers: [server.address],
      hostsFile: '/nonexistent',
      deadlineMs: 300,
    });
    const dialer = dialerOf([ours.certificate], { names });
    const { link } = openTestLink(
      `https://scheduler.test:${fake.port}`,
      undefined,
      fastTiming,
      createSocketFactory(dialer),
    );
    keep(link);
    await link.connected(30_000);
    server.names.set('scheduler.test', 'silent');
    (await fake.session(0)).socket.terminate();
    await until(() => link.state().sessions === 2, 'a second session');
  });
});
