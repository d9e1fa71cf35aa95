// The job specification, version 1: what a user asks for. One closed schema from which types, checks and the
// published JSON Schema all come. Only fields that this build honours are in it: an unknown field is refused
// with its path, so that nobody believes in a limit that nobody keeps.
import * as z from 'zod';

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

export const resourcesSchema = z.strictObject({
  /** CPU cores, in hundredths of a core. */
  cpus: z.number().min(0.01).max(4096).multipleOf(0.01).default(1),
  /** Memory that placement reserves on the node; null reserves nothing. */
  memoryBytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).nullable().default(null),
  accelerators: acceleratorRequestSchema.nullable().default(null),
});

export const jobSpecSchema = z
  .strictObject({
    version: z.literal(1),
    name: nameSchema.nullable().default(null),
    /** Which executor carries it out; a node offers those in its hello. */
    executor: z.enum(['process']).default('process'),
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
    resources: resourcesSchema.default({ cpus: 1, memoryBytes: null, accelerators: null }),
    /** Longest run time, from the start of the process; null for none. */
    timeLimitMs: z.number().int().min(1).max(MAX_TIME_LIMIT_MS).nullable().default(null),
    /** Time between SIGTERM and SIGKILL when the job is stopped. */
    graceMs: z.number().int().min(0).max(3600_000).default(10_000),
    /** Higher runs first; equal priorities in order of submission. */
    priority: z.number().int().min(-1000).max(1000).default(0),
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
