// The composition root: builds every part of the agent in boot order, hands each what it needs of the others, and
// stops them in reverse. Boot order is a promise: jobs that outlived the last agent are taken up again before
// anything touches the network.
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { openAccelerators } from '../device/accelerators.ts';
import { createSlowDevices } from '../device/catalogue.ts';
import { createFigures } from '../device/figures.ts';
import { readInventory } from '../device/inventory.ts';
import { createAgentMetrics } from '../exporter/agent-metrics.ts';
import { startExporter } from '../exporter/exporter.ts';
import { createExecutors } from '../job/executor/catalogue.ts';
import type { Jobs } from '../job/job.ts';
import { createJobs } from '../job/supervisor.ts';
import { createLink } from '../link/link.ts';
import { loadNative, nativePaths } from '../native.ts';
import type { HeldJob, Inventory } from '../protocol/control.ts';
import { ATTEMPT_HEADER } from '../protocol/file-api.ts';
import { createSampler } from '../telemetry/sampler.ts';
import { createDeviceEnergy } from './device-energy.ts';
import { createLadderKeeper, readLadderState } from './device-health.ts';
import { createJobEnergy } from './energy.ts';
import { type Enrolment, enrol, readEnrolment, requireSafeUrl } from './enrolment.ts';
import { cheapInventory, decideCapacity, gatherFacts } from './facts.ts';
import { buildHello } from './hello.ts';
import { readBootId, takeIdentity } from './identity.ts';
import { jobEnvironment } from './job-environment.ts';
import { openWalls } from './job-walls.ts';
import { createLifecycle, type Lifecycle } from './lifecycle.ts';
import { createNotifier } from './notify.ts';
import { createOffers } from './offers.ts';
import { createRejoin } from './rejoin.ts';
import { countStarts, type Starts } from './starts.ts';
import { lockStateFolder, prepareStateFolder } from './state-folder.ts';
import { createSurvivorWatch } from './survivors.ts';
import { createVitals } from './vitals.ts';

export interface AgentOptions {
  /** Folder of package.json; the addon and the shim lie below it. */
  readonly root: string;
  readonly stateDir: string;
  readonly metricsListen: { readonly host: string; readonly port: number };
  /** The scheduler's base URL; null for the one that this host is enrolled with. */
  readonly scheduler: string | null;
  /** Enrols this host first when it is not enrolled. */
  readonly joinToken: string | null;
  readonly config: Pick<Config, 'node' | 'telemetry' | 'devices' | 'simulate' | 'jobs' | 'tokenFile'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** Where the host is read from and what surrounds the process; tests pass their own. */
  readonly host?: Host;
}

export interface Host {
  readonly procRoot: string;
  readonly sysRoot: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly random: () => number;
  /** Calls `fn` before the process ends over an error that nobody caught; returns how to stop that. */
  readonly onCrash?: (fn: (error: unknown) => void) => () => void;
}

export interface Agent {
  readonly nodeId: string;
  readonly metricsUrl: string;
  readonly schedulerUrl: string;
  /** Resolves after the first welcome; rejects with LINK_NOT_CONNECTED after `timeoutMs`. */
  connected(timeoutMs: number): Promise<void>;
  /** Stops in reverse order, each part with a deadline. Running jobs go on. */
  close(): Promise<void>;
}

/** What the accelerators' backends may take before the scheduler is told without them; what they find follows. */
const DEVICES_PATIENCE_MS = 2000;
const heldPhases = ['accepted', 'running', 'ended'] as const;

/** Starts the agent; resolves when its local parts run. Rejects with a Fault, and then nothing is left running. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const lifecycle = createLifecycle(options.clock, options.log);
  let starts: Starts | null = null;
  try {
    return await build(options, lifecycle, (folder) => {
      starts = countStarts(folder, options.clock, options.log);
      return starts;
    });
  } catch (error) {
    (starts as Starts | null)?.failed(error);
    await lifecycle.stop();
    throw error;
  }
}

async function build(
  options: AgentOptions,
  lifecycle: Lifecycle,
  count: (folder: string) => Starts,
): Promise<Agent> {
  const { root, stateDir, config, clock, log, version } = options;
  const { procRoot, sysRoot, environment, random, onCrash } = options.host ?? presentHost();

  const folder = prepareStateFolder(stateDir);
  const paths = nativePaths(root);
  const { native, problem } = loadNative(paths.addon);
  if (problem !== null) log.warn({}, problem);
  if (native !== null) lifecycle.onStop('lock', lockStateFolder(folder, native));

  const starts = count(folder);
  lifecycle.onStop('count of starts', () => starts.close());
  lifecycle.onStop('crash', onCrash?.(starts.crashed) ?? (() => {}));
  const wallsOpening = openWalls({
    folder,
    stateDir,
    config,
    build: dirname(paths.shim),
    procRoot,
    sysRoot,
    environment,
    clock,
    log: log.child({ room: 'job' }),
  });

  const name = config.node.name ?? (hostname() || 'unnamed');
  const enrolment = await takeEnrolment(options, name);
  const url = options.scheduler ?? enrolment.schedulerUrl;
  requireSafeUrl(url);
  const bootId = readBootId(procRoot);
  const identity = takeIdentity(folder, enrolment, bootId, clock);

  const rejoin = createRejoin({ identity, url, stateDir, name, joinToken: options.joinToken, log });

  const capacity = decideCapacity(config.node, procRoot, sysRoot);
  let onOffersChange = (): void => {};
  // All of them go to the job room: one that cannot start jobs now may still take up those that run.
  const executors = createExecutors({
    shimPath: paths.shim,
    native,
    containers: {
      containedPath: paths.contained,
      nodeId: identity.nodeId,
      bootId,
      runtime: config.jobs.containerRuntime,
      pull: config.jobs.pull,
      pullTimeoutMs: config.jobs.pullTimeoutMs,
      processes: config.jobs.processes,
      environment,
      onChange: () => onOffersChange(),
    },
    clock,
    log: log.child({ room: 'job' }),
  });
  const survivors = createSurvivorWatch({
    clock,
    log: log.child({ room: 'job' }),
    folder,
    bootId,
    procRoot,
    heldBy: (jobId) => started?.held().find((job) => job.jobId === jobId)?.devices ?? [],
    unfit: (ids, finding) => bank.unfit(ids, finding),
    onChange: () => link.renew('processes of ended jobs are left, or gone'),
  });
  lifecycle.onStop('survivors', () => survivors.close());
  const offers = createOffers(executors, clock, log);
  const limitations = problem === null ? [] : [problem];
  const facts = gatherFacts({
    cheap: cheapInventory(capacity, [], limitations),
    read: async () =>
      readInventory({
        native,
        paths,
        stateDir,
        config: { jobCpus: config.node.cpus, jobMemoryBytes: config.node.memoryBytes, name },
        executors: [],
        limitations: [...limitations, ...(await wallsOpening).limitations()],
        procRoot,
        sysRoot,
      }),
    onLate: () => link.renew('the inventory is complete now'),
    clock,
    log,
  });

  const energy = createJobEnergy(capacity.cpus, clock, (record) => deviceEnergy.meter(record));
  const link = createLink({
    url,
    unknownNode: () => rejoin.unknownNode(),
    hello: async (challenge) => {
      await rejoin.meet(challenge);
      const [inventory] = await Promise.all([
        facts.settled(),
        bank.settled(DEVICES_PATIENCE_MS),
        offers.settled(),
      ]);
      onOffersChange = () => link.renew('the executors of this node have changed');
      const told = toldInventory(offers.told(inventory), starts.safeMode(), [
        ...survivors.problems(),
        ...jobs.problems(),
      ]);
      return buildHello(
        { identity, name, version, inventory: told, devices: [], jobs: jobs.held() },
        challenge,
      );
    },
    handlers: {
      async order(order) {
        if (order.type === 'stop') return jobs.stop(order);
        const answer = await jobs.start(order);
        if (answer.outcome === 'accepted')
          energy.granted(order.jobId, order.epoch, order.spec.resources.cpus, order.devices);
        return answer;
      },
      contact: (sinceMs, heartbeatMs) => jobs.contact(sinceMs, heartbeatMs),
      report: (jobId, epoch) => jobs.report(jobId, epoch),
      acknowledged: (jobId, epoch) => jobs.acknowledged(jobId, epoch),
      delivered: (jobId, epoch, stdout, stderr) => jobs.delivered(jobId, epoch, stdout, stderr),
      readOutput: (jobId, epoch, stream, offset, limit) =>
        jobs.readOutput(jobId, epoch, stream, offset, limit),
      exec: (order, events) => jobs.execs.start(order, events),
    },
    clock,
    log: log.child({ room: 'link' }),
    random,
  });

  const deviceLog = log.child({ room: 'device' });
  const deviceEnergy = createDeviceEnergy({ folder, bootId, clock, log: deviceLog });
  const figures = createFigures({
    overrides: config.node.peakFlops,
    meter: (record) => deviceEnergy.meter(record),
    clock,
    windowMs: config.telemetry.windowMs,
  });
  // The bank is there before the jobs that hold its devices.
  let started: Jobs | null = null;
  const { bank, ladder } = openAccelerators({
    ...config.devices,
    native,
    root,
    simulate: config.simulate,
    seed: identity.nodeId,
    bootId,
    saved: starts.safeMode() === null ? readLadderState(folder, deviceLog) : null,
    rate: figures.rate,
    ratingRevision: figures.ratingRevision,
    held: () => started?.heldDevices() ?? new Set(),
    environment,
    clock,
    log: deviceLog,
    onChange(records) {
      figures.update(records);
      energy.devices(records);
      link.devices(records);
      keeper.look();
    },
    onFailed: (id, fault) => started?.deviceFailed([id], fault),
  });
  const keeper = createLadderKeeper(folder, ladder, clock, deviceLog);
  lifecycle.onStop('devices', async () => {
    bank.close();
    await deviceEnergy.close();
    keeper.close();
  });

  const metrics = createAgentMetrics({ version });
  lifecycle.onStop('metrics', () => metrics.close());
  const jobs = await createJobs({
    folder,
    nodeId: identity.nodeId,
    bootId,
    executors: executors.map(survivors.watch),
    capacity,
    environment: jobEnvironment(environment),
    devices: bank,
    walls: await wallsOpening,
    native,
    draining: starts.safeMode,
    isCareful: starts.safeMode() !== null,
    clock,
    log: log.child({ room: 'job' }),
    files: {
      cacheBytes: config.jobs.cacheBytes,
      access: (jobId, epoch) => ({ url, headers: () => fileHeaders(link.fileTicket(), jobId, epoch) }),
    },
    energy: (jobId, epoch) => energy.settle(jobId, epoch),
    events: {
      started(jobId, epoch, pid, startedAtMs) {
        energy.started(jobId, epoch);
        link.started(jobId, epoch, pid, startedAtMs);
      },
      progress: (...told) => link.progress(...told),
      outputGrew: (...grown) => link.outputGrew(...grown),
      settled: ({ state }) => metrics.countEndedJob(state),
      ended(result) {
        link.ended(result);
      },
    },
  });
  started = jobs;
  lifecycle.onStop('jobs', () => jobs.close());
  for (const result of jobs.unsettled()) link.ended(result);

  const sampler = createSampler({
    native,
    clock,
    procRoot,
    sysRoot,
    periodMs: config.telemetry.periodMs,
    windowMs: config.telemetry.windowMs,
    slowDevices: [...createSlowDevices({ stateDir, clock, procRoot, sysRoot }), ...bank.slowDevices],
    derivations: figures.derivations,
    vendors: bank.nativeVendors,
    kernelLog: config.devices.kernelLog,
    ownerOf: (number) => bank.ownerOf(number),
    onDevices: () => bank.refresh(),
    onWindow(window) {
      bank.window(window);
      deviceEnergy.look();
      energy.window(window);
      link.window(window);
    },
    log: log.child({ room: 'telemetry' }),
  });
  lifecycle.onStop('sampler', () => sampler.close());
  // Events reach the scheduler at once, not with the next window.
  native?.watchDevices(() => bank.refresh());
  lifecycle.onStop('device events', () => native?.watchDevices(null));

  metrics.beforePage(() => {
    metrics.setSchedulerConnected(link.state().connected);
    metrics.setDroppedWindows(link.figures().windowsDropped);
    metrics.setReader(sampler.totals());
    const held = jobs.held();
    for (const phase of heldPhases) metrics.setJobs(phase, held.filter((job) => job.phase === phase).length);
  });

  const vitals = createVitals({
    lastWindowMs: native === null ? null : () => sampler.lastWindowMonotonicMs(),
    windowMs: config.telemetry.windowMs,
    runningCount: () => jobs.runningCount(),
    linkState: () => link.state(),
    schedulerUrl: url,
    safeMode: starts.safeMode,
    clock,
  });
  const exporter = await startExporter({
    listen: options.metricsListen,
    latest: () => sampler.latest(),
    inventory: () => facts.inventory(),
    devices: () => ({ records: bank.records(), heldBy: holdersOf(jobs.held()) }),
    version,
    windowMs: config.telemetry.windowMs,
    health: () => vitals.health(),
    metrics,
    clock,
    log: log.child({ room: 'exporter' }),
  });
  lifecycle.onStop('exporter', () => exporter.close());

  lifecycle.onStop('link', () => link.close());
  link.open();

  const notifier = createNotifier({
    native,
    environment,
    pid: process.pid,
    stuck: () => vitals.stuck(),
    status: () => vitals.status(),
    clock,
    log,
  });
  lifecycle.onStop('notifier', () => notifier.stopping());
  notifier.ready();
  starts.ready(() => link.renew('safe mode is over'));

  return {
    nodeId: identity.nodeId,
    metricsUrl: exporter.url,
    schedulerUrl: url,
    connected: (timeoutMs) => link.connected(timeoutMs),
    close: () => lifecycle.stop(),
  };
}

/** What opens the scheduler's store of files for an attempt; null without a session. */
function fileHeaders(ticket: string | null, jobId: string, epoch: number): Record<string, string> | null {
  return ticket === null
    ? null
    : { authorization: `Bearer ${ticket}`, [ATTEMPT_HEADER]: `${jobId}.${epoch}` };
}

/** Jobs by the device that they hold: looked up once per device of a page. */
function holdersOf(held: readonly HeldJob[]): (id: string) => readonly string[] {
  const holders = new Map<string, string[]>();
  for (const { jobId, devices } of held)
    for (const id of devices ?? []) holders.set(id, [...(holders.get(id) ?? []), jobId]);
  return (id) => holders.get(id) ?? [];
}

function presentHost(): Host {
  return {
    procRoot: '/proc',
    sysRoot: '/sys',
    environment: process.env,
    random: Math.random,
    onCrash(fn) {
      process.on('uncaughtExceptionMonitor', fn);
      return () => void process.off('uncaughtExceptionMonitor', fn);
    },
  };
}

/** As it is told: in safe mode nothing may be ordered, and what could not be taken up is said. */
function toldInventory(
  inventory: Inventory,
  safeMode: string | null,
  problems: readonly string[],
): Inventory {
  if (safeMode === null && problems.length === 0) return inventory;
  const said = [...(safeMode === null ? [] : [safeMode]), ...problems, ...inventory.limitations];
  return {
    ...inventory,
    executors: safeMode === null ? inventory.executors : [],
    limitations: said.map((sentence) => sentence.slice(0, 1024)).slice(0, 32),
  };
}

async function takeEnrolment(
  { stateDir, scheduler, joinToken }: AgentOptions,
  name: string,
): Promise<Enrolment> {
  const known = await readEnrolment(stateDir);
  if (known !== null) return known;
  if (scheduler !== null && joinToken !== null)
    return enrol({ url: scheduler, token: joinToken, stateDir, name });
  throw new Fault(
    'AGENT_NOT_ENROLLED',
    `this host has not joined a scheduler (no ${join(stateDir, 'agent', 'node.json')})`,
    {
      field: 'scheduler',
      remedy: 'run "flopd join URL --token-file FILE" first',
    },
  );
}
