// The dispatcher over the real embedded queue, with a clock that stands still, nodes that are plain objects, and a
// scheduler that can be killed at any step: what was not on disk is gone, the nodes and what runs on them are not.
// Every start is checked when it happens.
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSilentLog } from '../../../src/base/log.ts';
import { createRefusalLog } from '../../../src/base/refusal-log.ts';
import { isArrayId } from '../../../src/protocol/array.ts';
import { isFinalState, type JobResult } from '../../../src/protocol/result.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import { decideDependency } from '../../../src/scheduler/dependencies.ts';
import { createDispatcher, type Dispatcher } from '../../../src/scheduler/dispatcher.ts';
import type { AgentSession, Fleet, Order } from '../../../src/scheduler/fleet.ts';
import type { OutputStore } from '../../../src/scheduler/output.ts';
import { createPlacement, type Placement } from '../../../src/scheduler/placement.ts';
import { openEmbeddedQueue } from '../../../src/scheduler/queue/embedded.ts';
import type { JobRecord, Queue } from '../../../src/scheduler/queue/queue.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { createFakeClock, settleDown } from '../../unit/job/fake-clock.ts';

/** An attempt that a node has accepted. */
interface Held {
  readonly job: JobRecord;
  result: JobResult | null;
  stopped: boolean;
}

interface FakeNode {
  readonly id: string;
  readonly held: Map<string, Held>;
  session: AgentSession;
}

export interface World {
  readonly dispatcher: Dispatcher;
  readonly queue: Queue;
  /** Ids of jobs and arrays whose submission was confirmed, in order. */
  readonly submitted: readonly string[];
  /** First starts of jobs, in order. */
  readonly firstStarts: readonly string[];
  /** What must never be seen, seen. */
  readonly faults: readonly string[];
  submit(spec: object): Promise<void>;
  cancel(id: string): void;
  /** The attempt that runs at this place, of all, ends with this code; what the scheduler says to that is not waited for. */
  end(place: number, exitCode: number): void;
  /** A node forgets all that it runs, as after a reboot, and comes back. */
  reboot(place: number): Promise<void>;
  /** The scheduler is killed and started again. */
  crash(): Promise<void>;
  advance(ms: number): Promise<void>;
  settle(): Promise<void>;
  running(): number;
  close(): Promise<void>;
}

const NODES = ['node-a', 'node-b'];
const CPUS = 2;

export async function createWorld(): Promise<World> {
  const clock = createFakeClock();
  const folders: string[] = [];
  const submitted: string[] = [];
  const firstStarts: string[] = [];
  const faults: string[] = [];
  let rolled = 0;
  /** Orders of a scheduler that was killed never arrive. */
  let life = 0;
  const nodes: FakeNode[] = NODES.map((id) => ({ id, held: new Map(), session: null as never }));
  let parts = await start(freshFolder());

  function freshFolder(): string {
    // Memory: hundreds of commits, of which only a process is to be survived here.
    const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'flopd-world-'));
    folders.push(folder);
    return folder;
  }

  async function start(folder: string) {
    life += 1;
    const mine = life;
    const log = createSilentLog();
    const queue = await openEmbeddedQueue({
      path: join(folder, 'store.db'),
      clock,
      log,
      finishedInMemory: 20,
    });
    const placement = createPlacement();
    const fleet: Partial<Fleet> = {
      session: (id) => (mine === life ? (nodes.find((node) => node.id === id)?.session ?? null) : null),
      name: (id) => id,
      isReachable: () => true,
      silentSeconds: () => 0,
      pause() {},
    };
    const output: Partial<OutputStore> = {
      lengths: async () => ({ stdoutBytes: 0, stderrBytes: 0 }),
      syncedLengths: async () => ({ stdoutBytes: 0, stderrBytes: 0 }),
    };
    const dispatcher = createDispatcher({
      queue,
      placement,
      fleet: fleet as Fleet,
      output: output as OutputStore,
      clock,
      log,
      refusals: createRefusalLog(log, clock),
      // Spread over [0, 1), the same in every run.
      random: () => (rolled++ % 7) / 7,
      readOrder: () => null,
      changed() {},
    });
    for (const node of nodes) {
      node.session = {
        id: `session-${mine}`,
        nodeId: node.id,
        run: `run-of-${node.id}`,
        order(order) {
          if (mine === life) take(node, order, queue);
        },
        report() {},
        outputSynced() {},
        tell: () => false,
        credential() {},
        answers: async () => false,
        send() {},
        close() {},
      };
      await comeBack(node, { dispatcher, placement }, false);
    }
    return { folder, queue, placement, dispatcher };
  }

  async function comeBack(
    node: FakeNode,
    { dispatcher, placement }: { dispatcher: Dispatcher; placement: Placement },
    rebooted: boolean,
  ): Promise<void> {
    const held = [...node.held.values()].map(({ job, result }) => ({
      jobId: job.id,
      epoch: job.epoch,
      phase: result === null ? ('running' as const) : ('ended' as const),
      devices: [],
    }));
    await dispatcher.welcomed(node.session, held, rebooted);
    const nothing = { executors: ['process'], devices: [], drained: null };
    placement.setNode({
      id: node.id,
      name: node.id,
      cpuHundredths: CPUS * 100,
      memoryBytes: 2 ** 30,
      available: true,
      ...nothing,
    });
    dispatcher.place();
    for (const one of node.held.values()) if (one.result !== null) tell(node, one, dispatcher);
  }

  function take(node: FakeNode, order: Order, queue: Queue): void {
    const { job } = order;
    const key = `${job.id}.${job.epoch}`;
    const known = node.held.get(key);
    if (order.kind === 'stop') {
      if (known !== undefined) known.stopped = true;
      return;
    }
    if (known !== undefined) return;
    check(job, queue);
    if (job.retries === 0 && !firstStarts.includes(job.id)) firstStarts.push(job.id);
    node.held.set(key, { job, result: null, stopped: false });
  }

  /** Looked at before the attempt is added. */
  function check(job: JobRecord, queue: Queue): void {
    const live = nodes.flatMap((node) => [...node.held.values()]).filter((one) => one.result === null);
    if (live.some((one) => one.job.id === job.id)) faults.push(`${job.id} runs twice`);
    if (job.retries > job.spec.retry.times) faults.push(`${job.id} was started again too often`);
    if (job.notBeforeMs !== null && clock.wallMs() < job.notBeforeMs)
      faults.push(`${job.id} was started before its back-off was over`);
    for (const dependency of job.spec.dependencies) {
      if (decideDependency(dependency, queue) !== 'met')
        faults.push(`${job.id} was started before ${dependency.job} had ${dependency.condition}`);
    }
    const most = job.spec.array?.maxRunning ?? Number.POSITIVE_INFINITY;
    const ofArray = live.filter((one) => one.job.array !== null && one.job.array.id === job.array?.id);
    if (ofArray.length >= most) faults.push(`${job.id}: more of its array run than ${most}`);
  }

  function tell(node: FakeNode, one: Held, dispatcher: Dispatcher): void {
    const { result } = one;
    if (result === null) return;
    const mine = life;
    dispatcher.ended(node.session, result).then(
      (acknowledged) => {
        if (acknowledged && mine === life) node.held.delete(`${one.job.id}.${one.job.epoch}`);
      },
      () => {},
    );
  }

  const running = () =>
    nodes.flatMap((node) =>
      [...node.held.values()].filter((one) => one.result === null).map((one) => ({ node, one })),
    );

  return {
    get dispatcher() {
      return parts.dispatcher;
    },
    get queue() {
      return parts.queue;
    },
    submitted,
    firstStarts,
    faults,
    async submit(spec) {
      const mine = life;
      const given = jobSpecSchema.parse({ version: 1, command: ['true'], ...spec });
      await parts.dispatcher.submit(given, { owner: 'local' }).then(
        (job) => {
          if (mine === life) submitted.push(job.array?.id ?? job.id);
        },
        () => {},
      );
    },
    cancel(id) {
      const { dispatcher } = parts;
      const cancelling = isArrayId(id)
        ? dispatcher.cancelArray(id, 'user', '')
        : dispatcher.cancel(id, 'user', '');
      void Promise.resolve(cancelling).catch(() => {});
    },
    end(place, exitCode) {
      const all = running();
      const chosen = all[place % Math.max(1, all.length)];
      if (chosen === undefined) return;
      const { node, one } = chosen;
      const { id, epoch } = one.job;
      one.result = one.stopped
        ? fakeResult(node.id, id, {
            epoch,
            state: 'CANCELLED',
            endKind: 'stopped',
            exitCode: null,
            signal: 15,
          })
        : fakeResult(node.id, id, { epoch, exitCode });
      tell(node, one, parts.dispatcher);
    },
    async reboot(place) {
      const node = nodes[place % nodes.length];
      if (node === undefined) return;
      node.held.clear();
      await comeBack(node, parts, true);
    },
    async crash() {
      const image = freshFolder();
      cpSync(parts.folder, image, { recursive: true, filter: (path) => !path.endsWith('.lock') });
      const { queue } = parts;
      parts = await start(image);
      await queue.close();
    },
    async advance(ms) {
      clock.advance(ms);
      await settleDown();
    },
    settle: settleDown,
    running: () => running().length,
    async close() {
      await settleDown();
      await parts.queue.close();
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Lets everything end: what runs completes, what waits for time gets it. Throws when something never does. */
export async function runDry(world: World): Promise<void> {
  const MAX_ROUNDS = 2000;
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    await world.settle();
    while (world.running() > 0) world.end(0, 0);
    await world.settle();
    const counts = world.queue.counts();
    if (counts.PENDING + counts.STARTING + counts.RUNNING === 0) return;
    await world.advance(500);
  }
  const open = [...world.queue.pending(), ...world.queue.active()];
  throw new Error(`never ended: ${JSON.stringify(open.map((job) => [job.id, job.state, job.reason]))}`);
}

/** Every job of a submission. */
export function jobsOf(world: World, id: string): readonly JobRecord[] {
  if (isArrayId(id)) return world.queue.jobs({ array: id, limit: 10_000 });
  const job = world.queue.job(id);
  return job === null ? [] : [job];
}

export function hasEnded(job: JobRecord): boolean {
  return isFinalState(job.state);
}
