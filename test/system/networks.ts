// Two hosts in network namespaces of their own, joined by two cables: one for the scheduler (and a proxy), one for the
// agent. The scheduler's address is reached over either cable, the first one preferred. Nothing of it is seen outside.
import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { until } from './bed.ts';

/** Where the scheduler and the proxy are, as the agent's host knows them. */
export const SCHEDULER_HOST = '10.213.9.1';
export const SCHEDULER_PORT = 7443;
export const PROXY_PORT = 3128;

/** Whether this machine lets us make network namespaces and filter packets in them. */
export function canNetwork(): boolean {
  if (process.getuid?.() !== 0) return false;
  return (
    spawnSync('unshare', [
      '--net',
      'sh',
      '-c',
      'nft add table inet x && tcpdump --version && nsenter --version',
    ]).status === 0
  );
}

export interface Networks {
  /** Paths of the namespaces. */
  readonly scheduler: string;
  readonly agent: string;
  /** Sets the packet filter of the agent's host; an empty text takes it away. */
  filter(rules: string): void;
  /** Runs something on the agent's host. */
  onAgent(...command: readonly string[]): SpawnSyncReturns<string>;
  /** Takes the first cable out, for good. */
  cutFirstCable(): void;
  close(): void;
}

/** Nothing that was not asked for from within comes in. */
export const NO_NEW_INBOUND = `
  chain input {
    type filter hook input priority 0; policy drop;
    iif "lo" accept
    ct state established,related accept
  }
`;
/** All ways to the scheduler but the proxy are shut. */
export const PROXY_ONLY = `
  chain output {
    type filter hook output priority 0; policy accept;
    tcp dport ${SCHEDULER_PORT} reject with tcp reset
  }
`;
/** Every packet is lost on the cables, both ways. */
export const BLACKHOLE = `
  chain input {
    type filter hook input priority 0; policy drop;
    iif "lo" accept
  }
  chain output {
    type filter hook output priority 0; policy drop;
    oif "lo" accept
  }
`;

export function createNetworks(): Networks {
  // Of which run it is: test/leftovers of another one leaves it alone.
  const mark = `${process.env.FLOPD_TEST_RUN ?? 'flopd-test-alone'}-${randomBytes(3).toString('hex')}`;
  const [scheduler, agent] = [`${mark}-s`, `${mark}-a`];
  const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });
  for (const name of [scheduler, agent]) {
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
  }
  ip('-n', scheduler, 'addr', 'add', `${SCHEDULER_HOST}/32`, 'dev', 'lo');
  for (const cable of [0, 1]) {
    ip(
      'link',
      'add',
      `s${cable}`,
      'netns',
      scheduler,
      'type',
      'veth',
      'peer',
      'name',
      `a${cable}`,
      'netns',
      agent,
    );
    ip('-n', scheduler, 'addr', 'add', `10.213.${cable}.1/24`, 'dev', `s${cable}`);
    ip('-n', agent, 'addr', 'add', `10.213.${cable}.2/24`, 'dev', `a${cable}`);
    ip('-n', scheduler, 'link', 'set', `s${cable}`, 'up');
    ip('-n', agent, 'link', 'set', `a${cable}`, 'up');
    const way = ['via', `10.213.${cable}.1`, 'dev', `a${cable}`, 'metric', String(10 + cable)];
    ip('-n', agent, 'route', 'add', `${SCHEDULER_HOST}/32`, ...way);
  }
  const path = (name: string): string => `/run/netns/${name}`;
  const onAgent = (...command: readonly string[]): SpawnSyncReturns<string> =>
    spawnSync('nsenter', [`--net=${path(agent)}`, ...command], { encoding: 'utf8' });
  return {
    scheduler: path(scheduler),
    agent: path(agent),
    onAgent,
    filter(rules) {
      const text = `table inet flopd\ndelete table inet flopd\ntable inet flopd {${rules}}\n`;
      const set = spawnSync('nsenter', [`--net=${path(agent)}`, 'nft', '-f', '-'], {
        input: text,
        encoding: 'utf8',
      });
      if (set.status !== 0) throw new Error(set.stderr);
    },
    cutFirstCable: () => ip('-n', agent, 'link', 'del', 'a0'),
    close() {
      for (const name of [scheduler, agent]) ip('netns', 'del', name);
    },
  };
}

export interface Capture {
  /** Ends the capture; resolves with what it saw, as a pcap file. */
  stop(): Promise<Buffer>;
}

/** All packets of the scheduler's port on the agent's first cable, until stopped. */
export async function capture(networks: Networks): Promise<Capture> {
  const child = spawn(
    'nsenter',
    [
      `--net=${networks.agent}`,
      ...[
        'tcpdump',
        '-i',
        'a0',
        '-U',
        '-s',
        '0',
        '-B',
        '8192',
        '-w',
        '-',
        'tcp',
        'port',
        String(SCHEDULER_PORT),
      ],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const chunks: Buffer[] = [];
  let told = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    told += chunk.toString();
  });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await until('tcpdump listens', () => {
    if (child.exitCode !== null) throw new Error(told);
    return told.includes('listening on');
  });
  return {
    async stop() {
      child.kill('SIGINT');
      await gone;
      return Buffer.concat(chunks);
    },
  };
}
