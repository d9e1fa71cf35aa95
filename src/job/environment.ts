// A job's environment, built from nothing: what the agent itself was started with never reaches a job.
import { join } from 'node:path';
import type { StartOrder } from '../protocol/control.ts';
import { jobFile } from './executor/executor.ts';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * `folder` is that of the attempt; `base` is what the node adds for every job, `granted` what shows it its devices and
 * hides all others: whatever the job asks for, it reaches only what it was granted.
 */
export function buildEnvironment(
  order: StartOrder,
  nodeId: string,
  folder: string,
  base: Readonly<Record<string, string>>,
  granted: Readonly<Record<string, string>>,
): Record<string, string> {
  const workspace = join(folder, jobFile.workspace);
  return {
    PATH,
    HOME: workspace,
    TMPDIR: workspace,
    LANG: 'C.UTF-8',
    ...base,
    ...order.spec.environment,
    ...granted,
    // Last, so that nothing above can stand in for them: the shim's clean-up knows the job's processes by these.
    FLOPD_JOB_ID: order.jobId,
    FLOPD_NODE_ID: nodeId,
    FLOPD_EPOCH: String(order.epoch),
    FLOPD_METER_FILE: join(folder, jobFile.meter),
    ...arrayEnvironment(order),
    ...(order.devices.length === 0 ? {} : { FLOPD_DEVICES: order.devices.join(',') }),
  };
}

/** Which of its array the job is, for a program that takes its share of the work by it. */
function arrayEnvironment({ array, spec }: StartOrder): Record<string, string> {
  if (array === null) return {};
  const { first, last } = spec.array ?? { first: array.index, last: array.index };
  return {
    FLOPD_ARRAY_ID: array.id,
    FLOPD_ARRAY_INDEX: String(array.index),
    FLOPD_ARRAY_SIZE: String(array.size),
    FLOPD_ARRAY_FIRST: String(first),
    FLOPD_ARRAY_LAST: String(last),
  };
}
