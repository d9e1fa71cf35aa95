// A history with a clone: an agent is stopped in the moment in which an order is sent to it, another one comes with a copy of
// its state folder from before, and the first goes on some time later. Then an operator ends the one that is refused and
// trusts the other. No job may be lost, none may run twice.
import { createSilentLog, type Log } from '../../src/base/log.ts';
import { isFinalState } from '../../src/protocol/result.ts';
import { jobSpecSchema } from '../../src/protocol/spec.ts';
import { checkHistory } from '../campaign/checker.ts';
import { createHistory } from '../campaign/history.ts';
import { type AgentLife, startAgentLife } from './agent-life.ts';
import { createJournalStore, createOutputFiles, createQueueRows, type Weather } from './disks.ts';
import type { Keys } from './keys.ts';
import { createMachine, type Machine } from './machine.ts';
import { createNetwork } from './network.ts';
import { startSchedulerLife } from './scheduler-life.ts';
import { createDice } from './seed.ts';
import { createTap } from './tap.ts';
import { createTime } from './time.ts';
import type { Outcome } from './world.ts';

/** Orders of this job find the agent stopped. */
const STRUCK = 2;
const JOBS = 4;
const OPERATOR_MS = 90_000;
const END_MS = 10 * 60_000;

export async function playClone(
  seed: number,
  keys: Keys,
  logOf: (who: string) => Log = () => createSilentLog(),
): Promise<Outcome> {
  const dice = createDice(seed);
  const time = createTime();
  const [key] = keys.nodes;
  if (key === undefined) throw new Error('there is no node');
  const wallMs = (): number => wall.clock.wallMs();
  const wall = time.newLife('world');
  const history = createHistory(seed, time.nowMs);
  const say = (what: string): void => history.add('world', { kind: 'event', what });
  const network = createNetwork(time, dice.fork('network'), createTap(history.add));
  const weather: Weather = { state: 'well' };
  const rows = createQueueRows(dice.fork('rows'), weather);

  function startAgent(generation: number): { agent: AgentLife; machine: Machine } {
    const name = `${key?.name} ${generation}`;
    say(`agent ${generation} starts`);
    const machine = createMachine({
      node: key?.nodeId ?? '',
      seed,
      time,
      dice: dice.fork('machine', generation),
      history,
      weather,
      wallMs,
    });
    const agent = startAgentLife({
      key: { ...key, name } as (typeof keys.nodes)[0],
      generation,
      life: time.newLife(name),
      machine,
      journal: createJournalStore(dice.fork('journal', generation), weather),
      network,
      dice: dice.fork('agent', generation),
      history,
      devices: () => [],
      log: logOf(name),
      hit() {},
    });
    return { agent, machine };
  }

  let submitted = 0;
  let armed = false;
  const scheduler = startSchedulerLife({
    history: null,
    life: time.newLife('scheduler'),
    rows,
    files: createOutputFiles(dice.fork('files'), weather),
    network,
    key: keys.scheduler,
    random: dice.fork('scheduler').random,
    log: logOf('scheduler'),
    hit(point) {
      if (point !== 'order.sent' || !armed) return;
      armed = false;
      say('the first agent is stopped');
      first.agent.life.stop();
      time.at(dice.between(0, 6000), () => {
        copy = startAgent(2);
        // What it does not know of is lost, should it be the one that is taken.
        const why = 'a copy takes over';
        history.add('world', { kind: 'truthLost', node: nodeId, jobId: null, epoch: null, why });
      });
      time.at(dice.between(3000, 40_000), () => {
        say('the first agent goes on');
        first.agent.life.go();
      });
    },
  });
  const { queue, core } = scheduler;
  const { nodeId, name, publicKey, enrolledAtMs } = key;
  const record = { id: nodeId, name, publicKey, enrolledAtMs, generation: 0, bootId: null };
  core.fleet.add(record);
  void queue.putNode(record);
  const first = startAgent(1);
  let copy: ReturnType<typeof startAgent> | null = null;

  function submit(): void {
    submitted += 1;
    armed = submitted === STRUCK;
    const keep = dice.chance(0.7);
    const spec = jobSpecSchema.parse({
      version: 1,
      name: `j${submitted}`,
      command: ['job'],
      disconnect: keep ? { policy: 'keep' } : { policy: 'stop', afterMs: 30_000 },
    });
    core.dispatcher
      .submit(spec, { owner: 'local' })
      .then((job) => history.add('user', { kind: 'submitted', jobId: job.id }))
      .catch(() => {});
  }
  for (let at = 1; at <= JOBS; at += 1) time.at(at * 5000, submit);

  time.at(OPERATOR_MS, () => {
    const isLeft = copy?.agent.link.state().connected === true;
    say(`the operator ends the ${isLeft ? 'first' : 'second'} agent`);
    (isLeft ? first : copy)?.agent.life.kill();
    trust();
  });

  /** Again where a last hello of the one that was ended was under way still, and marked the node anew. */
  function trust(): void {
    void core.clones.trust(nodeId, 'operator').catch(() => {});
    time.at(10_000, () => {
      if (queue.node(nodeId)?.cloned !== undefined) trust();
    });
  }

  const isOver = (): boolean => {
    const { PENDING, STARTING, RUNNING } = queue.counts();
    return PENDING + STARTING + RUNNING === 0;
  };
  let restMs = 0;
  for (let untilMs = 1000; untilMs < END_MS && restMs === 0; untilMs += 1000) {
    while (await time.step(untilMs));
    if (untilMs > OPERATOR_MS + 30_000 && isOver()) restMs = untilMs;
  }
  for (const { id: jobId, state, epoch, result } of queue.jobs({ limit: 100 }))
    if (isFinalState(state)) history.add('user', { kind: 'final', jobId, epoch, state, result });
  if (restMs > 0) history.add('world', { kind: 'rest' });
  for (const { machine } of copy === null ? [first] : [first, copy])
    for (const what of machine.residue())
      if (!what.startsWith('the folder of')) history.add('world', { kind: 'residue', what, node: nodeId });
  const violations = checkHistory(history.facts());
  return { seed, violations, facts: history.facts(), jobs: JOBS, events: time.events, restMs };
}
