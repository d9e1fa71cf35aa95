// Jobs over crashes of the agent: killed for real at every named fault point and at random, then started again. The
// recorded history is judged, not the end alone: one start, one result, its bytes the same each time it is told.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type FaultPoint, faultPoints } from '../../../src/job/fault-points.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { digestOf } from '../../unit/files/parts.ts';
import { addonPath, freshFolder, isAlive, shimPath, specOf, until } from './executor/harness.ts';
import { startStoreServer } from './store-server.ts';

interface Fact {
  readonly kind: string;
  readonly jobId: string;
  readonly epoch: number;
  readonly pid?: number;
  readonly result?: JobResult;
  readonly answer?: { outcome: string; code: string | null };
}

let built = '';
let entry = '';
beforeAll(async () => {
  built = mkdtempSync(join(tmpdir(), 'flopd-agent-'));
  entry = join(built, 'agent.mjs');
  const bundle = await rolldown({
    input: join(import.meta.dirname, 'agent-process.ts'),
    platform: 'node',
    logLevel: 'silent',
  });
  await bundle.write({ file: entry, format: 'esm', codeSplitting: false });
  await bundle.close();
});
afterAll(() => rmSync(built, { recursive: true, force: true }));

/** A file that is there may still be empty. */
const hasWritten = (path: string): boolean => existsSync(path) && readFileSync(path, 'utf8').endsWith('\n');

/** Null for the last line of an agent that was killed while it wrote it. */
function parseFact(line: string): Fact | null {
  try {
    return JSON.parse(line) as Fact;
  } catch {
    return null;
  }
}

/** One life of an agent over a state folder; its facts are added to the common history. */
function live(folder: string, history: Fact[], point = '-', pass = 1, storeUrl = '') {
  const child: ChildProcess = spawn(
    process.execPath,
    [entry, folder, shimPath, addonPath, point, String(pass), storeUrl],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  const dead = new Promise<string | null>((resolve) => child.on('close', (_, signal) => resolve(signal)));
  let isDead = false;
  void dead.then(() => {
    isDead = true;
  });
  if (child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      const fact = parseFact(line);
      if (fact === null) return;
      history.push(fact);
      if (fact.kind === 'ended')
        say({
          type: 'acknowledged',
          jobId: fact.jobId,
          epoch: fact.epoch,
          stdoutBytes: fact.result?.stdoutBytes,
        });
    });
  child.stdin?.on('error', () => {});
  const say = (order: object): void => void child.stdin?.write(`${JSON.stringify(order)}\n`);
  return { say, dead, isDead: () => isDead, kill: () => child.kill('SIGKILL') };
}

const start = (jobId: string, command: string[], more: object = {}) => ({
  type: 'start',
  orderId: 'order-1',
  jobId,
  epoch: 1,
  array: null,
  devices: [] as string[],
  spec: specOf({ command, resources: { cpus: 0.1 }, ...more }),
});
const resultsOf = (history: Fact[], jobId: string): JobResult[] =>
  history
    .filter((fact) => fact.kind === 'ended' && fact.jobId === jobId)
    .flatMap(({ result }) => result ?? []);

describe('an agent killed at', () => {
  const stopPoints = new Set<FaultPoint>(['stop.written', 'stop.synced', 'stop.told']);
  test.each(faultPoints)('%s loses no job and runs none twice', { timeout: 60_000 }, async (point) => {
    const folder = freshFolder();
    const history: Fact[] = [];
    // The job appends to a file outside its folder, so that a second run would show.
    const effects = join(folder, 'effects');
    const server = await startStoreServer();
    await server.has('first');
    const first = live(folder, history, point, 1, server.access.url);
    const stopped = stopPoints.has(point);
    const files = {
      inputs: [{ path: 'in', kind: 'file', digest: digestOf('first'), sizeBytes: 5 }],
      outputs: ['out'],
    };
    const begin = `(cat in; echo more) > out; echo run >> ${effects}`;
    const order = stopped
      ? start('job-1', ['sh', '-c', `${begin}; exec sleep 1000`], files)
      : start('job-1', ['sh', '-c', `${begin}; echo out; sleep 0.05; exit 3`], files);
    const stop = { type: 'stop', orderId: 'order-2', jobId: 'job-1', epoch: 1, by: 'alice', reason: 'test' };
    first.say(order);
    if (stopped) {
      await until(() => hasWritten(effects), 'the job runs');
      first.say(stop);
    }
    expect(await first.dead).toBe('SIGKILL');
    const second = live(folder, history, '-', 1, server.access.url);
    second.say(order); // as the scheduler does when it had no answer
    if (stopped) second.say(stop);
    await until(
      () => resultsOf(history, 'job-1').length > 0 && !existsSync(join(folder, 'jobs', 'job-1.1')),
      'the job is settled and its folder gone',
      20_000,
    );
    const results = resultsOf(history, 'job-1');
    expect(results[0]).toMatchObject(
      stopped ? { state: 'CANCELLED', stoppedBy: 'alice' } : { state: 'FAILED', exitCode: 3, stdoutBytes: 4 },
    );
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect(readFileSync(effects, 'utf8')).toBe('run\n');
    expect(results[0]?.outputs).toMatchObject([
      { path: 'out', digest: digestOf('firstmore\n'), problem: null },
    ]);
    expect(server.store.sizeOf(digestOf('firstmore\n'))).toBe(10);
    second.kill();
    await second.dead;
  });
});

describe('devices of a job', () => {
  const onDevice = (jobId: string, effects: string) => ({
    ...start(jobId, ['sh', '-c', `echo ${jobId} $VISIBLE >> ${effects}; exec sleep 1000`], {
      environment: { VISIBLE: 'all' },
      resources: { cpus: 0.1, accelerators: { count: 1 } },
    }),
    devices: ['GPU-0'],
  });
  const failed = { type: 'deviceFailed', ids: ['GPU-0'] };

  test.each<FaultPoint>(['shim.started', 'stop.written', 'stop.synced', 'stop.told', 'exit.seen'])(
    'stay with it, and a fault ends it, over a kill -9 at %s',
    { timeout: 60_000 },
    async (point) => {
      const folder = freshFolder();
      const history: Fact[] = [];
      const effects = join(folder, 'effects');
      const first = live(folder, history, point);
      first.say(onDevice('job-1', effects));
      if (point !== 'shim.started') {
        await until(() => hasWritten(effects), 'the job runs');
        first.say(failed);
      }
      expect(await first.dead).toBe('SIGKILL');
      const second = live(folder, history);
      await until(() => hasWritten(effects), 'the job runs');
      second.say(onDevice('job-2', effects));
      await until(
        () => history.some(({ kind, jobId }) => kind === 'answer' && jobId === 'job-2'),
        'job-2 is answered',
      );
      // As the bank does after every start, for a device that is still ill.
      second.say(failed);
      await until(() => resultsOf(history, 'job-1').length > 0, 'the job is settled', 20_000);
      const [result] = resultsOf(history, 'job-1');
      expect(result).toMatchObject({ state: 'FAILED', endKind: 'deviceFault', stoppedBy: 'node' });
      expect(result?.cause).toContain('device GPU-0: it has fallen off the bus (xid-79)');
      const answer = history.find(({ kind, jobId }) => kind === 'answer' && jobId === 'job-2')?.answer;
      const ran = readFileSync(effects, 'utf8').trim().split('\n');
      // Refused while job-1 held the device; taken when that had ended before.
      if (answer?.outcome !== 'accepted') expect(answer?.code).toBe('JOB_DEVICE_BUSY');
      expect(ran.filter((line) => line === 'job-1 GPU-0')).toHaveLength(1);
      expect(ran.every((line) => line.endsWith(' GPU-0'))).toBe(true);
      second.say({ type: 'stop', orderId: 'order-3', jobId: 'job-2', epoch: 1, by: 'alice', reason: 'test' });
      if (answer?.outcome === 'accepted')
        await until(() => resultsOf(history, 'job-2').length > 0, 'the second job is settled', 20_000);
      second.kill();
      await second.dead;
    },
  );
});

test('300 short jobs over an agent that is killed again and again: each runs once and ends once, with its own code', {
  timeout: 120_000,
}, async () => {
  const folder = freshFolder();
  const history: Fact[] = [];
  const effects = join(folder, 'effects');
  const orders = Array.from({ length: 300 }, (_, i) =>
    start(`job-${i}`, [
      'sh',
      '-c',
      `echo ${i} >> ${effects}; sleep 0.${String(i % 20).padStart(2, '0')}; exit ${i % 256}`,
    ]),
  );
  const settled = (): number =>
    new Set(history.filter(({ kind }) => kind === 'ended').map(({ jobId }) => jobId)).size;
  let seed = 7;
  for (let agent = 0; settled() < orders.length; agent += 1) {
    const one = live(folder, history);
    const known = new Set(history.filter(({ kind }) => kind === 'ended').map(({ jobId }) => jobId));
    for (const order of orders) if (!known.has(order.jobId)) one.say(order);
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const lifeMs = agent < 5 ? 300 + (seed % 700) : 60_000;
    const endMs = Date.now() + lifeMs;
    await until(() => settled() === orders.length || Date.now() > endMs, 'this life is over', 70_000);
    one.kill();
    await one.dead;
  }
  for (const { jobId } of orders) {
    const results = resultsOf(history, jobId);
    expect(results[0], jobId).toMatchObject({ exitCode: Number(jobId.slice(4)) % 256 });
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
  }
  const ran = readFileSync(effects, 'utf8').trim().split('\n');
  expect(ran.length).toBe(300);
  expect(new Set(ran).size).toBe(300);
});

test('an agent that is killed leaves its job running, and the next has all its output and its code', async () => {
  const folder = freshFolder();
  const history: Fact[] = [];
  const first = live(folder, history);
  const gate = join(folder, 'gate');
  const script = `echo 1; echo 2; while [ ! -e ${gate} ]; do sleep 0.05; done; for i in 3 4 5 6 7 8; do echo $i; done; exit 9`;
  first.say(start('job-1', ['sh', '-c', script]));
  await until(
    () => ['output', 'started'].every((kind) => history.some((fact) => fact.kind === kind)),
    'the job has written',
  );
  first.kill();
  await first.dead;
  const pid = history.find(({ kind }) => kind === 'started')?.pid ?? 0;
  expect(isAlive(pid)).toBe(true);
  live(folder, history);
  writeFileSync(gate, '');
  await until(() => resultsOf(history, 'job-1').length > 0, 'the job is settled');
  expect(resultsOf(history, 'job-1')[0]).toMatchObject({ state: 'FAILED', exitCode: 9, stdoutBytes: 16 });
  expect(new Set(history.filter(({ kind }) => kind === 'started').map((fact) => fact.pid)).size).toBe(1);
  await until(
    () => readdirSync(join(folder, 'jobs')).filter((name) => name.startsWith('job-')).length === 0,
    'its folder is gone',
  );
});
