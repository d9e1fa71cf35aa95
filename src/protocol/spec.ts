// The job specification, version 1: what a user asks for. One closed schema from which types, checks and the
// published JSON Schema all come. Only fields that this build honours are in it: an unknown field is refused
// with its path, so that nobody believes in a limit that nobody keeps.
import * as z from 'zod';
import { dataSchema } from './data-policy.ts';
import { jurisdictionProblem } from './jurisdiction.ts';

/** Longest command line (arguments and environment together) that is accepted; Linux allows 2 MiB in all. */
export const MAX_COMMAND_BYTES = 128 * 1024;
const MAX_TIME_LIMIT_MS = 366 * 24 * 3600 * 1000;

const MAX_COMMAND_WORDS = 4096;

const noNul = (text: string): boolean => !text.includes('\0');
/** A lone surrogate has no bytes: what would run is not what was asked for. */
const isWellFormed = (text: string): boolean => text.isWellFormed();
const text = (maximum: number) =>
  z
    .string()
    .max(maximum, `must not be longer than ${maximum} characters`)
    .refine(noNul, 'must not contain a NUL character')
    .refine(isWellFormed, 'must be well-formed Unicode');

/** Names that a shell, a log line and a metric line can carry, and that read as they are written. */
export const nameSchema = z
  .string()
  .min(1, 'must not be empty')
  .max(128, 'must not be longer than 128 characters')
  .refine(isWellFormed, 'must be well-formed Unicode')
  .regex(
    /^[^\p{Cc}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]*$/u,
    'must not contain control characters, invisible spaces or marks that turn the direction of writing',
  );

export const environmentNameSchema = z
  .string()
  .max(256, 'must not be longer than 256 characters')
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be letters, digits and underscores, not starting with a digit')
  .refine((name) => !name.startsWith('FLOPD_'), 'names starting with FLOPD_ are set by flopd itself');

export const acceleratorRequestSchema = z.strictObject({
  count: z.number().int().min(1).max(1024),
  /** Words that vendor and model name have, in any letter case (`h100`, `rtx 4090`, `VENDOR:MODEL`); null for any. */
  match: nameSchema.nullable().default(null),
  /** Least memory that each of them has; null for any. */
  memoryBytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).nullable().default(null),
  /** Partitions of this kind (`1g.10gb`, `vir04`, or `any`) instead of whole devices; null for whole devices. */
  partition: nameSchema.nullable().default(null),
  /** May stand on a device together with other jobs that ask for the same; otherwise each device is its alone. */
  shared: z.boolean().default(false),
});
export type AcceleratorRequest = z.output<typeof acceleratorRequestSchema>;

const bytesPerSecond = z.number().int().min(1024).max(Number.MAX_SAFE_INTEGER).nullable().default(null);

export const resourcesSchema = z.strictObject({
  /** CPU cores, in hundredths of a core. */
  cpus: z.number().min(0.01).max(4096).multipleOf(0.01).default(1),
  /** Memory that placement reserves on the node, and that the job cannot exceed; null reserves and limits nothing. */
  memoryBytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).nullable().default(null),
  accelerators: acceleratorRequestSchema.nullable().default(null),
  /** Processes and threads at the same time; null for the node's own limit. */
  processes: z.number().int().min(1).max(4_194_304).nullable().default(null),
  /** Throughput of the disk that holds the workspace; null for no limit. */
  diskReadBytesPerSecond: bytesPerSecond,
  diskWriteBytesPerSecond: bytesPerSecond,
});

/** Path below the workspace: relative, without empty, `.` or `..` steps. */
export const workspacePathSchema = text(1024)
  .regex(/^[^/]/, 'must be a path below the workspace')
  .refine(
    (path) => path.split('/').every((step) => step !== '' && step !== '.' && step !== '..'),
    'must not have empty steps, "." or ".."',
  );

export const digestSchema = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal');

/** Whether a path is the other or lies below it. */
const isWithin = (path: string, above: string): boolean => path === above || path.startsWith(`${above}/`);

/** A file, or a folder with all below it, that lies in the workspace before the program starts. */
export const inputSchema = z.strictObject({
  path: workspacePathSchema,
  /** `tree`: the digest is that of its list of files (protocol/files.ts). */
  kind: z.enum(['file', 'tree']),
  digest: digestSchema,
  sizeBytes: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  executable: z.boolean().default(false),
});

/** What happens to a running job whose node has lost its scheduler. */
export const disconnectSchema = z.discriminatedUnion('policy', [
  /** It goes on; its result is told when the link is back. */
  z.strictObject({ policy: z.literal('keep') }),
  /** It is stopped when the scheduler has not been heard for so long; 0: at once. */
  z.strictObject({
    policy: z.literal('stop'),
    afterMs: z
      .number()
      .int()
      .min(0)
      .max(7 * 24 * 3600 * 1000),
  }),
]);

/** Ends after which a job may be started again, at the next epoch. */
export const retryCauses = [
  'failed',
  'failedToStart',
  'timeLimit',
  'outOfMemory',
  'deviceFault',
  'disconnected',
  'lost',
] as const;

export const retrySchema = z.strictObject({
  /** How often it is started again at most, after the first time. */
  times: z.number().int().min(0).max(100).default(0),
  on: z.array(z.enum(retryCauses)).default(['deviceFault', 'disconnected', 'lost']),
  /** Wait before the first; doubled for each further one, at most an hour. */
  delayMs: z.number().int().min(0).max(3600_000).default(1000),
});

export const dependencySchema = z.strictObject({
  /** A job, or an array of jobs: then all of them. */
  job: z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/, 'must be the id of a job or array'),
  /**
   * completed: with exit code 0 · failed: in any other way · ended: in any way. Of an array: all of its jobs completed ·
   * all ended, at least one of them otherwise · all ended.
   */
  condition: z.enum(['completed', 'failed', 'ended']).default('completed'),
});

export const MAX_ARRAY_JOBS = 10_000;
export const arraySchema = z.strictObject({
  first: z.number().int().min(0).max(1_000_000),
  last: z.number().int().min(0).max(1_000_000),
  /** How many of them may be with nodes at the same time; null for no limit. */
  maxRunning: z.number().int().min(1).max(MAX_ARRAY_JOBS).nullable().default(null),
});

export const checkpointSignals = ['SIGUSR1', 'SIGUSR2', 'SIGHUP', 'SIGINT', 'SIGTERM', 'SIGCONT'] as const;

export const jobSpecSchema = z
  .strictObject({
    version: z.literal(1),
    name: nameSchema.nullable().default(null),
    /** Which executor carries it out; a node offers those in its hello. */
    executor: z.enum(['process', 'container']).default('process'),
    /** Image of the container executor: a name that its runtime knows, `registry/name:tag` or `name@digest`. */
    image: z
      .string()
      .max(512)
      .regex(/^[A-Za-z0-9][\w./:@-]*$/, 'must be the name of an image')
      .nullable()
      .default(null),
    command: z
      .array(text(MAX_COMMAND_BYTES))
      .min(1, 'must name a program')
      .max(
        MAX_COMMAND_WORDS,
        `must not have more than ${MAX_COMMAND_WORDS} words; put long lists into a file`,
      ),
    environment: z.record(environmentNameSchema, text(MAX_COMMAND_BYTES)).default({}),
    /** Absolute folder on the node; null for the job's own empty workspace. */
    workingDirectory: text(4096).regex(/^\//, 'must be an absolute path').nullable().default(null),
    resources: resourcesSchema.default(() => resourcesSchema.parse({})),
    /** none: no network at all, not even the host's loopback. */
    network: z.enum(['host', 'none']).default('host'),
    /**
     * What its data is and where it may be; null for a job that says nothing of it. Absent where it is not given:
     * agents from before there was such a field refuse it.
     */
    data: dataSchema.nullish(),
    inputs: z
      .array(inputSchema)
      .max(64)
      .refine(
        (inputs) =>
          !inputs.some(({ path }, place) => inputs.some((o, p) => p !== place && isWithin(o.path, path))),
        'must not lie in one another',
      )
      .default([]),
    /** What is kept of the workspace when the job has ended: files, or folders with all below them. */
    outputs: z.array(workspacePathSchema).max(64).default([]),
    /** Whether and how long the workspace stays on the node after the end. */
    keepWorkspace: z
      .strictObject({
        when: z.enum(['never', 'failed', 'always']),
        forMs: z
          .number()
          .int()
          .min(0)
          .max(30 * 24 * 3600 * 1000),
      })
      .default({ when: 'never', forMs: 0 }),
    /** Most bytes of each output stream that are kept; null for the node's own limit. What is cut is told as a gap. */
    outputQuotaBytes: z.number().int().min(4096).max(Number.MAX_SAFE_INTEGER).nullable().default(null),
    /** Sent to the job's main process so long before its time limit, once. */
    checkpoint: z
      .strictObject({
        signal: z.enum(checkpointSignals),
        beforeMs: z.number().int().min(1).max(MAX_TIME_LIMIT_MS),
      })
      .nullable()
      .default(null),
    disconnect: disconnectSchema.default({ policy: 'keep' }),
    retry: retrySchema.default(() => retrySchema.parse({})),
    dependencies: z.array(dependencySchema).max(64).default([]),
    /** Submits one job for each index; each of them carries the whole. */
    array: arraySchema.nullable().default(null),
    /** Longest run time, from the start of the process; null for none. */
    timeLimitMs: z.number().int().min(1).max(MAX_TIME_LIMIT_MS).nullable().default(null),
    /** Time between SIGTERM and SIGKILL when the job is stopped. */
    graceMs: z.number().int().min(0).max(3600_000).default(10_000),
    /** Higher runs first; equal priorities in order of submission. */
    priority: z.number().int().min(-1000).max(1000).default(0),
  })
  .refine((spec) => (spec.image !== null) === (spec.executor === 'container'), {
    path: ['image'],
    message: 'goes with the executor "container", and that one needs it',
  })
  .refine((spec) => spec.checkpoint === null || spec.checkpoint.beforeMs < (spec.timeLimitMs ?? 0), {
    path: ['checkpoint'],
    message: 'needs a time limit that is longer',
  })
  .refine(
    ({ array }) => array === null || (array.last >= array.first && array.last - array.first < MAX_ARRAY_JOBS),
    {
      path: ['array'],
      message: `must go from a smaller to a larger index, over at most ${MAX_ARRAY_JOBS} jobs`,
    },
  )
  .refine(({ data, network }) => data?.egress !== 'none' || network === 'none', {
    path: ['network'],
    message: 'must be none where data.egress is none',
  })
  .superRefine(({ data }, context) => {
    if (data === null || data === undefined) return;
    const places = [data.origin, ...(data.allowed ?? [])];
    for (const [at, text] of places.entries()) {
      const problem = jurisdictionProblem(text);
      const path = at === 0 ? ['data', 'origin'] : ['data', 'allowed', at - 1];
      if (problem !== null) context.addIssue({ code: 'custom', path, message: problem });
    }
  })
  .refine((spec) => spec.command[0] !== '', { path: ['command', 0], message: 'must name a program' })
  .refine((spec) => commandBytes(spec) <= MAX_COMMAND_BYTES, {
    path: ['command'],
    message: `command and environment together exceed ${MAX_COMMAND_BYTES} bytes; put long data into a file`,
  });

export type JobSpec = z.output<typeof jobSpecSchema>;
export type JobSpecInput = z.input<typeof jobSpecSchema>;

function commandBytes(spec: { command: string[]; environment: Record<string, string> }): number {
  let total = 0;
  for (const argument of spec.command) total += Buffer.byteLength(argument) + 1;
  for (const [name, value] of Object.entries(spec.environment))
    total += name.length + Buffer.byteLength(value) + 2;
  return total;
}
