// A campaign: thousands of short jobs over real processes that are killed at random, and in the end an account of every
// one of them. Jobs write a ledger that the harness owns, so that nothing that flopd says is believed about starts; what
// each had to do is known from the seed. All becomes one history, which the checker judges.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobView } from '../../src/protocol/api.ts';
import { finalStates } from '../../src/protocol/result.ts';
import { createDice } from '../simulation/seed.ts';
import { checkLogs, readLog } from './audit.ts';
import { checkHistory, type Violation } from './checker.ts';
import { createHistory, type Fact, lineOf } from './history.ts';
import { type CampaignNetwork, pause, startNetwork } from './network.ts';
import { digestOf, type JobPlan, MEMORY_BYTES, planBytes, planJob } from './plan.ts';

/** Jobs that may be on their way at the same time. */
const UNDER_WAY_MAX = 300;
const SUBMITTERS = 8;
const LIST_MAX = 10_000;
/** From the last submission until everything must be over. */
const REST_DEADLINE_MS = 300_000;
/** The kernel lets go of a control group some time after its last process. */
const GROUPS_DEADLINE_MS = 10_000;

export interface CampaignOptions {
  readonly root: string;
  readonly seed: number;
  readonly jobs: number;
  /** Mean time between kills of a daemon, and of a shim. */
  readonly daemonKillMs: number;
  readonly shimKillMs: number;
  readonly log: (line: string) => void;
  /** Where the history goes when it is broken; nowhere by default. */
  readonly historyFile?: string;
}

export interface CampaignReport {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** Jobs whose end was exactly what they had to do, or LOST because their shim was killed. */
  readonly exact: number;
  readonly jobs: number;
  readonly starts: number;
  readonly doubled: number;
  readonly lost: number;
  readonly outputBytes: number;
  readonly kills: { readonly agents: number; readonly scheduler: number; readonly shims: number };
  readonly byMode: Readonly<Record<string, number>>;
  readonly seconds: number;
}

export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const { root, seed, log } = options;
  const startedMs = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'flopd-campaign-'));
  const shared = join(folder, 'shared');
  mkdirSync(shared);
  for (const one of [folder, shared]) chmodSync(one, 0o755);
  const ledger = join(shared, 'ledger');
  writeFileSync(ledger, '');
  chmodSync(ledger, 0o666);
  const program = join(shared, 'job');
  execFileSync(process.env.CC ?? 'cc', ['-O1', '-o', program, join(root, 'test', 'campaign', 'job.c')]);
  const network = await startNetwork({ root, folder, agents: 2, cpus: 16, writable: shared });
  try {
    return await play({ options, network, ledger, program, startedMs });
  } finally {
    await network.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    log(`seed ${seed}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  }
}

interface Stage {
  readonly options: CampaignOptions;
  readonly network: CampaignNetwork;
  readonly ledger: string;
  readonly program: string;
  readonly startedMs: number;
}

async function play({ options, network, ledger, program, startedMs }: Stage): Promise<CampaignReport> {
  const { root, seed, jobs, log } = options;
  const history = createHistory(seed, () => performance.now() - startedMs);
  const limitsMemory = await limitsMemoryHere(network, program, ledger);
  log(
    `seed ${seed}: ${jobs} jobs; memory limits ${limitsMemory ? 'hold, so some run out of it' : 'do not hold here: no job runs out of it'}`,
  );
  const plans = Array.from({ length: jobs }, (_, index) => planJob(seed, index, limitsMemory));
  const nodes = await nodeIds(network);
  const chaos = startChaos(options, network, (agent, jobId, epoch) =>
    history.add('harness', {
      kind: 'truthLost',
      node: nodes[agent] ?? '',
      jobId,
      epoch,
      why: 'its shim was killed',
    }),
  );

  let next = 0;
  async function submitter(): Promise<void> {
    for (let plan = plans[next++]; plan !== undefined; plan = plans[next++]) {
      while ((await underWay(network)) > UNDER_WAY_MAX) await pause(100);
      for (;;) {
        const answer = await network.call('POST', '/v1/jobs', specOf(plan, program, ledger));
        if (answer?.status === 201) {
          const { id } = JSON.parse(answer.body.toString()) as JobView;
          history.add('user', { kind: 'submitted', jobId: id });
          break;
        }
        // Whether it has been taken nobody knows; a second one by the same plan does no harm.
        await pause(50);
      }
      if (plan.index % 1000 === 999) log(`  ${plan.index + 1} submitted`);
    }
  }
  await Promise.all(Array.from({ length: SUBMITTERS }, submitter));
  const kills = await chaos.end();
  const deadline = performance.now() + REST_DEADLINE_MS;
  let atRest = false;
  while (!atRest && performance.now() < deadline) {
    await pause(200);
    atRest = (await underWay(network)) === 0 && network.residue().length === 0;
  }
  if (atRest) history.add('harness', { kind: 'rest' });
  for (const what of network.residue()) history.add('harness', { kind: 'residue', what, node: null });

  const views = await listJobs(network);
  for (const group of await groupsLeft(new Set(views.map(({ id }) => id))))
    history.add('harness', { kind: 'residue', what: `the control group ${group}`, node: null });
  const starts = readLedger(ledger);
  const ids = new Set(views.map(({ id }) => id));
  const account = await settle({ views, starts, plans, network, history });
  // Stopped in order: what was recorded last is on disk then.
  for (const daemon of [...network.agents, network.scheduler]) await daemon.stop();
  const logs = {
    scheduler: readLog(root, network.stateDirs.scheduler),
    nodes: new Map(
      network.stateDirs.agents.map((stateDir, at) => [nodes[at] ?? '', readLog(root, stateDir)]),
    ),
  };
  const names = new Set(starts.map(({ name }) => name).filter((name) => ids.has(name.split('.')[0] ?? '')));
  const violations = [
    ...checkHistory(history.facts()),
    ...account.violations,
    ...checkLogs(logs, views, names),
  ];
  if (violations.length > 0 && options.historyFile !== undefined)
    writeFileSync(
      options.historyFile,
      history
        .facts()
        .map((fact: Fact) => `${lineOf(fact)}\n`)
        .join(''),
    );
  return {
    seed,
    violations,
    exact: account.exact,
    jobs: views.length,
    starts: starts.length,
    doubled: starts.length - new Set(starts.map(({ name }) => name)).size,
    lost: account.lost,
    outputBytes: account.outputBytes,
    kills,
    byMode: account.byMode,
    seconds: (performance.now() - startedMs) / 1000,
  };
}

function specOf(plan: JobPlan, program: string, ledger: string): object {
  const { index, mode, value, stdoutBytes, stderrBytes, sleepMs } = plan;
  const words = [index, mode, value, stdoutBytes, stderrBytes, sleepMs].map(String);
  return {
    version: 1,
    name: `campaign ${index}`,
    command: [program, ledger, ...words],
    resources: { cpus: 1, memoryBytes: mode === 'memory' ? MEMORY_BYTES : null },
  };
}

/** One job tells whether memory limits hold on this machine. */
async function limitsMemoryHere(network: CampaignNetwork, program: string, ledger: string): Promise<boolean> {
  const plan: JobPlan = { index: 0, mode: 'code', value: 0, stdoutBytes: 0, stderrBytes: 0, sleepMs: 0 };
  const spec = {
    ...specOf(plan, program, ledger),
    name: 'probe',
    resources: { cpus: 1, memoryBytes: MEMORY_BYTES },
  };
  const answer = await network.call('POST', '/v1/jobs', spec);
  if (answer?.status !== 201)
    throw new Error(`the probe was not taken: ${answer?.body.toString() ?? 'no answer'}`);
  const { id } = JSON.parse(answer.body.toString()) as JobView;
  for (const deadline = performance.now() + 60_000; performance.now() < deadline; await pause(50)) {
    const told = await network.call('GET', `/v1/jobs/${id}`);
    const { result, reason } = JSON.parse(told?.body.toString() ?? '{}') as JobView;
    if (result === null || result === undefined) continue;
    if (result.exitCode !== 0) throw new Error(`jobs cannot run here: ${reason}`);
    return result.limits.memory?.startsWith('cgroup') === true;
  }
  throw new Error('the probe did not end');
}

async function nodeIds(network: CampaignNetwork): Promise<readonly string[]> {
  const answer = await network.call('GET', '/v1/nodes');
  const { nodes } = JSON.parse(answer?.body.toString() ?? '{"nodes":[]}') as {
    nodes: { id: string; name: string }[];
  };
  return nodes.sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ id }) => id);
}

/** Infinity while the scheduler does not say. */
async function underWay(network: CampaignNetwork): Promise<number> {
  let count = 0;
  for (const state of ['PENDING', 'STARTING', 'RUNNING']) {
    const answer = await network.call('GET', `/v1/jobs?state=${state}&limit=${UNDER_WAY_MAX + 1}`);
    if (answer?.status !== 200) return Number.POSITIVE_INFINITY;
    count += (JSON.parse(answer.body.toString()) as { jobs: unknown[] }).jobs.length;
  }
  return count;
}

async function listJobs(network: CampaignNetwork): Promise<readonly JobView[]> {
  const all: JobView[] = [];
  for (const state of finalStates) {
    const answer = await network.call('GET', `/v1/jobs?state=${state}&limit=${LIST_MAX}`);
    if (answer?.status !== 200) throw new Error('the jobs cannot be listed');
    all.push(...(JSON.parse(answer.body.toString()) as { jobs: JobView[] }).jobs);
  }
  return all.filter(({ name }) => name !== 'probe');
}

/** Control groups of these jobs that are still there a while after everything else has gone. */
async function groupsLeft(ids: ReadonlySet<string>): Promise<readonly string[]> {
  const base = '/sys/fs/cgroup';
  const find = (): string[] =>
    readdirSync(base).flatMap((controller) => {
      const folder = join(base, controller);
      if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
      return readdirSync(folder)
        .filter((name) => ids.has(/^flopd\.(job-[0-9a-z]+)\.\d+$/.exec(name)?.[1] ?? ''))
        .map((name) => join(folder, name));
    });
  for (const deadline = performance.now() + GROUPS_DEADLINE_MS; ; await pause(100)) {
    const left = existsSync(base) ? find() : [];
    if (left.length === 0 || performance.now() > deadline) return left;
  }
}

interface LedgerLine {
  /** `job.epoch` */
  readonly name: string;
  readonly jobId: string;
  readonly epoch: number;
}

function readLedger(path: string): readonly LedgerLine[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [jobId = '', epoch = ''] = line.split(' ');
      return { name: `${jobId}.${epoch}`, jobId, epoch: Number(epoch) };
    });
}

/** Kills something now and then until it is ended; everything runs again when `end` resolves. */
function startChaos(
  options: CampaignOptions,
  network: CampaignNetwork,
  shimKilled: (agent: number, jobId: string, epoch: number) => void,
) {
  const dice = createDice(options.seed).fork('chaos');
  const kills = { agents: 0, scheduler: 0, shims: 0 };
  let isOver = false;
  const wait = async (meanMs: number): Promise<void> => {
    const end = performance.now() + meanMs * (0.3 + 1.4 * dice.random());
    while (!isOver && performance.now() < end) await pause(20);
  };
  async function daemons(): Promise<void> {
    while (!isOver) {
      await wait(options.daemonKillMs);
      if (isOver) return;
      const isScheduler = dice.chance(0.35);
      const victim = isScheduler ? network.scheduler : dice.pick(network.agents);
      if (!(await victim.kill())) continue;
      if (isScheduler) kills.scheduler += 1;
      else kills.agents += 1;
      await pause(dice.chance(0.5) ? 0 : dice.between(0, 1500));
      await victim.start();
    }
  }
  async function shims(): Promise<void> {
    while (!isOver) {
      await wait(options.shimKillMs);
      if (isOver) return;
      const killed = network.killShim((names) => dice.pick(names));
      if (killed === null) continue;
      kills.shims += 1;
      shimKilled(killed.agent, killed.jobId, killed.epoch);
    }
  }
  const work = Promise.all([daemons(), shims()]);
  work.catch(() => {});
  return {
    async end() {
      isOver = true;
      await work;
      return kills;
    },
  };
}

interface Books {
  readonly views: readonly JobView[];
  readonly starts: readonly LedgerLine[];
  readonly plans: readonly JobPlan[];
  readonly network: CampaignNetwork;
  readonly history: ReturnType<typeof createHistory>;
}

/** Compares every job with its plan, and adds to the history what the ledger and the scheduler say. */
async function settle({ views, starts, plans, network, history }: Books) {
  const violations: Violation[] = [];
  const byMode: Record<string, number> = {};
  let exact = 0;
  let lost = 0;
  let outputBytes = 0;
  const byName = new Map<string, JobView>(views.map((view) => [`${view.id}.${view.epoch}`, view]));
  for (const { name, jobId, epoch } of starts) {
    const view = byName.get(name);
    if (view === undefined) continue; // of the probe, or refused below
    const plan = plans[Number(view.name?.split(' ')[1])];
    if (plan === undefined) continue;
    const node = view.result?.nodeId ?? '';
    const isLost = view.state === 'LOST';
    const kept = (stream: 'stdout' | 'stderr') => {
      const bytes = isLost ? (view.result?.[`${stream}Bytes`] ?? 0) : plan[`${stream}Bytes`];
      return { bytes, digest: digestOf(planBytes(plan.index, stream, bytes)) };
    };
    history.add('ledger', { kind: 'orderSent', jobId, epoch, node });
    history.add('ledger', { kind: 'start', jobId, epoch, node, devices: [] });
    history.add('ledger', {
      kind: 'exit',
      jobId,
      epoch,
      node,
      exitCode: isLost || plan.mode !== 'code' ? null : plan.value,
      signal: isLost ? 9 : plan.mode === 'code' ? null : plan.value,
      outOfMemory: !isLost && plan.mode === 'memory',
      stopped: null,
      stdout: kept('stdout'),
      stderr: kept('stderr'),
    });
  }
  for (const { name, jobId } of starts)
    if (!byName.has(name) && views.some(({ id }) => id === jobId))
      violations.push({
        invariant: 'I1',
        what: `${name} was started, and is not the attempt that users see`,
      });

  const started = new Set(starts.map(({ name }) => name));
  const queue = [...views];
  async function reader(): Promise<void> {
    for (let view = queue.pop(); view !== undefined; view = queue.pop()) {
      const { id: jobId, epoch, state, result } = view;
      const plan = plans[Number(view.name?.split(' ')[1])];
      history.add('user', { kind: 'final', jobId, epoch, state, result });
      if (plan === undefined || result === null) {
        violations.push({ invariant: 'I2', what: `${jobId} is ${state} without a result: ${view.reason}` });
        continue;
      }
      if (state === 'LOST') lost += 1;
      else if (started.has(`${jobId}.${epoch}`)) byMode[plan.mode] = (byMode[plan.mode] ?? 0) + 1;
      // Whose shim was killed before the program ran was started by another one, or says that it never was.
      if (state === 'LOST' || started.has(`${jobId}.${epoch}`)) exact += 1;
      else violations.push({ invariant: 'I2', what: `${jobId} is ${state} and never ran: ${result.cause}` });
      for (const stream of ['stdout', 'stderr'] as const) {
        const bytes = await readAll(network, jobId, stream, result[`${stream}Bytes`]);
        outputBytes += bytes.length;
        const expected = digestOf(planBytes(plan.index, stream, bytes.length));
        history.add('user', {
          kind: 'stored',
          jobId,
          epoch,
          stream,
          bytes: bytes.length,
          digest: digestOf(bytes),
          expected,
        });
      }
    }
  }
  await Promise.all(Array.from({ length: SUBMITTERS }, reader));
  return { violations, exact, lost, outputBytes, byMode };
}

/** What the scheduler holds; it may still be on its way from the node. */
async function readAll(
  network: CampaignNetwork,
  id: string,
  stream: string,
  size: number,
): Promise<Uint8Array> {
  if (size === 0) return new Uint8Array();
  for (const deadline = performance.now() + 60_000; ; await pause(100)) {
    const answer = await network.call('GET', `/v1/jobs/${id}/output?stream=${stream}`);
    if (answer?.status === 200 && (answer.body.length >= size || performance.now() > deadline))
      return answer.body;
    if (performance.now() > deadline) return new Uint8Array();
  }
}
