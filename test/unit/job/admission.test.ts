import { describe, expect, test } from 'vitest';
import { decideAdmission, HELD_MAX, type NodeState } from '../../../src/job/admission.ts';
import type { JobSpecInput } from '../../../src/protocol/spec.ts';
import { startOrder } from './samples.ts';

const idle: NodeState = {
  executors: new Map([['process', null]]),
  cpuHundredths: 200,
  memoryBytes: 1000,
  heldCpuHundredths: 0,
  heldMemoryBytes: 0,
  devices: null,
  held: 0,
  walls: null,
  data: null,
  draining: null,
  diskProblem: null,
};
const asks = (resources: NonNullable<JobSpecInput['resources']>): Partial<JobSpecInput> => ({ resources });

describe('admission', () => {
  test.each<[string, Partial<JobSpecInput>, Partial<NodeState>, string | null]>([
    ['an ordinary job on an idle node', {}, {}, null],
    ['a job that takes the whole node', asks({ cpus: 2, memoryBytes: 1000 }), {}, null],
    ['no such executor', {}, { executors: new Map() }, 'JOB_EXECUTOR_MISSING'],
    [
      'an executor that does not work',
      {},
      { executors: new Map([['process', 'no shim']]) },
      'JOB_EXECUTOR_BROKEN',
    ],
    ['accelerators', asks({ accelerators: { count: 1 } }), {}, 'JOB_ACCELERATORS_MISSING'],
    ['more CPUs than there are', asks({ cpus: 2.01 }), {}, 'JOB_CPUS_EXCEED_NODE'],
    ['more memory than there is', asks({ memoryBytes: 1001 }), {}, 'JOB_MEMORY_EXCEEDS_NODE'],
    ['CPUs that are held', asks({ cpus: 1.5 }), { heldCpuHundredths: 100 }, 'JOB_CPUS_BUSY'],
    ['the CPUs that are left', asks({ cpus: 1 }), { heldCpuHundredths: 100 }, null],
    ['memory that is held', asks({ memoryBytes: 600 }), { heldMemoryBytes: 500 }, 'JOB_MEMORY_BUSY'],
    ['no memory, on a node whose memory is held', {}, { heldMemoryBytes: 1000 }, null],
    ['a node that drains', {}, { draining: 'maintenance' }, 'JOB_NODE_DRAINING'],
    ['a disk that refuses', {}, { diskProblem: 'ENOSPC' }, 'JOB_NO_DURABLE_SPACE'],
    ['a full book', {}, { held: HELD_MAX }, 'JOB_TOO_MANY'],
    [
      'what can never be comes first',
      asks({ cpus: 99 }),
      { draining: 'x', heldCpuHundredths: 200 },
      'JOB_CPUS_EXCEED_NODE',
    ],
  ])('%s', (_, spec, node, code) => {
    const refusal = decideAdmission(startOrder('job-1', 1, spec), { ...idle, ...node });
    expect(refusal?.code ?? null).toBe(code);
    if (refusal !== null) expect(refusal.message.length).toBeGreaterThan(5);
  });

  test('adds hundredths of cores up exactly: ten times 0.1 fill one core', () => {
    const node = { ...idle, cpuHundredths: 100, heldCpuHundredths: 90 };
    expect(decideAdmission(startOrder('job-1', 1, asks({ cpus: 0.1 })), node)).toBeNull();
    expect(decideAdmission(startOrder('job-1', 1, asks({ cpus: 0.11 })), node)?.code).toBe('JOB_CPUS_BUSY');
  });
});
