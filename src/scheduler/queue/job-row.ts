// A job as a row of the store, and back: `record` is JSON of the fields that change, `spec` JSON of the specification.
// Fields that came after the first version are left out while they have nothing to say, so that an older flopd reads
// the rows of jobs that use nothing new; rows of an older one lack them.
//
// What its submitter signed stands in a table of its own, which an older flopd leaves alone.
//
// The jobs of an array share the specification (and submission) of the first: the others have no row in `spec`, and `specOf` in their
// record names its sequence. An older flopd does not see these.
import { completeResult } from '../../protocol/result.ts';
import { acceleratorRequestSchema, type JobSpec, jobSpecSchema } from '../../protocol/spec.ts';
import type { Indexed } from './job-index.ts';
import type { EndedJob, JobRecord, JobSubmission } from './queue.ts';

export interface JobRow {
  readonly sequence: number;
  readonly id: string;
  readonly record: string;
  readonly spec: string | null;
  /** JSON of the submission; null where there is none, and where another row carries it. */
  readonly submission: string | null;
}

/** Specifications of arrays that are kept parsed, so that their jobs share one object. */
const SHARED_SPECS = 256;

type Later = 'owner' | 'devices' | 'array' | 'retries' | 'attempts' | 'notBeforeMs';
type StoredJob = Omit<JobRecord, 'id' | 'spec' | 'submission' | Later> &
  Partial<Pick<JobRecord, Later>> & { readonly specOf?: number };

/** Every field, so that a new one cannot be forgotten below; JSON leaves out what is undefined. */
type RecordFields = { [Field in keyof Required<StoredJob>]: StoredJob[Field] | undefined };

/**
 * The `record` of a row. JSON escapes NUL, which SQLite's C strings would end at. Ten thousand of them are made in one
 * turn for an array: one literal is several times as fast as spreading parts.
 */
export function recordText(entry: Indexed): string {
  const { job, sequence, specOf } = entry;
  const record: RecordFields = {
    state: job.state,
    submittedAtMs: job.submittedAtMs,
    epoch: job.epoch,
    nodeId: job.nodeId,
    orderedTo: job.orderedTo ?? undefined,
    devices: job.devices,
    startedAtMs: job.startedAtMs,
    endedAtMs: job.endedAtMs,
    cancelBy: job.cancelBy,
    result: job.result,
    reason: job.reason,
    owner: job.owner ?? undefined,
    array: job.array ?? undefined,
    retries: job.retries === 0 ? undefined : job.retries,
    attempts: job.attempts.length === 0 ? undefined : job.attempts,
    notBeforeMs: job.notBeforeMs ?? undefined,
    specOf: specOf === sequence ? undefined : specOf,
  };
  return JSON.stringify(record);
}

/** What of an ended job's row decides how long it is kept; its specification is not read. */
export function parseEnded({ sequence, id, record }: Pick<JobRow, 'sequence' | 'id' | 'record'>): EndedJob {
  const { array = null, attempts = [], ...stored } = JSON.parse(record) as StoredJob;
  const { state, submittedAtMs, endedAtMs, epoch, nodeId, result } = stored;
  return { sequence, id, array, attempts, state, submittedAtMs, endedAtMs, epoch, nodeId, result };
}

/** Texts of a row that its array's other jobs share. */
export type SharedTexts = Pick<JobRow, 'spec' | 'submission'>;
type Shared = Pick<JobRecord, 'spec' | 'submission'>;

/** Reads rows; `textsOf` gives the texts that another row carries. */
export function createRowParser(textsOf: (sequence: number) => SharedTexts | null): (row: JobRow) => Indexed {
  const defaults = jobSpecSchema.parse({ version: 1, command: ['true'] });
  const shared = new Map<number, Shared>();

  /** Of this version or an earlier one: what that did not know has its default. */
  function parseSpec(text: string): JobSpec {
    const spec = JSON.parse(text) as JobSpec;
    const accelerators = spec.resources?.accelerators ?? null;
    return {
      ...defaults,
      ...spec,
      resources: {
        ...defaults.resources,
        ...spec.resources,
        accelerators: accelerators === null ? null : acceleratorRequestSchema.parse(accelerators),
      },
    };
  }

  function parseTexts({ spec, submission }: SharedTexts, sequence: number): Shared {
    if (spec === null) throw new Error(`the store has no specification for sequence ${sequence}`);
    return {
      spec: parseSpec(spec),
      submission: submission === null ? null : (JSON.parse(submission) as JobSubmission),
    };
  }

  function sharedTexts(sequence: number, row: JobRow): Shared {
    const known = shared.get(sequence);
    if (known !== undefined) return known;
    const found = row.spec === null ? textsOf(sequence) : row;
    const texts = parseTexts(found ?? row, sequence);
    shared.set(sequence, texts);
    const [oldest] = shared.keys();
    if (shared.size > SHARED_SPECS && oldest !== undefined) shared.delete(oldest);
    return texts;
  }

  return (row) => {
    const { id, sequence, record } = row;
    const stored = JSON.parse(record) as StoredJob;
    const {
      devices = [],
      owner = null,
      array = null,
      retries = 0,
      attempts = [],
      notBeforeMs = null,
      specOf = sequence,
      result,
      ...fields
    } = stored;
    const isShared = row.spec === null || array !== null;
    const { spec, submission } = isShared ? sharedTexts(specOf, row) : parseTexts(row, sequence);
    return {
      job: {
        id,
        spec,
        submission,
        owner,
        devices,
        array,
        retries,
        attempts,
        notBeforeMs,
        result: result === null ? null : completeResult(result),
        ...fields,
      },
      sequence,
      specOf,
    };
  };
}
