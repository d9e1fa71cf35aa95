// How a job stands and how it ended. States are Slurm's long names where Slurm has one.
import * as z from 'zod';

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

/**
 * `job`: itself · else the rate of its devices over time, by their method (`DeviceRecord.achievedMethod`); `estimate` is
 * one · `mixed`: devices of several methods.
 */
export const flopMethods = ['job', 'gpm', 'aicube', 'aicore', 'estimate', 'mixed'] as const;

/** What a job used. `null` is unknown; `absent` says why for each. */
export const usageSchema = z.strictObject({
  /** From the start of the process to the end of its last child, by the shim's monotonic clock. */
  durationMs: z.number().nonnegative().nullable(),
  cpuUserSeconds: z.number().nonnegative().nullable(),
  cpuSystemSeconds: z.number().nonnegative().nullable(),
  maxResidentBytes: z.number().nonnegative().nullable(),
  /** Most memory and most processes that all of the job had at one time, by its control group. */
  memoryPeakBytes: z.number().nonnegative().nullable().default(null),
  processesPeak: z.number().int().nonnegative().nullable().default(null),
  /** Time that the job held devices for, times their number. */
  deviceSeconds: z.number().nonnegative().nullable().default(null),
  /** Energy attributed to the job. */
  energyJoules: z.number().nonnegative().nullable(),
  /** What that is the sum of, and what was divided how, in words. */
  energyMethod: z.string().max(256).nullable().default(null),
  /** Floating-point operations: as the job itself reported (FLOPD_METER_FILE), else as its devices achieved. */
  flop: z.number().nonnegative().nullable(),
  /** flop / durationMs where the job did not report its own compute time. */
  achievedFlops: z.number().nonnegative().nullable(),
  /** Who counted. */
  flopMethod: z.enum(flopMethods).nullable(),
  absent: z.record(z.string().max(64), z.string().max(256)),
});
export type Usage = z.output<typeof usageSchema>;

export const endKinds = [
  'exited',
  'signalled',
  'timeLimit',
  'stopped',
  'failedToStart',
  'outOfMemory',
  'lost',
  'refused',
  'deviceFault',
  'disconnected',
] as const;

export type EndKind = (typeof endKinds)[number];

/** Bytes of a stream that the job wrote and that are not kept: from and to are offsets in what it wrote. */
export const outputGapSchema = z.strictObject({
  stream: z.enum(['stdout', 'stderr']),
  fromByte: z.number().int().nonnegative(),
  toByte: z.number().int().nonnegative(),
  /** quota: more than the job may keep · disk: the disk refused them · lost: read by a shim that was killed */
  reason: z.enum(['quota', 'disk', 'lost']),
});
export type OutputGap = z.output<typeof outputGapSchema>;

/** A file or folder of the workspace that was kept, or why it (or what in it) could not be. */
export const keptOutputSchema = z.strictObject({
  path: z.string().max(1024),
  kind: z.enum(['file', 'tree']).nullable(),
  digest: z.string().max(64).nullable(),
  sizeBytes: z.number().int().nonnegative().nullable(),
  executable: z.boolean().default(false),
  problem: z.string().max(256).nullable(),
});
export type KeptOutput = z.output<typeof keptOutputSchema>;

/** What the kernel said of the job's memory; null where nothing counted it. */
export const outOfMemorySchema = z.strictObject({
  /** Processes of the job that the kernel killed for its memory. */
  kills: z.number().int().nonnegative(),
  /** When the first was noticed. */
  firstAtMs: z.number().nullable(),
});

export const jobResultSchema = z.strictObject({
  version: z.literal(1),
  jobId: z.string().max(64),
  epoch: z.number().int().positive(),
  nodeId: z.string().max(64),
  state: z.enum(finalStates),
  /** What ended it; written once, by the first who knew. */
  endKind: z.enum(endKinds),
  /** Exit code of the main process, null if it did not exit by itself. */
  exitCode: z.number().int().min(0).max(255).nullable(),
  /** Number of the signal that ended the main process, or null. */
  signal: z.number().int().min(1).max(64).nullable(),
  /** Who asked for the stop: a user, `scheduler`, `node`; null where nobody did. */
  stoppedBy: z.string().max(128).nullable(),
  /** One sentence for a person: why it ended, with the evidence. */
  cause: z.string().max(1024),
  startedAtMs: z.number().nullable(),
  endedAtMs: z.number(),
  usage: usageSchema,
  /** Which mechanism held each limit, e.g. `{timeLimit: "shim", memory: "none"}`. */
  limits: z.record(z.string().max(32), z.string().max(64)),
  /** Which wall stood where, or why none did, e.g. `{sandbox: "bubblewrap", user: "uid 700003", devices: "nodes"}`. */
  isolation: z.record(z.string().max(32), z.string().max(256)).default({}),
  outOfMemory: outOfMemorySchema.nullable().default(null),
  /** What of the output was not kept; offsets of what is kept count on without them. */
  gaps: z.array(outputGapSchema).max(64).default([]),
  outputs: z.array(keptOutputSchema).max(64).default([]),
  /** Where the workspace stays on its node, and until when (wall clock); null where it does not. */
  workspace: z
    .strictObject({ path: z.string().max(4096), untilMs: z.number() })
    .nullable()
    .default(null),
  stdoutBytes: z.number().int().nonnegative(),
  stderrBytes: z.number().int().nonnegative(),
});
export type JobResult = z.output<typeof jobResultSchema>;

/** Fields that came after the first version: those with a default. */
type Later<Schema extends z.ZodType> = {
  [Field in keyof z.output<Schema> as Field extends keyof z.input<Schema>
    ? undefined extends z.input<Schema>[Field]
      ? Field
      : never
    : never]: z.output<Schema>[Field];
};
const laterInResult: Later<typeof jobResultSchema> = {
  isolation: {},
  outOfMemory: null,
  gaps: [],
  outputs: [],
  workspace: null,
};
const laterInUsage: Later<typeof usageSchema> = {
  memoryPeakBytes: null,
  processesPeak: null,
  deviceSeconds: null,
  energyMethod: null,
};

/** A result that was checked when it was stored, by this version or another: what an earlier one lacks is filled in. */
export function completeResult(stored: JobResult): JobResult {
  return { ...laterInResult, ...stored, usage: { ...laterInUsage, ...stored.usage } };
}
