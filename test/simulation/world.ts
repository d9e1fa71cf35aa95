// A whole history from one seed: hosts, their agents, a scheduler and its users, and everything that goes wrong. Faults
// stop after a while; then all has to come to rest, and the checker decides over what was recorded.
import { isDeepStrictEqual } from 'node:util';
import { createSilentLog, type Log } from '../../src/base/log.ts';
import { isFinalState } from '../../src/protocol/result.ts';
import { jobSpecSchema } from '../../src/protocol/spec.ts';
import type { SchedulerFaultPoint } from '../../src/scheduler/fault-points.ts';
import type { JobRecord } from '../../src/scheduler/queue/queue.ts';
import { canonical, checkHistory, type Violation } from '../campaign/checker.ts';
import { createHistory, type Fact } from '../campaign/history.ts';
import { deviceRecord } from '../fakes/device.ts';
import { startAgentLife } from './agent-life.ts';
import { createJournalStore, createOutputFiles, createQueueRows, type Weather } from './disks.ts';
import type { Keys } from './keys.ts';
import { createMachine } from './machine.ts';
import { createNetwork } from './network.ts';
import { digestOf, ENDLESS, outputBytes, specOf } from './plan.ts';
import { OUTPUT_FOLDER, type SchedulerLife, startSchedulerLife } from './scheduler-life.ts';
import { createDice } from './seed.ts';
import { createStorm, type Host } from './storm.ts';
import { createTap } from './tap.ts';
import { createTime, type Life } from './time.ts';

/** Faults begin and jobs come within this time. */
const STORM_MS = 40_000;
/** By then everything must have come to rest. */
const REST_DEADLINE_MS = 20 * 60_000;
/** How often it is looked whether it has. */
const LOOK_MS = 1000;

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly facts: readonly Fact[];
  readonly jobs: number;
  readonly events: number;
  /** Simulated time until rest. */
  readonly restMs: number;
}

export interface WorldOptions {
  /** Where the parts log to; nowhere by default. */
  readonly log?: (who: string) => Log;
  /** How long the scheduler keeps ended jobs; for ever by default. */
  readonly keepMs?: number;
}

/** Plays one seed. `keys` has at least three nodes. */
export async function playSeed(seed: number, keys: Keys, options: WorldOptions = {}): Promise<Outcome> {
  const dice = createDice(seed);
  const time = createTime();
  const wallMs = (): number => wall.clock.wallMs();
  const wall = time.newLife('world');
  const history = createHistory(seed, time.nowMs);
  const say = (what: string): void => history.add('world', { kind: 'event', what });
  const logOf = options.log ?? (() => createSilentLog());

  const network = createNetwork(time, dice.fork('network'), createTap(history.add));
  const schedulerWeather: Weather = { state: 'well' };
  const rows = createQueueRows(dice.fork('rows'), schedulerWeather);
  const files = createOutputFiles(dice.fork('files'), schedulerWeather);
  let scheduler: SchedulerLife | null = null;
  let schedulerLives = 0;
  let schedulerDoom: { readonly point: SchedulerFaultPoint; passes: number } | null = null;
  let isStorm = true;

  const hosts: Host[] = keys.nodes.slice(0, dice.between(1, 3)).map((key, at) => {
    const weather: Weather = { state: 'well' };
    return {
      key,
      weather,
      machine: createMachine({
        node: key.nodeId,
        seed,
        time,
        dice: dice.fork('machine', at),
        history,
        weather,
        wallMs,
      }),
      journal: createJournalStore(dice.fork('journal', at), weather),
      devices: at === 0 || dice.chance(0.5) ? [deviceRecord(0), deviceRecord(1)] : [],
      agent: null,
      generation: 0,
      doom: null,
    };
  });

  function startScheduler(): void {
    if (scheduler?.life.isAlive() === true) return;
    const life = time.newLife('scheduler');
    schedulerLives += 1;
    say('the scheduler starts');
    scheduler = startSchedulerLife({
      life,
      rows,
      files,
      network,
      key: keys.scheduler,
      random: dice.fork('scheduler', schedulerLives).random,
      log: logOf('scheduler'),
      history: options.keepMs === undefined ? null : { keepMs: options.keepMs, going: look },
      hit(point) {
        if (!life.isAlive() || schedulerDoom?.point !== point) return;
        schedulerDoom.passes -= 1;
        if (schedulerDoom.passes > 0) return;
        schedulerDoom = null;
        crashScheduler(`at ${point}`, dice.between(0, 8000));
      },
    });
    scheduler.core.dispatcher.place();
  }

  function crashScheduler(where: string, downMs: number): void {
    if (scheduler?.life.isAlive() !== true) return;
    say(`the scheduler is killed ${where}`);
    scheduler.life.kill();
    time.at(downMs, startScheduler);
  }

  function startAgent(host: Host): void {
    if (host.agent?.life.isAlive() === true) return;
    host.generation += 1;
    const life: Life = time.newLife(host.key.name);
    say(`the agent of ${host.key.name} starts`);
    host.agent = startAgentLife({
      key: host.key,
      generation: host.generation,
      life,
      machine: host.machine,
      journal: host.journal,
      network,
      dice: dice.fork('agent', host.key.name, host.generation),
      history,
      devices: () => host.devices,
      log: logOf(host.key.name),
      hit(point) {
        if (!life.isAlive() || host.doom?.point !== point) return;
        host.doom.passes -= 1;
        if (host.doom.passes > 0) return;
        host.doom = null;
        crashAgent(host, `at ${point}`, dice.between(0, 15_000));
      },
    });
  }

  function crashAgent(host: Host, where: string, downMs: number): void {
    if (host.agent?.life.isAlive() !== true) return;
    say(`the agent of ${host.key.name} is killed ${where}`);
    host.agent.life.kill();
    time.at(downMs, () => startAgent(host));
  }

  /** Nodes are enrolled before the story begins. */
  async function enrol(): Promise<void> {
    if (scheduler === null) return;
    for (const { key } of hosts) {
      const { nodeId, name, publicKey, enrolledAtMs } = key;
      const record = { id: nodeId, name, publicKey, enrolledAtMs, generation: 0, bootId: null };
      scheduler.core.fleet.add(record);
      await scheduler.queue.putNode(record);
    }
  }

  let submitted = 0;
  /** A request of a user; it waits at a scheduler that is stopped, and is lost at one that is not there. */
  function ask(work: (asked: SchedulerLife) => void): void {
    const asked = scheduler;
    asked?.life.run(() => work(asked));
  }

  function submit(): void {
    submitted += 1;
    const spec = jobSpecSchema.parse(specOf(submitted, dice.fork('spec', submitted)));
    ask(({ core, life }) =>
      core.dispatcher.submit(spec, { owner: 'local' }).then(
        (job) => {
          if (life.isAlive()) history.add('user', { kind: 'submitted', jobId: job.id });
        },
        () => {},
      ),
    );
  }

  /** Jobs whose cancellation the scheduler has answered: nobody asks a second time. */
  const answered = new Set<string>();
  function cancelSome(fits: (job: JobRecord) => boolean): void {
    ask(({ life, queue, core }) => {
      const jobs = queue
        .jobs({ limit: 100 })
        .filter((job) => !isFinalState(job.state) && !answered.has(job.id) && fits(job));
      if (jobs.length === 0 || queue.failure() !== null) return;
      const { id } = dice.pick(jobs);
      history.add('user', { kind: 'cancelAsked', jobId: id, by: 'alice' });
      core.dispatcher.cancel(id, 'alice', 'enough').then(
        () => {
          // While the disk is full the answer comes before the wish is stored, and says so.
          if (life.isAlive() && queue.failure() === null) answered.add(id);
        },
        () => {},
      );
    });
  }
  /** Jobs without an end of their own. */
  function cancelEndless(): void {
    cancelSome(({ spec }) => spec.command[0] === ENDLESS);
    if (!isStorm) time.at(5000, cancelEndless);
  }

  const strike = createStorm({
    time,
    dice,
    history,
    network,
    say,
    hosts,
    schedulerWeather,
    scheduler: () => scheduler?.life ?? null,
    crashAgent,
    startAgent,
    crashScheduler,
    doomScheduler(point, passes) {
      schedulerDoom = { point, passes };
    },
    loseStore() {
      history.add('world', { kind: 'storeLost' });
      for (const fact of history.facts())
        if (fact.kind === 'resultAcknowledged') settledBefore.add(`${fact.jobId}.${fact.epoch}`);
      crashScheduler('and its store removed', dice.between(100, 8000));
      rows.wipe();
      shown.clear();
    },
    cancel: () => cancelSome(() => true),
    drain(nodeId, forMs) {
      const why = { by: 'alice', reason: 'maintenance', forMs };
      ask(({ core }) => void core.drains.drain(nodeId, null, why).catch(() => {}));
    },
  });

  /** Whatever is still broken is mended. */
  function calm(): void {
    isStorm = false;
    say('calm');
    schedulerDoom = null;
    schedulerWeather.state = 'well';
    for (const host of hosts) {
      host.doom = null;
      host.weather.state = 'well';
    }
    cancelEndless();
    ask(({ core }) => {
      for (const { key } of hosts) void core.drains.resume(key.nodeId, null, 'operator').catch(() => {});
    });
  }

  /** Ends that have been seen, by job. */
  const shown = new Map<string, string>();
  function look(): void {
    if (scheduler?.life.isAlive() !== true) return;
    for (const job of scheduler.queue.jobs({ limit: 1000 })) {
      const { id: jobId, state, epoch, result } = job;
      const stored = rows.jobs().find((row) => row.id === jobId);
      // What is in memory alone may still be undone.
      if (stored === undefined || !isFinalState(state)) continue;
      const durable = JSON.parse(stored.record) as { state: string; result: unknown };
      if (durable.state !== state || !isDeepStrictEqual(durable.result ?? null, result)) continue;
      const text = canonical({ epoch, state, result });
      if (shown.get(jobId) === text) continue;
      shown.set(jobId, text);
      history.add('user', { kind: 'final', jobId, epoch, state, result });
    }
  }

  function isAtRest(): boolean {
    if (scheduler?.life.isAlive() !== true || scheduler.queue.failure() !== null) return false;
    const counts = scheduler.queue.counts();
    if (counts.PENDING + counts.STARTING + counts.RUNNING > 0) return false;
    return hosts.every(
      ({ agent, machine }) =>
        agent?.jobs()?.held().length === 0 &&
        agent.link.figures().factsWaiting === 0 &&
        machine.residue().filter(isUnwanted).length === 0,
    );
  }

  /** Attempts that were settled with a store that is lost now: what is left of their output nobody asks for. */
  const settledBefore = new Set<string>();
  function isUnwanted(residue: string): boolean {
    return ![...settledBefore].some((name) => residue === `the folder of ${name}`);
  }

  startScheduler();
  await drive(time, 2000, enrol());
  for (const host of hosts) startAgent(host);
  const count = dice.chance(0.1) ? dice.between(10, 25) : dice.between(2, 8);
  for (let at = 0; at < count; at += 1) time.at(dice.random() * STORM_MS * 0.6, submit);
  const strikes = dice.chance(0.2) ? dice.between(8, 25) : dice.between(0, 8);
  for (let at = 0; at < strikes; at += 1)
    time.at(dice.random() * STORM_MS, () => {
      if (isStorm) strike();
    });
  for (let at = LOOK_MS; at < STORM_MS; at += 5 * LOOK_MS) time.at(at, look);
  time.at(STORM_MS + 62_000, calm);

  let restMs = 0;
  let wasAtRest = false;
  for (let untilMs = STORM_MS + 63_000; untilMs < REST_DEADLINE_MS; untilMs += LOOK_MS) {
    while (await time.step(untilMs));
    // Twice in a row, so that what was asked for at the last moment is on disk.
    if (isAtRest() && wasAtRest) {
      restMs = untilMs;
      break;
    }
    wasAtRest = isAtRest();
  }
  look();
  if (restMs > 0) history.add('world', { kind: 'rest' });
  conclude();
  return {
    seed,
    violations: checkHistory(history.facts()),
    facts: history.facts(),
    jobs: count,
    events: time.events,
    restMs,
  };

  /** What is left, and what the scheduler holds of the output. */
  function conclude(): void {
    for (const { machine, agent, key } of hosts) {
      for (const what of machine.residue().filter(isUnwanted))
        history.add('world', { kind: 'residue', what, node: key.nodeId });
      for (const id of agent?.jobs()?.heldDevices() ?? [])
        history.add('world', { kind: 'residue', what: `the grant of ${id}`, node: key.nodeId });
      const load = scheduler?.core.placement.load(key.nodeId);
      if (
        load !== null &&
        load !== undefined &&
        restMs > 0 &&
        (load.heldCpuHundredths !== 0 || load.heldBy.size !== 0)
      )
        history.add('world', {
          kind: 'residue',
          what: `capacity of ${[...load.heldBy].join(' ')}`,
          node: key.nodeId,
        });
    }
    for (const job of scheduler?.queue.jobs({ limit: 1000 }) ?? []) {
      if (job.epoch === 0) continue;
      const name = `${job.id}.${job.epoch}`;
      for (const stream of ['stdout', 'stderr'] as const) {
        const bytes = files.bytes(`${OUTPUT_FOLDER}/${name}.${stream}`);
        const expected = digestOf(outputBytes(`${job.spec.name}.${job.epoch}`, stream, 0, bytes.length));
        const digest = digestOf(bytes);
        history.add('world', {
          kind: 'stored',
          jobId: job.id,
          epoch: job.epoch,
          stream,
          bytes: bytes.length,
          digest,
          expected,
        });
      }
    }
  }
}

/** Lets time pass until the promise is settled. */
async function drive(
  time: { step(untilMs: number): Promise<boolean>; nowMs(): number },
  ms: number,
  work: Promise<void>,
): Promise<void> {
  const end = time.nowMs() + ms;
  while (await time.step(end));
  await work;
}
