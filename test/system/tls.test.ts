// The built program beyond loopback: TLS by a private authority from the first start on, a joined node, certificates and
// authorities that change under running sessions and jobs (F19).
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type PeerCertificate } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bed, createBed, type Daemon, until } from './bed.ts';

interface NodeRow {
  readonly name: string;
  readonly state: string;
}

let bed: Bed;
let up: Daemon;
let agent: Daemon;
beforeAll(async () => {
  bed = createBed();
  up = await bed.start(['up', '--listen', '0.0.0.0:0', '--tls-lifetime', '10s', '--log-level', 'info']);
});
afterAll(() => bed.close());

const bundle = (): string => readFileSync(join(bed.stateDir, 'scheduler', 'ca.pem'), 'utf8');

function shown(ca: string): Promise<PeerCertificate> {
  const { hostname: host, port } = new URL(up.endpoint.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), ca }, () => {
      const certificate = socket.getPeerCertificate();
      socket.destroy();
      resolve(certificate);
    });
    socket.on('error', reject);
  });
}

async function nodes(): Promise<readonly NodeRow[]> {
  const { code, stdout, stderr } = await bed.run(['nodes', '-o', 'json']);
  if (code !== 0) throw new Error(stderr);
  return (JSON.parse(stdout) as { nodes: NodeRow[] }).nodes;
}

/** How often the scheduler lost a node so far. */
const lost = (): number => (up.stderr() + up.stdout()).split('node disconnected').length - 1;

describe('flopd up beyond loopback', () => {
  it('speaks TLS, finds its own way in, and tells how others join', async () => {
    expect(up.endpoint.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    await until('how others join', () =>
      /join: .*flopd join https:\/\/.*flopd scheduler token create/.test(up.stdout()),
    );
    const { code, stdout } = await bed.run(['run', '--', 'echo', 'hello over TLS']);
    expect([code, stdout]).toEqual([0, 'hello over TLS\n']);
  });

  it('takes a node that joins by a pinned token and trusts the authority of that pin alone', async () => {
    const made = await bed.run(['scheduler', 'token', 'create', '-o', 'json']);
    const text = JSON.stringify(made.stdout);
    const [token = ''] = /flopd-join-[\w-]+\.sha256-[\w-]{43}/.exec(text) ?? [];
    expect(token).not.toBe('');
    const own = { FLOPD_STATE_DIR: join(bed.folder, 'node') };
    const wrong = `${token.slice(0, -43)}${'A'.repeat(43)}`;
    const refused = await bed.run(['join', up.endpoint.url, '--token', wrong], { environment: own });
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/its authority is another/);
    const joined = await bed.run(['join', up.endpoint.url, '--token', token], { environment: own });
    expect([joined.code, joined.stderr]).toEqual([0, '']);
    expect(readFileSync(join(bed.folder, 'node', 'agent', 'authorities.pem'), 'utf8')).toBe(bundle());
    agent = await bed.start(['agent'], { environment: own });
    await until(
      'two nodes',
      async () => (await nodes()).filter(({ state }) => state === 'ready').length === 2,
    );
  });

  it('renews its certificate and replaces its authority while sessions and a job go on (F19)', async () => {
    const before = await shown(bundle());
    const lostBefore = lost();
    const job = bed.spawn([
      'run',
      '--name',
      'long',
      '--',
      'sh',
      '-c',
      `echo begun; while [ ! -s ${bed.shared('go')} ]; do sleep 0.05; done; echo done`,
    ]);
    await until(
      'a renewed certificate',
      async () => (await shown(bundle())).serialNumber !== before.serialNumber,
    );

    const first = bundle();
    const learned = (count: number) => () =>
      readFileSync(join(bed.folder, 'node', 'agent', 'authorities.pem'), 'utf8').split('BEGIN').length ===
      count + 1;
    // By somebody who has only a login: each step is followed before the next, so that no step locks them out.
    const boss = {
      environment: {
        XDG_CONFIG_HOME: join(bed.folder, 'boss'),
        FLOPD_STATE_DIR: join(bed.folder, 'nowhere'),
      },
    };
    const made = await bed.run(['user', 'create', 'boss', '--role', 'admin']);
    const [token = ''] = /flopd-user-[\w-]+\.sha256-[\w-]{43}/.exec(made.stdout) ?? [];
    writeFileSync(join(bed.folder, 'boss-token'), token, { mode: 0o600 });
    const login = await bed.run(
      ['login', up.endpoint.url, '--token-file', join(bed.folder, 'boss-token')],
      boss,
    );
    expect([login.code, login.stderr]).toEqual([0, '']);
    // Two that follow the job all along: by the state directory, and by that login.
    const { jobs } = JSON.parse((await bed.run(['jobs', '-o', 'json'])).stdout) as {
      jobs: { id: string; spec: { name: string | null } }[];
    };
    const followed = jobs.find(({ spec }) => spec.name === 'long')?.id ?? '';
    const follower = bed.spawn(['logs', '-f', followed], boss);
    await until('both followers', () => [job, follower].every((one) => one.stdout() === 'begun\n'));
    for (const [args, count] of [
      [['scheduler', 'ca', 'rotate'], 2],
      [['scheduler', 'ca', 'rotate', '--now'], 2],
      [['scheduler', 'ca', 'rotate', '--now'], 1],
    ] as const) {
      const { code, stderr } = await bed.run(args, boss);
      expect([code, stderr]).toEqual([0, '']);
      await until(`the node trusts ${count}`, learned(count));
    }
    await until('three records', async () => {
      const { stdout } = await bed.run(['audit', 'list', '--kind', 'authority.rotated', '-o', 'json']);
      const { records } = JSON.parse(stdout) as { records: { facts: { by: string; phase: string } }[] };
      const told = records.map(({ facts }) => `${facts.by} ${facts.phase}`);
      return told.join(', ') === 'boss announced, boss succeeded, boss steady';
    });
    expect((await bed.run(['whoami'], boss)).code).toBe(0);
    await expect(shown(first)).rejects.toThrow(/self-signed/);
    const { subject } = new X509Certificate(bundle());
    expect((await shown(bundle())).issuer.CN).toBe(subject.replace('CN=', ''));

    expect(lost()).toBe(lostBefore);
    // Their connections end now, and the authority that they began with is good no more.
    up.kill('SIGKILL');
    await up.finished();
    const { host } = new URL(up.endpoint.url);
    up = await bed.start([
      'up',
      '--listen',
      host,
      '--tls',
      'on',
      '--tls-lifetime',
      '10s',
      '--log-level',
      'info',
    ]);
    const wrote = await bed.run(['run', '--', 'sh', '-c', `echo x > ${join(bed.folder, 'go')}`]);
    expect(wrote.code).toBe(0);
    for (const one of [job, follower]) {
      const { code, stdout, stderr } = await one.finished();
      expect([code, stdout], stderr).toEqual([0, 'begun\ndone\n']);
    }
  });

  it('is known again by its node after a restart of that', async () => {
    agent.kill('SIGTERM');
    await agent.finished();
    agent = await bed.start(['agent'], { environment: { FLOPD_STATE_DIR: join(bed.folder, 'node') } });
    await until(
      'two nodes',
      async () => (await nodes()).filter(({ state }) => state === 'ready').length === 2,
    );
  });
});
