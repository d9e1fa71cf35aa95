// The whole agent, real addon and shim, in a folder of its own, and fake schedulers for it.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Agent, type AgentOptions, startAgent } from '../../../src/agent/agent.ts';
import { INVENTORY_DEADLINE_MS } from '../../../src/agent/facts.ts';
import { type Clock, createClock } from '../../../src/base/clock.ts';
import { OFFERS_DEADLINE_MS } from '../../../src/runner/offers.ts';
import { type FakeOptions, type FakeScheduler, startFakeScheduler } from '../../fakes/scheduler.ts';
import { createKeptLog, type KeptLog } from '../../unit/link/parts.ts';

export const root = fileURLToPath(new URL('../../..', import.meta.url));

export interface AgentBed {
  /** What jobs see of the test. */
  readonly folder: string;
  readonly stateDir: string;
  readonly log: KeptLog;
  /** Closed with the bed, latest first. */
  readonly open: { close(): Promise<void> }[];
  scheduler(options?: FakeOptions): Promise<FakeScheduler>;
  /** Takes unsigned orders, as most of these schedulers sign none, unless told otherwise. */
  agent(
    change: Partial<AgentOptions> & { readonly orders?: AgentOptions['config']['orders'] },
    named?: { readonly name: string | null },
  ): Promise<Agent>;
  close(): Promise<void>;
}

/**
 * Until the agent is connected, its first hello waits for all that there is to say, however busy the machine: one that
 * learns more later makes a new session, and with the old one goes what a test has just said in it.
 */
function createPatientClock(): { readonly clock: Clock; ready(): void } {
  const real = createClock();
  let isStarting = true;
  const clock: Clock = {
    ...real,
    after(delayMs, fn) {
      const isPatience = delayMs === INVENTORY_DEADLINE_MS || delayMs === OFFERS_DEADLINE_MS;
      return real.after(isStarting && isPatience ? 60_000 : delayMs, fn);
    },
  };
  return {
    clock,
    ready() {
      isStarting = false;
    },
  };
}

export function createAgentBed(): AgentBed {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-agent-'));
  chmodSync(folder, 0o755);
  const stateDir = join(folder, 'state');
  mkdirSync(stateDir);
  const log = createKeptLog();
  const open: AgentBed['open'] = [];
  return {
    folder,
    stateDir,
    log,
    open,
    async scheduler(options = {}) {
      const fake = await startFakeScheduler(options);
      open.push(fake);
      return fake;
    },
    async agent(
      { orders = { signatures: 'optional', submitters: null }, ...change },
      { name } = { name: 'bench' },
    ) {
      const { clock, ready } = createPatientClock();
      const started = await startAgent({
        root,
        stateDir,
        metricsListen: { host: '127.0.0.1', port: 0 },
        scheduler: null,
        joinToken: null,
        config: {
          node: { name, cpus: null, memoryBytes: null, peakFlops: new Map() },
          telemetry: { periodMs: 50, windowMs: 200 },
          devices: { backend: 'auto', toolPeriodMs: 5000, retestMs: 60_000, kernelLog: null },
          simulate: null,
          policy: { classes: ['public', 'internal'], corridors: new Map() },
          jobs: {
            sandbox: 'auto',
            seccomp: 'auto',
            limits: 'auto',
            user: 'auto',
            userRange: { from: 2_000_000_000, to: 2_000_065_535 },
            processes: 4096,

            readPaths: [],
            // What jobs are to see of a test.
            writePaths: [folder],
            containerRuntime: 'none',
            pull: 'missing',
            registries: ['public'],
            pullTimeoutMs: 60_000,
            outputQuotaBytes: 1024 ** 3,
            cacheBytes: 1024 ** 3,
          },
          orders,
          protocol: { least: 1, channelBinding: 'required' },
          runner: { socket: null, user: null },
          tokenFile: null,
          caFile: null,
        },
        clock,
        log,
        version: '0.1.0',
        ...change,
      });
      started.connected(60_000).then(ready, ready);
      open.push(started);
      return started;
    },
    async close() {
      for (const part of open.splice(0).reverse()) await part.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
}

export const get = async (url: string): Promise<{ status: number; text: string }> => {
  const response = await fetch(url);
  return { status: response.status, text: await response.text() };
};

export function order(jobId: string, command: string[], orderId = 'order-1'): object {
  return { type: 'start', orderId, jobId, epoch: 1, spec: { version: 1, command } };
}
