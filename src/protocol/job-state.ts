// The states of a job. Apart from result.ts, so that the command line has them without the schemas (zod: 25 ms).

/**
 * PENDING waits in the queue · STARTING was ordered to a node that has not confirmed the start · RUNNING ·
 * COMPLETED ended with exit code 0 · FAILED ended otherwise by itself · FAILED_TO_START no process ever ran ·
 * CANCELLED stopped at someone's request · TIMEOUT stopped at its time limit · OUT_OF_MEMORY killed by the kernel
 * for its memory · LOST the node cannot say how it ended (reboot, supervisor killed): never shown as success.
 */
export const finalStates = [
  'COMPLETED',
  'FAILED',
  'FAILED_TO_START',
  'CANCELLED',
  'TIMEOUT',
  'OUT_OF_MEMORY',
  'LOST',
] as const;
export const jobStates = ['PENDING', 'STARTING', 'RUNNING', ...finalStates] as const;
export type FinalState = (typeof finalStates)[number];
export type JobState = (typeof jobStates)[number];

export function isFinalState(state: JobState): state is FinalState {
  return (finalStates as readonly JobState[]).includes(state);
}
