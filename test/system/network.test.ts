// An agent on a host that takes no connections, on networks that fail: everything through a proxy over TLS, what passes
// over the cable, half-open connections (F13), and a network card that goes (F42).
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Bed,
  createBed,
  type Daemon,
  type Finished,
  type Running,
  root,
  type StartOptions,
  until,
} from './bed.ts';
import {
  BLACKHOLE,
  canNetwork,
  capture,
  createNetworks,
  type Networks,
  NO_NEW_INBOUND,
  PROXY_ONLY,
  PROXY_PORT,
  SCHEDULER_HOST,
  SCHEDULER_PORT,
} from './networks.ts';
import { readPackets, readRecords, serverVersion, streamOf } from './packets.ts';

const DEADLINE_MS = 60_000;
const target = `${SCHEDULER_HOST}:${SCHEDULER_PORT}`;

describe.skipIf(!canNetwork())('an agent whose host takes no connections from outside', () => {
  let bed: Bed;
  let networks: Networks;
  let scheduler: Daemon;
  let agent: Daemon;
  let agentOptions: StartOptions;
  let proxy: ReturnType<typeof spawn>;
  let proxied = '';

  /** A verb of the operator, on the scheduler's host. */
  const client = (...args: string[]): Promise<Finished> => bed.run(args, { network: networks.scheduler });
  const good = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await client(...args);
    expect(code, `${args.join(' ')}: ${stderr}`).toBe(0);
    return stdout;
  };
  const nodeState = async (): Promise<string | undefined> => {
    const { nodes } = JSON.parse(await good('nodes', '-o', 'json')) as { nodes: { state: string }[] };
    return nodes[0]?.state;
  };
  const untilNode = (state: string): Promise<unknown> =>
    until(`the node is ${state}`, async () => (await nodeState()) === state, DEADLINE_MS);
  const startScheduler = (): Promise<Daemon> =>
    bed.start(['scheduler', '--listen', `0.0.0.0:${SCHEDULER_PORT}`, '--tls-name', SCHEDULER_HOST], {
      network: networks.scheduler,
    });

  beforeAll(async () => {
    bed = createBed();
    networks = createNetworks();
    networks.filter(`${NO_NEW_INBOUND}${PROXY_ONLY}`);
    scheduler = await startScheduler();
    const program = join(root, 'test', 'fakes', 'programs', 'connect-proxy.mjs');
    proxy = spawn(
      'nsenter',
      [`--net=${networks.scheduler}`, process.execPath, program, SCHEDULER_HOST, String(PROXY_PORT)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    proxy.stdout?.on('data', (chunk: Buffer) => {
      proxied += chunk.toString();
    });
    await until('the proxy listens', () => proxied.startsWith('ready'));
    const environment = {
      FLOPD_STATE_DIR: join(bed.folder, 'agent-state'),
      FLOPD_NODE_NAME: 'behind',
      HTTPS_PROXY: `http://${SCHEDULER_HOST}:${PROXY_PORT}`,
    };
    agentOptions = { environment, network: networks.agent };
    const token = JSON.parse(await good('scheduler', 'token', 'create', '-o', 'json')) as { token: string };
    expect(token.token).toMatch(/\.sha256-[\w-]{43}$/);
    const joined = await bed.run(['join', `https://${target}`, '--token', token.token], agentOptions);
    expect(joined.code, joined.stderr).toBe(0);
    agent = await bed.start(['agent'], agentOptions);
    await untilNode('ready');
  }, DEADLINE_MS);
  afterAll(async () => {
    proxy?.kill('SIGTERM');
    await bed?.close();
    networks?.close();
  });

  test(
    'does everything through an HTTP proxy: start, output, files, commands beside, cancel, drain',
    async () => {
      mkdirSync(join(bed.folder, 'in'));
      writeFileSync(join(bed.folder, 'in', 'number'), '41');
      const ran = await good(
        ...['run', '--input', join(bed.folder, 'in'), '--output', `sum:${join(bed.folder, 'sum')}`],
        ...['--', 'sh', '-c', 'echo started; expr "$(cat in/number)" + 1 >sum'],
      );
      expect(ran).toBe('started\n');
      expect(readFileSync(join(bed.folder, 'sum'), 'utf8')).toBe('42\n');

      const long = (await good('run', '--detach', '--', 'sh', '-c', 'echo here; exec sleep 600')).trim();
      await until('its output', async () => (await good('logs', long)).includes('here'));
      expect(await good('exec', long, '--', 'echo', 'beside')).toBe('beside\n');
      await good('cancel', long);
      expect((await client('wait', long)).code).toBe(143);

      await good('drain', 'behind', '--reason', 'test');
      const waits = (await good('run', '--detach', '--', 'true')).trim();
      expect(await good('job', waits, '-o', 'json')).toContain('"PENDING"');
      await good('resume', 'behind');
      expect((await client('wait', waits)).code).toBe(0);

      const targets = proxied.trim().split('\n').slice(1);
      expect(new Set(targets)).toEqual(new Set([target]));
      // The agent's one session, the two requests of joining, and its files.
      expect(targets.length).toBeGreaterThanOrEqual(4);
    },
    DEADLINE_MS,
  );

  test(
    'has one TCP connection to its scheduler, in TLS 1.3, and a sample costs few bytes on it',
    async () => {
      agent.kill('SIGTERM');
      await agent.finished();
      networks.filter(NO_NEW_INBOUND);
      const { HTTPS_PROXY: _, ...direct } = agentOptions.environment as Record<string, string>;
      agentOptions = { ...agentOptions, environment: direct };
      const captured = await capture(networks);
      agent = await bed.start(['agent'], agentOptions);
      await untilNode('ready');
      expect(await good('run', '--', 'echo', 'over the cable')).toBe('over the cable\n');
      const SECONDS = 3;
      const since = Date.now();
      await until('some seconds of telemetry', () => Date.now() - since > SECONDS * 1000);
      const packets = readPackets(await captured.stop());

      const syns = packets.filter(({ isSyn }) => isSyn);
      expect(new Set(syns.map(({ from, to }) => `${from} ${to}`)).size).toBe(1);
      expect(syns[0]?.to).toBe(target);
      const own = syns[0]?.from ?? '';
      const answer = readRecords(streamOf(packets, target));
      expect(serverVersion(answer)).toBe(0x0304);
      // Nothing in clear after the hellos of both.
      const sent = readRecords(streamOf(packets, own));
      expect(sent.slice(1).every(({ type }) => type === 23 || type === 20)).toBe(true);
      const quiet = packets.filter(({ from, atMs }) => from === own && atMs > since + 500);
      const lastMs = Math.max(...quiet.map(({ atMs }) => atMs));
      const bytes = quiet.reduce((sum, one) => sum + one.bytes.length, 0);
      const perSecond = bytes / ((lastMs - since - 500) / 1000);
      // A window a second and a heartbeat every other, with all that WebSocket and TLS put around them.
      expect(perSecond).toBeGreaterThan(40);
      expect(perSecond).toBeLessThan(600);
    },
    DEADLINE_MS,
  );

  test(
    'has a half-open connection noticed at both ends, and comes back by itself (F13)',
    async () => {
      const job = (await good('run', '--detach', '--', 'sh', '-c', 'echo before; exec sleep 600')).trim();
      await until('its output', async () => (await good('logs', job)).includes('before'));
      const before = [sockets(agent), sockets(scheduler)];
      // From here on each is gone for the other, and nobody says so.
      networks.filter(BLACKHOLE);
      await untilNode('unreachable');
      await until('the agent has noticed', () => agent.stdout().includes('nothing came from'), DEADLINE_MS);
      await until('the dead socket is closed', () => sockets(scheduler) < (before[1] ?? 0), DEADLINE_MS);
      networks.filter(NO_NEW_INBOUND);
      await untilNode('ready');
      expect(await good('job', job, '-o', 'json')).toContain('"RUNNING"');
      await until('no socket is left over', () => sockets(agent) <= (before[0] ?? 0), DEADLINE_MS);
      await good('cancel', job);
    },
    2 * DEADLINE_MS,
  );

  test(
    'goes on over another cable when its network card goes (F42)',
    async () => {
      const job = (await good('run', '--detach', '--', 'sh', '-c', 'echo before; exec sleep 600')).trim();
      await until('its output', async () => (await good('logs', job)).includes('before'));
      networks.cutFirstCable();
      const session = (): number => agent.stdout().split('connected to the scheduler').length;
      const had = session();
      await until('a new session', () => session() > had, DEADLINE_MS);
      await untilNode('ready');
      expect(await good('exec', job, '--', 'echo', 'still here')).toBe('still here\n');
      const page = networks.onAgent('cat', '/proc/net/dev').stdout;
      expect(page).not.toContain('a0:');
      const fetched = `fetch(${JSON.stringify(`${agent.endpoint.metricsUrl}/metrics`)}).then(async (r) => process.stdout.write(await r.text()))`;
      const metrics = await until('the metrics without the card', () => {
        const { stdout } = networks.onAgent(process.execPath, '-e', fetched);
        return stdout !== '' && !stdout.includes('interface="a0"') && stdout;
      });
      expect(metrics).toMatch(/interface="a1"/);
      await good('cancel', job);
    },
    2 * DEADLINE_MS,
  );
});

/** Sockets that a process holds. */
function sockets({ pid }: Pick<Running, 'pid'>): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}
