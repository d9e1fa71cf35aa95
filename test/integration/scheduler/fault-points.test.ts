// A scheduler that is killed for real at each of its named points, one life after the other on one store, while an agent
// with real shims stays: every job that it was given runs once and ends as it did.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enrol } from '../../../src/agent/enrolment.ts';
import { buildHello } from '../../../src/agent/hello.ts';
import { takeIdentity } from '../../../src/agent/identity.ts';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createExecutors } from '../../../src/job/executor/catalogue.ts';
import { createOrderDoor } from '../../../src/job/order-check.ts';
import { createJobs } from '../../../src/job/supervisor.ts';
import { KEYS_FILE, openTrust } from '../../../src/job/trust.ts';
import { createLink, type Link } from '../../../src/link/link.ts';
import { loadNative } from '../../../src/native.ts';
import type { JobView } from '../../../src/protocol/api.ts';
import { noAudit } from '../../../src/protocol/audit.ts';
import { type SchedulerFaultPoint, schedulerFaultPoints } from '../../../src/scheduler/fault-points.ts';
import { fakeInventory } from '../../fakes/agent.ts';
import { ownPort } from '../../fakes/own-port.ts';
import { addonPath, bootId, shimPath } from '../job/executor/harness.ts';

const DEADLINE_MS = 40_000;
let folder = '';
let entry = '';
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-points-'));
  // Inside the checkout, where the bundle finds its packages.
  const cache = join(import.meta.dirname, '..', '..', '.cache');
  mkdirSync(cache, { recursive: true });
  entry = join(mkdtempSync(join(cache, 'scheduler-')), 'scheduler.mjs');
  const bundle = await rolldown({
    input: join(import.meta.dirname, 'scheduler-process.ts'),
    platform: 'node',
    external: ['libsql'],
    logLevel: 'silent',
  });
  await bundle.write({ file: entry, format: 'esm', codeSplitting: false });
  await bundle.close();
});
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  rmSync(join(entry, '..'), { recursive: true, force: true });
});

async function until<T>(what: string, read: () => Promise<T | null> | T | null): Promise<T> {
  for (const end = Date.now() + DEADLINE_MS; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
    const value = await read();
    if (value !== null) return value;
    if (Date.now() > end) throw new Error(`in ${DEADLINE_MS} ms it did not come to: ${what}`);
  }
}

function live(port: number, point: SchedulerFaultPoint | '-') {
  const child = spawn(process.execPath, [entry, folder, String(port), point], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const isDead = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const ready = once(child.stdout ?? child, 'data');
  return { child, isDead, ready: Promise.race([ready, once(child, 'close')]) };
}

test('killed at each of its points, it loses no job and has none run twice', {
  timeout: 180_000,
}, async () => {
  const port = await ownPort();
  const url = `http://127.0.0.1:${port}`;
  const effects = join(folder, 'effects');
  appendFileSync(effects, '');
  let scheduler = live(port, '-');
  await scheduler.ready;
  const secret = (name: string): string => readFileSync(join(folder, 'scheduler', name), 'utf8').trim();
  const agent = await startAgent(url, secret('join-token'));
  const call = async (method: string, path: string, body?: object): Promise<JobView | null> => {
    try {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer ${secret('token')}` },
        body: body === undefined ? null : JSON.stringify(body),
      });
      return response.ok ? ((await response.json()) as JobView) : null;
    } catch {
      return null;
    }
  };

  /** Jobs that the scheduler said it has, by the point of their life. */
  const accepted = new Map<SchedulerFaultPoint, string>();
  for (const point of schedulerFaultPoints) {
    scheduler.child.kill('SIGKILL');
    await until('the last life is over', () => (scheduler.isDead() ? true : null));
    scheduler = live(port, point);
    await scheduler.ready;
    const isCancel = point.startsWith('cancel.');
    const line = `echo ${point} >> ${effects}; echo out; echo err >&2`;
    const spec = {
      version: 1,
      name: point,
      command: ['sh', '-c', isCancel ? `${line}; exec sleep 1000` : `${line}; exit 3`],
      resources: { cpus: 0.1 },
    };
    // A client tries until it is answered, or the point has been passed.
    const job = await until(
      `a job for ${point}`,
      async () => (await call('POST', '/v1/jobs', spec)) ?? (scheduler.isDead() ? undefined : null),
    );
    if (job !== undefined) accepted.set(point, job.id);
    if (isCancel && job !== undefined) {
      await until('it runs', () => (readFileSync(effects, 'utf8').includes(point) ? true : null));
      await call('POST', `/v1/jobs/${job.id}/cancel`, {});
    }
    await until(`the scheduler was killed at ${point}`, () => (scheduler.isDead() ? true : null));
    expect(scheduler.child.signalCode).toBe('SIGKILL');
  }
  scheduler = live(port, '-');
  await scheduler.ready;
  // A wish that was lost with its scheduler was not answered: its user asks again.
  for (const [point, id] of accepted)
    if (point.startsWith('cancel.'))
      await until(`${point}: asked again`, () => call('POST', `/v1/jobs/${id}/cancel`, {}));
  for (const [point, id] of accepted) {
    const job = await until(`the end of ${point}`, async () => {
      const seen = await call('GET', `/v1/jobs/${id}`);
      return seen?.result === null ? null : seen;
    });
    if (point.startsWith('cancel.')) expect(job, point).toMatchObject({ state: 'CANCELLED', epoch: 1 });
    else
      expect(job, point).toMatchObject({
        state: 'FAILED',
        epoch: 1,
        result: { exitCode: 3, stdoutBytes: 4, stderrBytes: 4 },
      });
  }
  const ran = readFileSync(effects, 'utf8').trim().split('\n');
  for (const [point, id] of accepted)
    expect(ran.filter((one) => one === point).length, `${point}: ${id}`).toBe(1);
  await until('nothing is left on the node', () =>
    agent.link.figures().factsWaiting === 0 && agent.jobs.held().length === 0 ? true : null,
  );
  await agent.close();
  expect(existsSync(join(folder, 'agent', 'journal'))).toBe(true);
});

/** A node in this process: the real job room, link and shims. */
async function startAgent(url: string, token: string) {
  const enrolment = await enrol({ url, token, stateDir: folder, name: 'host' });
  const agentFolder = join(folder, 'agent');
  const clock = createClock();
  const log = createSilentLog();
  const identity = takeIdentity(agentFolder, enrolment, bootId, clock);
  const { native } = loadNative(addonPath);
  const link: Link = createLink({
    url,
    hello: async (challenge, binding) =>
      buildHello(
        {
          identity,
          name: 'host',
          version: '0.1.0',
          audit: null,
          inventory: fakeInventory(100, 1e12),
          devices: [],
          jobs: jobs.held(),
        },
        challenge,
        binding,
      ),
    handlers: {
      order: (order) => door.order(order),
      keys: (statements) => door.learnKeys(statements),
      contact: (sinceMs, heartbeatMs) => jobs.contact(sinceMs, heartbeatMs),
      report: (jobId, epoch) => jobs.report(jobId, epoch),
      exec: (order, events) => door.exec(order, events),
      acknowledged: (jobId, epoch) => jobs.acknowledged(jobId, epoch),
      delivered: (jobId, epoch, stdout, stderr) => jobs.delivered(jobId, epoch, stdout, stderr),
      readOutput: (jobId, epoch, stream, offset, limit) =>
        jobs.readOutput(jobId, epoch, stream, offset, limit),
    },
    clock,
    log,
    random: () => 0,
  });
  const jobs = await createJobs({
    folder: agentFolder,
    nodeId: identity.nodeId,
    bootId,
    executors: createExecutors({ shimPath, native, clock, log }),
    capacity: { cpus: 100, memoryBytes: 1e12 },
    environment: {},
    native,
    clock,
    log,
    events: {
      started: (...told) => link.started(...told),
      progress() {},
      outputGrew: (...grown) => link.outputGrew(...grown),
      ended: (result) => link.ended(result),
    },
  });
  const door = createOrderDoor({
    jobs,
    nodeId: identity.nodeId,
    trust: openTrust({
      path: join(agentFolder, KEYS_FILE),
      schedulerId: identity.schedulerId,
      trustsFirst: false,
      clock,
      log,
      audit: noAudit,
    }),
    signatures: 'require',
    submitters: null,
    granted() {},
    clock,
    log,
    audit: noAudit,
  });
  link.open();
  await link.connected(DEADLINE_MS);
  return {
    jobs,
    link,
    async close() {
      await link.close();
      await jobs.close();
    },
  };
}
