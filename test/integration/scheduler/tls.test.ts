import { execFile } from 'node:child_process';
import type { X509Certificate } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { authorityPin, splitCertificates } from '../../../src/base/authority-pin.ts';
import { channelBinding } from '../../../src/base/channel-binding.ts';
import { type Clock, createClock } from '../../../src/base/clock.ts';
import { createSilentLog, type Log } from '../../../src/base/log.ts';
import { createDialer } from '../../../src/dial/dialer.ts';
import { fetchPinned } from '../../../src/dial/pinned.ts';
import { type Scheduler, startScheduler } from '../../../src/scheduler/scheduler.ts';
import { defaultTls, type TlsOptions } from '../../../src/scheduler/tls/tls.ts';
import { authority, serverPair, validity } from '../../fakes/certificates.ts';
import { createFastClock } from '../../fakes/fast-clock.ts';
import { fakeHost } from '../../fakes/host.ts';
import { freshFolder } from './bed.ts';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

interface Started {
  readonly scheduler: Scheduler;
  readonly folder: string;
  readonly host: string;
  readonly port: number;
  readonly messages: string[];
}

async function start(
  tls: Partial<TlsOptions>,
  stateDir = freshFolder(),
  clock: Clock = createClock(),
): Promise<Started> {
  const messages: string[] = [];
  const keep = (_: object, message: string) => void messages.push(message);
  const log: Log = { ...createSilentLog(), info: keep, warn: keep, error: keep, child: () => log };
  const scheduler = await startScheduler({
    stateDir,
    listen: { host: '127.0.0.1', port: 0 },
    tls: { ...defaultTls, mode: 'on', ...tls },
    clock,
    log,
    version: '0.1.0',
    dashboardFolder: null,
  });
  ends.push(async () => {
    await scheduler.close();
    rmSync(stateDir, { recursive: true, force: true });
  });
  const { hostname, port } = new URL(scheduler.url);
  return { scheduler, folder: join(stateDir, 'scheduler'), host: hostname, port: Number(port), messages };
}

const bundleOf = ({ folder }: Started): string => readFileSync(join(folder, 'ca.pem'), 'utf8');

/** The certificate that a new connection is shown. Rejects as TLS does. */
function shown({ host, port }: Started, ca: string): Promise<X509Certificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, ca }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) reject(new Error('no certificate'));
      else resolve(certificate);
    });
    socket.on('error', reject);
  });
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly socket: TLSSocket;
}

function call(
  { scheduler }: Started,
  ca: string,
  path: string,
  options: { method?: string; body?: string; agent?: Agent } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', body = '', agent = false } = options;
    const token = readFileSync(scheduler.tokenFile, 'utf8').trim();
    const asked = request(
      `${scheduler.url}${path}`,
      { ca, agent, method, headers: { authorization: `Bearer ${token}` } },
      (response) => {
        const chunks: Buffer[] = [];
        const socket = response.socket as TLSSocket;
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), socket }),
        );
      },
    );
    asked.on('error', reject);
    asked.end(body);
  });
}

async function until(what: string, fits: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await fits())) {
    if (performance.now() > end) throw new Error(`waited for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('a scheduler with TLS', () => {
  it('shows a certificate of its private authority, by TLS 1.3 alone', async () => {
    const started = await start({ names: ['scheduler.example'] });
    expect(started.scheduler.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const certificate = await shown(started, bundleOf(started));
    expect(certificate.checkHost('scheduler.example')).toBeDefined();
    expect(certificate.checkHost('localhost')).toBeDefined();
    expect(started.scheduler.authorityPin()).toBe(authorityPin(bundleOf(started)));
    const { host, port } = started;
    const old = new Promise((resolve, reject) => {
      connect({ host, port, maxVersion: 'TLSv1.2', rejectUnauthorized: false }, () => resolve(null)).on(
        'error',
        reject,
      );
    });
    await expect(old).rejects.toThrow(/protocol version/);
    expect((await call(started, bundleOf(started), '/v1/authorities')).body).toBe(
      JSON.stringify({ authorities: [bundleOf(started)] }),
    );
    const page = (await call(started, bundleOf(started), '/metrics')).body;
    const [, seconds] = /^flopd_scheduler_certificate_expiry_timestamp_seconds (\S+)$/m.exec(page) ?? [];
    expect(Math.floor(Number(seconds))).toBe(Date.parse(certificate.validTo) / 1000);
  });

  it('passes the strict checks of OpenSSL', async () => {
    const started = await start({});
    const { host, port, folder } = started;
    const args = ['s_client', '-connect', `${host}:${port}`, '-CAfile', join(folder, 'ca.pem')];
    const told = await new Promise<string>((resolve) => {
      const child = execFile(
        'openssl',
        [...args, '-x509_strict', '-verify_return_error', '-verify_ip', '127.0.0.1'],
        { timeout: 30_000 },
        (_, stdout) => resolve(stdout),
      );
      child.stdin?.end();
    });
    expect(told).toContain('Verify return code: 0 (ok)');
    expect(told).toContain('TLSv1.3');
  });

  it('keeps its authority over a restart', async () => {
    const stateDir = freshFolder();
    const first = await start({}, stateDir);
    const bundle = bundleOf(first);
    await first.scheduler.close();
    const second = await start({}, stateDir);
    expect(bundleOf(second)).toBe(bundle);
    await shown(second, bundle);
  });

  it('that lost its authority does not start while nodes are enrolled, and leaves the store free for one that has it again', async () => {
    const stateDir = freshFolder();
    const first = await start({}, stateDir);
    const ca = bundleOf(first);
    const token = readFileSync(first.scheduler.joinTokenFile, 'utf8').trim();
    const { publicKey } = fakeHost();
    const body = JSON.stringify({ version: 1, token, publicKey, name: 'host' });
    expect(await call(first, ca, '/v1/enrol', { method: 'POST', body })).toMatchObject({ status: 200 });
    await first.scheduler.close();
    const path = join(first.folder, 'authorities.json');
    renameSync(path, `${path}.copy`);
    await expect(start({}, stateDir)).rejects.toMatchObject({
      code: 'TLS_AUTHORITY_LOST',
      message: expect.stringContaining('1 node is enrolled'),
    });
    renameSync(`${path}.copy`, path);
    expect((await call(await start({}, stateDir), ca, '/v1/nodes')).body).toContain('"host"');
  });

  it('renews its certificate while a connection goes on (F19)', async () => {
    const started = await start({ lifetimeMs: 4000 });
    const ca = bundleOf(started);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    ends.push(() => agent.destroy());
    const kept = await call(started, ca, '/healthz', { agent });
    const before = kept.socket.getPeerX509Certificate()?.serialNumber;
    let longestMs = 0;
    let lastMs = performance.now();
    await until('another certificate', async () => {
      await call(started, ca, '/healthz', { agent });
      longestMs = Math.max(longestMs, performance.now() - lastMs);
      lastMs = performance.now();
      return (await shown(started, ca)).serialNumber !== before;
    });
    const after = await call(started, ca, '/healthz', { agent });
    expect(after.status).toBe(200);
    // The server closes a connection that rests for five seconds; so slow may a busy machine be.
    if (longestMs < 3000) expect(after.socket).toBe(kept.socket);
    expect((await shown(started, ca)).serialNumber).not.toBe(before);
  });

  it('replaces its authority so that who trusts either gets in, until the last is dropped (F19)', async () => {
    const started = await start({});
    const first = bundleOf(started);
    const firstPin = authorityPin(first);
    const rotate = (ca: string, now: boolean) =>
      call(started, ca, '/v1/authorities/rotate', { method: 'POST', body: JSON.stringify({ now }) });
    const pinned = (pin: string) => {
      const dialer = createDialer({ authorities: () => null, clock: createClock(), log: createSilentLog() });
      return fetchPinned(dialer, started.scheduler.url, pin);
    };

    expect((await rotate(first, false)).status).toBe(200);
    expect((await rotate(first, false)).status).toBe(409);
    const [, second = ''] = splitCertificates(bundleOf(started));
    expect(started.scheduler.authorityPin()).toBe(firstPin);
    await shown(started, first);
    await expect(shown(started, second)).rejects.toThrow(/self-signed certificate in certificate chain/);

    expect((await rotate(first, true)).status).toBe(200);
    const secondPin = authorityPin(second);
    expect(started.scheduler.authorityPin()).toBe(secondPin);
    expect(splitCertificates(bundleOf(started))).toEqual([second, first]);
    for (const ca of [first, second, first + second]) await shown(started, ca);
    expect(await pinned(firstPin)).toBe(first);
    expect(await pinned(secondPin)).toBe(second);

    const steady = await rotate(first, true);
    expect(JSON.parse(steady.body)).toMatchObject({ phase: 'steady', signs: secondPin, previous: null });
    await shown(started, second);
    await expect(shown(started, first)).rejects.toThrow(/self-signed certificate in certificate chain/);
    await expect(pinned(firstPin)).rejects.toMatchObject({ code: 'DIAL_PIN_OTHER' });
  });

  it("takes the operator's own files, and new ones while it runs; a bad pair changes nothing", async () => {
    const stateDir = freshFolder();
    const certFile = join(stateDir, 'cert.pem');
    const keyFile = join(stateDir, 'key.pem');
    const by = await authority();
    const put = ({ cert, key }: { cert: string; key: string }): void => {
      writeFileSync(keyFile, key, { mode: 0o600 });
      writeFileSync(certFile, cert);
    };
    put(await serverPair(by, ['localhost']));
    const started = await start({ mode: 'auto', certFile, keyFile }, stateDir, createFastClock(50));
    // Of its likely names, the one that the certificate names.
    expect(started.scheduler.url).toMatch(/^https:\/\/localhost:/);
    expect(started.scheduler.authorityPin()).toBeNull();
    const at = { ...started, host: 'localhost' };
    const { serialNumber } = await shown(at, by.certificate);

    writeFileSync(certFile, (await serverPair(by)).cert);
    await until('the bad pair is told of', async () =>
      started.messages.includes('the new certificate cannot be used; the one before stays'),
    );
    expect((await shown(at, by.certificate)).serialNumber).toBe(serialNumber);

    put(await serverPair(by, ['localhost']));
    await until('the new pair', async () => (await shown(at, by.certificate)).serialNumber !== serialNumber);
    const answer = await call(started, by.certificate, '/v1/authorities/rotate', {
      method: 'POST',
      body: '{}',
    });
    expect(answer.status).toBe(409);
    expect(JSON.parse(answer.body).error.code).toBe('TLS_FILES');
  });

  it('with an expired certificate runs and says so, and who dials it learns why it is refused (F19)', async () => {
    const stateDir = freshFolder();
    const by = await authority();
    const dayMs = 86_400_000;
    const old = await serverPair(by, ['127.0.0.1'], validity(Date.now() - dayMs, Date.now() - 60_000));
    writeFileSync(join(stateDir, 'cert.pem'), old.cert);
    writeFileSync(join(stateDir, 'key.pem'), old.key, { mode: 0o600 });
    const started = await start(
      { certFile: join(stateDir, 'cert.pem'), keyFile: join(stateDir, 'key.pem') },
      stateDir,
    );
    expect(started.messages).toContain('the certificate has expired: nobody will connect');
    const refused = await shown(started, by.certificate).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'CERT_HAS_EXPIRED' });
    const dialer = createDialer({
      authorities: () => [by.certificate],
      clock: createClock(),
      log: createSilentLog(),
    });
    expect(dialer.explain(started.scheduler.url, refused).message).toMatch(/expired/);
  });

  it('ends at once though strangers stand at its door', async () => {
    const started = await start({});
    const { host, port } = started;
    const { connect: connectPlain } = await import('node:net');
    const strangers = [1, 2, 3].map(() => connectPlain(port, host));
    for (const each of strangers) each.on('error', () => {});
    await Promise.all(strangers.map((each) => new Promise((resolve) => each.once('connect', resolve))));
    const gone = Promise.all(strangers.map((each) => new Promise((resolve) => each.once('close', resolve))));
    await started.scheduler.close();
    await gone;
  });
});

describe('the binding of a TLS channel', () => {
  it('is the same at both ends, another for each connection, and empty without TLS', async () => {
    const pair = await serverPair(await authority());
    const bindings: string[] = [];
    const server = createServer({ ...pair, minVersion: 'TLSv1.3' }, (socket) => {
      bindings.push(channelBinding(socket));
      socket.on('error', () => {});
      socket.end('.');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ends.push(() => void server.close());
    const { port } = server.address() as { port: number };
    const own: string[] = [];
    for (let count = 0; count < 2; count += 1) {
      await new Promise<void>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
          own.push(channelBinding(socket));
          socket.resume();
        });
        socket.on('error', reject);
        socket.on('close', () => resolve());
      });
    }
    expect(own).toEqual(bindings);
    expect(own[0]).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(own[0]).not.toBe(own[1]);
    const { Socket } = await import('node:net');
    expect(channelBinding(new Socket())).toBe('');
  });
});
