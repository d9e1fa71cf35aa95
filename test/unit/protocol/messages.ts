// One recorded message of each kind of flopd.v1, as JSON carries it.
import { sampleFleet } from '../../fakes/fleet.ts';

export const spec = {
  version: 1,
  name: 'matrix product',
  executor: 'process',
  command: ['./matmul', '1024'],
  environment: { OMP_NUM_THREADS: '2' },
  workingDirectory: '/srv/data',
  resources: { cpus: 1.5, memoryBytes: 1_073_741_824, accelerators: { count: 1, match: 'nvidia' } },
  timeLimitMs: 60_000,
  graceMs: 5000,
  priority: -5,
};

export const result = {
  version: 1,
  jobId: 'job-7k3m9q2x4t',
  epoch: 1,
  nodeId: 'node-0123456789',
  state: 'COMPLETED',
  endKind: 'exited',
  exitCode: 0,
  signal: null,
  stoppedBy: null,
  cause: 'exited with code 0',
  startedAtMs: 1_795_000_000_000,
  endedAtMs: 1_795_000_001_500,
  usage: {
    durationMs: 1500.5,
    cpuUserSeconds: 1.2,
    cpuSystemSeconds: 0.1,
    maxResidentBytes: 1_048_576,
    energyJoules: null,
    flop: 2_147_483_648,
    achievedFlops: 1.4e9,
    flopMethod: 'job',
    absent: { energyJoules: 'no power source' },
  },
  limits: { timeLimit: 'shim', memory: 'none' },
  stdoutBytes: 120,
  stderrBytes: 0,
};

export const inventory = {
  hostname: 'host-1',
  os: 'Debian GNU/Linux 12 (bookworm)',
  kernel: 'Linux 6.1.0',
  architecture: 'x64',
  virtualisation: 'kvm',
  cpuModel: 'AMD EPYC',
  cpuSockets: 1,
  cpuCores: 2,
  cpuThreads: 2,
  memoryBytes: 25_276_514_304,
  jobCpus: 2,
  jobMemoryBytes: 25_276_514_304,
  cpuPeakFlops: {
    computed: { fp64: 7.8e10, fp32: 1.56e11, source: 'Zen 3' },
    measured: { fp64: null, fp32: null, source: 'not measured: the native addon is missing' },
  },
  executors: ['process'],
  limitations: [],
};

const job = { jobId: 'job-7k3m9q2x4t', epoch: 1 };

export const messages = {
  'agent.devices': { type: 'devices', devices: sampleFleet('1xH100,1xAscend910B3').records },
  'agent.hello': {
    type: 'hello',
    versions: { min: 1, max: 1 },
    nodeId: 'node-0123456789',
    name: 'host-1',
    agentVersion: '0.1.0',
    bootId: '2f0e1d3c-0000-4000-8000-000000000000',
    generation: 4,
    proof: 'cHJvb2Y=',
    inventory,
    devices: sampleFleet('1xH100').records,
    jobs: [{ ...job, phase: 'running', devices: ['GPU-0'] }],
  },
  'agent.dictionary': {
    type: 'dictionary',
    generation: 1,
    columns: [
      { family: 'cpu.busyRatio', owner: 'host', label: null },
      { family: 'power.watts', owner: 0, label: 'board' },
    ],
  },
  'agent.heartbeat': { type: 'heartbeat' },
  'agent.orderAck': {
    type: 'orderAck',
    orderId: 'order-abc',
    outcome: 'refused',
    code: 'JOB_EXECUTOR_MISSING',
    message: 'no such executor',
  },
  'agent.jobStarted': {
    type: 'jobStarted',
    sequence: 1,
    ...job,
    pid: 4242,
    startedAtMs: 1_795_000_000_000.5,
  },
  'agent.jobResult': { type: 'jobResult', sequence: 2, result },
  'agent.error': { type: 'error', code: 'LINK_BAD_MESSAGE', message: 'unknown field' },
  'scheduler.challenge': {
    type: 'challenge',
    schedulerId: 'scheduler-xyz',
    versions: { min: 1, max: 1 },
    nonce: 'AAAAAAAAAAAAAAAAAAAAAAAA',
  },
  'scheduler.welcome': {
    type: 'welcome',
    version: 1,
    sessionId: 'session-abc',
    heartbeatMs: 5000,
    telemetryMs: 1000,
    outputs: [{ ...job, stdoutBytes: 10, stderrBytes: 0 }],
  },
  'scheduler.start': { type: 'start', orderId: 'order-abc', ...job, spec },
  'scheduler.stop': { type: 'stop', orderId: 'order-def', ...job, by: 'alice', reason: 'cancelled' },
  'scheduler.ack': { type: 'ack', sequence: 2 },
  'scheduler.outputAck': { type: 'outputAck', ...job, stdoutBytes: 120, stderrBytes: 0 },
  'scheduler.heartbeat': { type: 'heartbeat' },
  'scheduler.error': { type: 'error', code: 'LINK_UNKNOWN_NODE', message: 'join first' },
};
