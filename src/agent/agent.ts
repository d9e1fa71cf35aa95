// The composition root: builds every part of the agent in boot order, hands each what it needs of the others, and
// stops them in reverse. Boot order is a promise: jobs that outlived the last agent are taken up again before
// anything touches the network.
import { hostname } from 'node:os';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { bootDaemon, type CountStart } from '../daemon/boot.ts';
import { readBootId } from '../daemon/boot-id.ts';
import { type Host, presentHost } from '../daemon/host.ts';
import type { Lifecycle } from '../daemon/lifecycle.ts';
import { createNotifier } from '../daemon/notify.ts';
import { lockStateFolder, prepareStateFolder } from '../daemon/state-folder.ts';
import { openAccelerators } from '../device/accelerators.ts';
import { decideCapacity } from '../device/capacity.ts';
import { createSlowDevices } from '../device/catalogue.ts';
import { createFigures } from '../device/figures.ts';
import { readInventory } from '../device/inventory.ts';
import { createAgentMetrics } from '../exporter/agent-metrics.ts';
import { startExporter } from '../exporter/exporter.ts';
import { createLink } from '../link/link.ts';
import { createSocketFactory } from '../link/socket.ts';
import { loadNative, nativePaths } from '../native.ts';
import { versionsFrom } from '../protocol/version.ts';
import { openNodeAudit } from '../runner/node-audit.ts';
import { createSampler } from '../telemetry/sampler.ts';
import { createAgentDialer, openAuthorities } from './authorities.ts';
import { createDeviceEnergy } from './device-energy.ts';
import { createLadderKeeper, readLadderState } from './device-health.ts';
import { createJobEnergy } from './energy.ts';
import { isTlsUrl, requireSafeUrl } from './enrolment.ts';
import { cheapInventory, gatherFacts } from './facts.ts';
import { buildHello } from './hello.ts';
import { holdersOf } from './holders.ts';
import { takeIdentity } from './identity.ts';
import { takeEnrolment } from './membership.ts';
import { type AgentRoom, prepareRoom } from './open-room.ts';
import { watchScheduler } from './refused-scheduler.ts';
import { createRejoin } from './rejoin.ts';
import { createSchedulerHeads } from './scheduler-heads.ts';
import { toldInventory } from './told-inventory.ts';
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
  /** File with the authorities of the scheduler that runs in this process; without it, as the configuration has it. */
  readonly caFile?: string | null;
  readonly config: Pick<
    Config,
    | 'node'
    | 'telemetry'
    | 'devices'
    | 'simulate'
    | 'jobs'
    | 'orders'
    | 'policy'
    | 'protocol'
    | 'tokenFile'
    | 'caFile'
    | 'runner'
  >;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** Where the host is read from and what surrounds the process; tests pass their own. */
  readonly host?: Host;
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
export function startAgent(options: AgentOptions): Promise<Agent> {
  return bootDaemon(options, (lifecycle, count) => build(options, lifecycle, count));
}

async function build(options: AgentOptions, lifecycle: Lifecycle, count: CountStart): Promise<Agent> {
  const { root, stateDir, config, clock, log, version } = options;
  const { procRoot, sysRoot, environment, random, onCrash } = options.host ?? presentHost();

  const folder = prepareStateFolder(stateDir);
  const paths = nativePaths(root);
  const { native, problem } = loadNative(paths.addon);
  if (problem !== null) log.warn({}, problem);
  if (native !== null) lifecycle.onStop('lock', lockStateFolder(folder, native));

  const starts = count(folder, onCrash);
  const prepared = prepareRoom(
    {
      folder,
      stateDir,
      config,
      native,
      paths,
      procRoot,
      sysRoot,
      environment,
      clock,
      log: log.child({ room: 'job' }),
    },
    config.runner.socket,
  );

  const hostName = hostname() || 'unnamed';
  const enrolment = await takeEnrolment(options, config.node.name ?? hostName);
  const name = config.node.name ?? enrolment.givenName ?? hostName;
  const url = options.scheduler ?? enrolment.schedulerUrl;
  requireSafeUrl(url);
  const authorities = openAuthorities({ folder, caFile: options.caFile ?? config.caFile, log });
  // The token of an `up` comes with an address of this very process.
  const tlsOnly = isTlsUrl(enrolment.schedulerUrl) && options.joinToken === null;
  const dialer = createAgentDialer(authorities, tlsOnly, { clock, log: log.child({ room: 'dial' }) });
  const bootId = readBootId(procRoot);
  const identity = takeIdentity(folder, enrolment, bootId, clock);
  const audit = openNodeAudit({ folder, nodeId: identity.nodeId, clock, log });
  lifecycle.onStop('audit', () => audit.close());

  const rejoin = createRejoin({ identity, url, stateDir, name, joinToken: options.joinToken, dialer, log });

  const capacity = decideCapacity(config.node, procRoot, sysRoot);
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
        limitations,
        procRoot,
        sysRoot,
      }),
    onLate: () => link.renew('the inventory is complete now'),
    clock,
    log,
  });

  const energy = createJobEnergy(capacity.cpus, clock, (record) => deviceEnergy.meter(record));
  const isUnbound = config.protocol.channelBinding === 'off';
  if (isUnbound) log.warn({}, 'this node proves who it is for any connection (protocol.channelBinding: off)');
  const takesNone = (): string | null => starts.safeMode() ?? jobs.problem();
  const versions = versionsFrom(config.protocol.least);
  const schedulers = watchScheduler(audit.record);
  const heads = createSchedulerHeads({
    folder,
    schedulerId: identity.schedulerId,
    audit: audit.record,
    clock,
    log,
  });
  const link = createLink({
    versions,
    url,
    connect: schedulers.sockets(createSocketFactory(dialer)),
    unknownNode: () => rejoin.unknownNode(),
    hello: async (challenge, binding) => {
      await schedulers.hello(() => rejoin.meet(challenge));
      const [inventory] = await Promise.all([
        facts.settled(),
        bank.settled(DEVICES_PATIENCE_MS),
        jobs.settled(),
      ]);
      const told = toldInventory(inventory, starts.safeMode(), jobs.offered());
      const parts = {
        identity,
        name,
        version,
        audit: jobs.offered().audit,
        agentAudit: audit.head(),
        inventory: told,
        devices: [],
        jobs: jobs.held(),
        versions,
      };
      return schedulers.hello(async () => buildHello(parts, challenge, isUnbound ? '' : binding));
    },
    credential(told) {
      if (!identity.adopt(told))
        log.warn({}, 'a credential was not kept: it is not a later one of this node');
      jobs.learnCredential(told);
    },
    handlers: {
      // Told before the answer, so that no order is sent after one that was refused for it.
      order: (order) => jobs.order(order).finally(() => link.refusing(takesNone())),
      contact(sinceMs, heartbeatMs) {
        jobs.contact(sinceMs, heartbeatMs);
        link.refusing(takesNone());
      },
      report: (jobId, epoch) => jobs.report(jobId, epoch),
      acknowledged: (jobId, epoch) => jobs.acknowledged(jobId, epoch),
      delivered: (jobId, epoch, stdout, stderr) => jobs.delivered(jobId, epoch, stdout, stderr),
      readOutput: (jobId, epoch, stream, offset, limit) =>
        jobs.readOutput(jobId, epoch, stream, offset, limit),
      exec: (order, events) => jobs.exec(order, events),
      keys: (statements) => jobs.learnKeys(statements),
      authorities: authorities.learn,
      schedulerHead: heads.told,
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
  let started: AgentRoom | null = null;
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
      started?.devicesChanged();
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
  const jobs = await prepared.open({
    identity,
    capacity,
    bank,
    energy,
    link,
    metrics,
    url,
    dialer,
    audit,
    safeMode: starts.safeMode,
    random,
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
    takesNone,
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
  link.refusing(takesNone());
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
