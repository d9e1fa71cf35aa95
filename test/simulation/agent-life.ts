// One run of an agent in the simulation: the real job room and the real link, joined as agent/agent.ts joins them, over
// a host, a disk and a network of the simulation.
import { sign } from 'node:crypto';
import { buildHello } from '../../src/agent/hello.ts';
import { every } from '../../src/base/clock.ts';
import { createSilentLog, type Log } from '../../src/base/log.ts';
import type { Hit } from '../../src/job/fault-points.ts';
import type { Jobs } from '../../src/job/job.ts';
import { createOrderDoor } from '../../src/job/order-check.ts';
import { createJobs } from '../../src/job/supervisor.ts';
import { createLink, type Link } from '../../src/link/link.ts';
import { noAudit } from '../../src/protocol/audit.ts';
import { type Challenge, helloProofText } from '../../src/protocol/control.ts';
import type { DeviceRecord } from '../../src/protocol/device.ts';
import { chooseVersion, ownVersions } from '../../src/protocol/version.ts';
import type { History } from '../campaign/history.ts';
import { createFakeTrust } from '../fakes/trust.ts';
import type { JournalStore } from './disks.ts';
import { type NodeKey, SCHEDULER_ID } from './keys.ts';
import type { Machine } from './machine.ts';
import type { Network } from './network.ts';
import type { Dice } from './seed.ts';
import type { Life } from './time.ts';

export const NODE_CPUS = 2;
const NODE_MEMORY_BYTES = 8 * 1024 ** 3;

export interface AgentParts {
  readonly key: NodeKey;
  readonly generation: number;
  readonly life: Life;
  readonly machine: Machine;
  readonly journal: JournalStore;
  readonly network: Network;
  readonly dice: Dice;
  readonly history: History;
  readonly hit: Hit;
  readonly devices: () => readonly DeviceRecord[];
  readonly log?: Log;
}

export interface AgentLife {
  readonly life: Life;
  /** Null until it has taken up its jobs. */
  jobs(): Jobs | null;
  readonly link: Link;
}

export function startAgentLife(parts: AgentParts): AgentLife {
  const { key, life, machine, history, dice } = parts;
  const { nodeId, name } = key;
  const { clock } = life;
  const log = parts.log ?? createSilentLog();
  const bootId = machine.bootId();
  const instance = `instance-${parts.generation}`;
  const proofText = (challenge: Challenge): Buffer => {
    const version = chooseVersion(ownVersions, challenge.versions) ?? 1;
    return Buffer.from(
      helloProofText({ nodeId, bootId, generation: parts.generation, instance }, challenge, version),
    );
  };
  let started: Jobs | null = null;
  const room = (): Jobs => {
    if (started === null) throw new Error('the link was opened before the job room');
    return started;
  };
  const door = createOrderDoor({
    jobs: {
      start: (order, proof) => room().start(order, proof),
      stop: (order, untilMs) => room().stop(order, untilMs),
      execs: { start: (...asked) => room().execs.start(...asked), close() {} },
    },
    nodeId,
    trust: createFakeTrust(SCHEDULER_ID),
    signatures: 'require',
    submitters: null,
    granted() {},
    clock,
    log,
    audit: noAudit,
  });
  const link = createLink({
    url: 'http://scheduler',
    async hello(challenge) {
      const identity = {
        nodeId,
        bootId,
        generation: parts.generation,
        instance,
        credential: () => key.credential,
        signedCredential: () => null,
        prove: () => sign(null, proofText(challenge), key.privateKey).toString('base64'),
      };
      const jobs = room().held();
      return buildHello(
        { identity, name, version: 'simulation', audit: null, inventory, devices: [], jobs },
        challenge,
        '',
      );
    },
    handlers: {
      async order(order) {
        const { jobId, epoch } = order;
        const who = `agent ${name}`;
        const isStart = order.type === 'signedStart';
        if (isStart) history.add(who, { kind: 'orderReceived', jobId, epoch, node: nodeId });
        const answer = await door.order(order);
        const { outcome, code } = answer;
        if (isStart && life.isAlive())
          history.add(who, { kind: 'orderAnswered', jobId, epoch, node: nodeId, outcome, code });
        return answer;
      },
      contact: (sinceMs, heartbeatMs) => room().contact(sinceMs, heartbeatMs),
      report: (jobId, epoch) => room().report(jobId, epoch),
      exec: (order, events) => door.exec(order, events),
      keys: (statements) => door.learnKeys(statements),
      acknowledged: (jobId, epoch) => room().acknowledged(jobId, epoch),
      delivered: (jobId, epoch, stdout, stderr) => room().delivered(jobId, epoch, stdout, stderr),
      readOutput: (jobId, epoch, stream, offset, limit) =>
        room().readOutput(jobId, epoch, stream, offset, limit),
    },
    clock,
    log,
    random: dice.random,
    connect: parts.network.connector(nodeId, life),
  });
  link.devices(parts.devices());

  async function boot(): Promise<void> {
    const jobs = await createJobs({
      folder: '/agent',
      nodeId,
      bootId,
      executors: [machine.executor(life)],
      capacity: { cpus: NODE_CPUS, memoryBytes: NODE_MEMORY_BYTES },
      environment: {},
      devices: {
        records: parts.devices,
        grant: (ids) => ({ environment: { VISIBLE: ids.join(',') }, deviceNodes: [] }),
      },
      clock,
      log,
      events: {
        started: (jobId, epoch, pid, startedAtMs) => link.started(jobId, epoch, pid, startedAtMs),
        outputGrew: (...grown) => link.outputGrew(...grown),
        progress: (jobId, epoch, text) => link.progress(jobId, epoch, text),
        ended: (result) => link.ended(result),
      },
      random: dice.random,
      hit: parts.hit,
      disk: parts.journal.open(life),
      folders: machine.folders(life),
    });
    if (!life.isAlive()) return;
    started = jobs;
    for (const result of jobs.unsettled()) link.ended(result);
    link.open();
    every(clock, 1000, () => link.refusing(jobs.problem()));
  }
  void boot();
  return { life, jobs: () => started, link };
}

const inventory = {
  hostname: 'host',
  os: null,
  kernel: null,
  architecture: 'x64',
  virtualisation: null,
  cpuModel: null,
  cpuSockets: null,
  cpuCores: null,
  cpuThreads: NODE_CPUS,
  memoryBytes: NODE_MEMORY_BYTES,
  jobCpus: NODE_CPUS,
  jobMemoryBytes: NODE_MEMORY_BYTES,
  cpuPeakFlops: {
    computed: { fp64: null, fp32: null, source: 'none' },
    measured: { fp64: null, fp32: null, source: 'none' },
  },
  executors: ['process'],
  limitations: [],
};
