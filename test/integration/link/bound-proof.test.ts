// The proof of a node is good for one connection: not for a second one, and not for one that somebody in the middle makes
// of it, however good his certificate. The real agent's identity and link, the real scheduler, TLS on loopback.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { enrol } from '../../../src/agent/enrolment.ts';
import { buildHello } from '../../../src/agent/hello.ts';
import { type Identity, takeIdentity } from '../../../src/agent/identity.ts';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createDialer } from '../../../src/dial/dialer.ts';
import { createLink, type Link } from '../../../src/link/link.ts';
import { createSocketFactory } from '../../../src/link/socket.ts';
import { type Challenge, type Hello, LINK_PATH, SUBPROTOCOL } from '../../../src/protocol/control.ts';
import { type Scheduler, startScheduler } from '../../../src/scheduler/scheduler.ts';
import { makeAuthority, makeLeaf } from '../../../src/scheduler/tls/certificate.ts';
import { defaultTls } from '../../../src/scheduler/tls/tls.ts';
import { fakeInventory } from '../../fakes/agent.ts';
import { startTlsMiddle, type TlsMiddle } from '../../fakes/tls-middle.ts';

const clock = createClock();
const log = createSilentLog();
const validity = { fromMs: Date.now() - 3_600_000, untilMs: Date.now() + 86_400_000 };
const authority = await makeAuthority('test', validity);
const names = ['localhost', '127.0.0.1'];

let folder = '';
let scheduler: Scheduler;
let middle: TlsMiddle;
let identity: Identity;
const links: Link[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-bound-'));
  const leaf = await makeLeaf(names, authority, validity);
  const certFile = join(folder, 'cert.pem');
  const keyFile = join(folder, 'key.pem');
  const caFile = join(folder, 'ca.pem');
  writeFileSync(certFile, leaf.certificate);
  writeFileSync(keyFile, leaf.key, { mode: 0o600 });
  writeFileSync(caFile, authority.certificate);
  scheduler = await startScheduler({
    stateDir: join(folder, 'scheduler'),
    listen: { host: '127.0.0.1', port: 0 },
    tls: { ...defaultTls, mode: 'on', certFile, keyFile, names },
    clock,
    log,
    version: '0.1.0',
    dashboardFolder: null,
  });
  const { certificate, key } = await makeLeaf(names, authority, validity);
  middle = await startTlsMiddle({
    certificate,
    key,
    authority: authority.certificate,
    schedulerPort: Number(new URL(scheduler.url).port),
  });
  const stateDir = join(folder, 'agent-state');
  const token = readFileSync(scheduler.joinTokenFile, 'utf8').trim();
  const enrolment = await enrol({ url: scheduler.url, token, stateDir, name: 'host', caFile });
  identity = takeIdentity(join(stateDir, 'agent'), enrolment, 'boot-1', clock);
});

afterEach(async () => {
  for (const link of links.splice(0)) await link.close();
});

afterAll(async () => {
  await middle.close();
  await scheduler.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The link of an agent; what it said hello with is kept. */
function openLink(url: string, change: (hello: Hello, challenge: Challenge) => Hello = (hello) => hello) {
  const hellos: { readonly hello: Hello; readonly binding: string }[] = [];
  const link = createLink({
    url,
    connect: createSocketFactory(
      createDialer({ authorities: () => [authority.certificate], clock, log, proxyOf: () => null }),
    ),
    async hello(challenge, binding) {
      const parts = {
        identity,
        name: 'host',
        version: '0.1.0',
        audit: null,
        inventory: fakeInventory(1, 1e9),
        devices: [],
        jobs: [],
      };
      const hello = change(buildHello(parts, challenge, binding), challenge);
      hellos.push({ hello, binding });
      return hello;
    },
    handlers: {
      order: async () => ({ outcome: 'refused', code: 'JOB_NONE', message: 'no jobs here' }),
      contact() {},
      report: () => null,
      exec: () => ({ input() {}, resize() {}, signal() {}, stop() {}, credit() {} }) as never,
      acknowledged() {},
      delivered() {},
      readOutput: async () => null,
    },
    clock,
    log,
    random: () => 0,
  });
  links.push(link);
  link.open();
  return { link, hellos };
}

const throughTheMiddle = (): string => `https://localhost:${middle.port}`;

describe('a proof', () => {
  it('is good for the connection that it was made for, and names it', async () => {
    const { link, hellos } = openLink(scheduler.url);
    await link.connected(20_000);
    expect(Buffer.from(hellos[0]?.binding ?? '', 'base64url')).toHaveLength(32);
  });

  it('that somebody in the middle passes on is refused, though the agent believes his certificate', async () => {
    const { link, hellos } = openLink(throughTheMiddle());
    await expect
      .poll(() => link.state().error ?? '', { timeout: 20_000 })
      .toContain('the proof does not fit');
    // The agent has made it, over a connection that it took for that of its scheduler.
    expect(hellos[0]?.binding).not.toBe('');
    expect(Buffer.concat(middle.heard[0] ?? []).includes('Upgrade: websocket')).toBe(true);
    expect(link.state().sessions).toBe(0);
  });

  it('of version 1, which names no connection, is not made for whoever says that the scheduler is older', () => {
    const challenge: Challenge = {
      type: 'challenge',
      schedulerId: identity.schedulerId(),
      versions: { min: 1, max: 1 },
      nonce: 'A'.repeat(44),
    };
    expect(() => identity.prove(challenge, 'some channel')).toThrow(
      expect.objectContaining({ code: 'AGENT_DOWNGRADE', remedy: expect.any(String) }),
    );
  });

  it('that claims to be of version 1 is refused by a scheduler that both could speak version 2 with', async () => {
    const { link } = openLink(scheduler.url, (hello) => ({ ...hello, versions: { min: 1, max: 1 } }));
    await expect
      .poll(() => link.state().error ?? '', { timeout: 20_000 })
      .toContain('the proof does not fit');
  });

  it('of a recorded handshake opens no second one', async () => {
    const { link, hellos } = openLink(scheduler.url);
    await link.connected(20_000);
    const recorded = JSON.stringify(hellos[0]?.hello);
    const socket = new WebSocket(`${scheduler.url.replace('https', 'wss')}${LINK_PATH}`, SUBPROTOCOL, {
      ca: authority.certificate,
    });
    const said: string[] = [];
    socket.on('message', (data) => {
      said.push(String(data));
      if (said.length === 1) socket.send(recorded);
    });
    const code = await new Promise<number>((resolve) => socket.on('close', resolve));
    expect([code, JSON.parse(said[1] ?? '{}').code]).toEqual([4401, 'LINK_PROOF']);
    expect(link.state().connected).toBe(true);
  });
});
