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

interface Bed {
  readonly scheduler: Scheduler;
  readonly middle: TlsMiddle;
  readonly identity: Identity;
}

let bed: Bed;
/** Whose operator lets something in between end the TLS. */
let unbound: Bed;
let folder = '';
const links: Link[] = [];

async function createBed(name: string, channelBinding: 'required' | 'off'): Promise<Bed> {
  const leaf = await makeLeaf(names, authority, validity);
  const fileOf = (suffix: string): string => join(folder, `${name}-${suffix}`);
  const [certFile, keyFile, caFile] = ['cert.pem', 'key.pem', 'ca.pem'].map(fileOf) as [
    string,
    string,
    string,
  ];
  writeFileSync(certFile, leaf.certificate);
  writeFileSync(keyFile, leaf.key, { mode: 0o600 });
  writeFileSync(caFile, authority.certificate);
  const scheduler = await startScheduler({
    stateDir: fileOf('scheduler'),
    listen: { host: '127.0.0.1', port: 0 },
    tls: { ...defaultTls, mode: 'on', certFile, keyFile, names },
    channelBinding,
    clock,
    log,
    version: '0.1.0',
    dashboardFolder: null,
  });
  const { certificate, key } = await makeLeaf(names, authority, validity);
  const middle = await startTlsMiddle({
    certificate,
    key,
    authority: authority.certificate,
    schedulerPort: Number(new URL(scheduler.url).port),
  });
  const stateDir = fileOf('agent-state');
  const token = readFileSync(scheduler.joinTokenFile, 'utf8').trim();
  const enrolment = await enrol({ url: scheduler.url, token, stateDir, name: 'host', caFile });
  const identity = takeIdentity(join(stateDir, 'agent'), enrolment, 'boot-1', clock);
  return { scheduler, middle, identity };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-bound-'));
  bed = await createBed('bound', 'required');
  unbound = await createBed('unbound', 'off');
});

afterEach(async () => {
  for (const link of links.splice(0)) await link.close();
});

afterAll(async () => {
  for (const { scheduler, middle } of [bed, unbound]) {
    await middle.close();
    await scheduler.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

/** The link of an agent; what it said hello with is kept. */
function openLink(
  url: string,
  change: (hello: Hello, challenge: Challenge) => Hello = (hello) => hello,
  { identity }: Pick<Bed, 'identity'> = bed,
  bound: (binding: string) => string = (binding) => binding,
) {
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
      const hello = change(buildHello(parts, challenge, bound(binding)), challenge);
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

const throughTheMiddle = ({ middle }: Bed): string => `https://localhost:${middle.port}`;
const same = (hello: Hello): Hello => hello;
const none = (): string => '';

describe('a proof', () => {
  it('is good for the connection that it was made for, and names it', async () => {
    const { link, hellos } = openLink(bed.scheduler.url);
    await link.connected(20_000);
    expect(Buffer.from(hellos[0]?.binding ?? '', 'base64url')).toHaveLength(32);
  });

  it('that somebody in the middle passes on is refused, though the agent believes his certificate', async () => {
    const { link, hellos } = openLink(throughTheMiddle(bed));
    await expect
      .poll(() => link.state().error ?? '', { timeout: 20_000 })
      .toContain('the proof does not fit this connection: something between ends the TLS');
    // The agent has made it, over a connection that it took for that of its scheduler.
    expect(hellos[0]?.binding).not.toBe('');
    expect(Buffer.concat(bed.middle.heard[0] ?? []).includes('Upgrade: websocket')).toBe(true);
    expect(link.state().sessions).toBe(0);
  });

  it('of version 1, which names no connection, is not made for whoever says that the scheduler is older', () => {
    const challenge: Challenge = {
      type: 'challenge',
      schedulerId: bed.identity.schedulerId(),
      versions: { min: 1, max: 1 },
      nonce: 'A'.repeat(44),
    };
    expect(() => bed.identity.prove(challenge, 'some channel')).toThrow(
      expect.objectContaining({ code: 'AGENT_DOWNGRADE', remedy: expect.any(String) }),
    );
  });

  it('that claims to be of version 1 is refused by a scheduler that both could speak version 2 with', async () => {
    const { link } = openLink(bed.scheduler.url, (hello) => ({ ...hello, versions: { min: 1, max: 1 } }));
    await expect
      .poll(() => link.state().error ?? '', { timeout: 20_000 })
      .toContain('the proof does not fit');
  });

  it('of a recorded handshake opens no second one', async () => {
    const { link, hellos } = openLink(bed.scheduler.url);
    await link.connected(20_000);
    const recorded = JSON.stringify(hellos[0]?.hello);
    const socket = new WebSocket(`${bed.scheduler.url.replace('https', 'wss')}${LINK_PATH}`, SUBPROTOCOL, {
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

  it('that names no connection passes through the middle where both sides were told so, and nowhere else', async () => {
    const through = openLink(throughTheMiddle(unbound), same, unbound, none);
    await through.link.connected(20_000);
    // Who names the connection is taken too, and refused where it is another.
    await through.link.close();
    const direct = openLink(unbound.scheduler.url, same, unbound);
    await direct.link.connected(20_000);
    await direct.link.close();
    for (const refused of [
      openLink(throughTheMiddle(unbound), same, unbound).link,
      openLink(throughTheMiddle(bed), same, bed, none).link,
      openLink(bed.scheduler.url, same, bed, none).link,
    ]) {
      await expect
        .poll(() => refused.state().error ?? '', { timeout: 20_000 })
        .toContain('the proof does not fit');
      expect(refused.state().sessions).toBe(0);
      await refused.close();
    }
  });
});
