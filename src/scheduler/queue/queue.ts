// What a queue engine is: the durable store of jobs and nodes behind the scheduler. Two engines keep this one
// contract (embedded, later jetstream) and pass one suite. INVARIANT: a promise resolves only when the change is
// on disk; what was acknowledged to a client or an agent is never lost. Changes made in one turn of the event loop
// may share one commit. Queries answer from memory and see every change that was asked for, durable or not.
// When the store fails, everything not yet on disk is undone in memory, its promises reject with
// QUEUE_STORE_FAILED, and no further change is taken: a failed sync cannot be repeated and believed.
// A full disk is a stall, not a failure: changes to what is known stay in memory, their promises stay open, and they
// are written when there is space. Until then new jobs and nodes reject at once with QUEUE_STORE_FULL.
import type { Fault } from '../../base/fault.ts';
import type { Cordon } from '../../protocol/device.ts';
import type { Submission } from '../../protocol/order.ts';
import type { Labels, Place } from '../../protocol/place.ts';
import type { JobResult, JobState, Usage } from '../../protocol/result.ts';
import type { JobSpec } from '../../protocol/spec.ts';

/** An attempt that ended and after which the job was started again. */
export interface PastAttempt extends AttemptEnd {
  /** Absent where an older flopd wrote it down, or read it and wrote it again. */
  readonly usage?: Usage;
}
export type AttemptEnd = Pick<
  JobResult,
  | 'epoch'
  | 'nodeId'
  | 'state'
  | 'endKind'
  | 'exitCode'
  | 'signal'
  | 'cause'
  | 'startedAtMs'
  | 'endedAtMs'
  | 'stdoutBytes'
  | 'stderrBytes'
>;

/** What its submitter signed: the exact text of the specification, and the signature (`submissionText`). */
export interface JobSubmission extends Submission {
  readonly text: string;
}

export interface JobRecord {
  readonly id: string;
  readonly spec: JobSpec;
  /** Null for a job whose submitter signed nothing. The jobs of an array share one. */
  readonly submission: JobSubmission | null;
  /** Which of its array it is; null for a job of its own. */
  readonly array: { readonly id: string; readonly index: number; readonly size: number } | null;
  readonly state: JobState;
  readonly submittedAtMs: number;
  /** Name of the user who submitted it; null for one from before there were users, or whose owner was lost with a store. */
  readonly owner: string | null;
  /** Attempt that is (or was last) ordered; 0 before the first. */
  readonly epoch: number;
  readonly nodeId: string | null;
  /** Run of its agent that was there when the attempt was ordered (clones.ts); none where nobody knows. */
  readonly orderedTo?: string | null;
  /** Devices and partitions of that node that are granted to this attempt; kept, when it has ended, for the record. */
  readonly devices: readonly string[];
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
  /** How often it has been started again after an end that its retry policy names. */
  readonly retries: number;
  /** What became of the attempts before, oldest first; the last MAX_PAST_ATTEMPTS (retry.ts). */
  readonly attempts: readonly PastAttempt[];
  /** It waits at least until then (wall clock); null where nothing holds it back. */
  readonly notBeforeMs: number | null;
  /** Who asked for cancellation, or null. */
  readonly cancelBy: string | null;
  readonly result: JobResult | null;
  /** For states without a result: the sentence for people. */
  readonly reason: string;
}

export type JobChange = Partial<
  Omit<JobRecord, 'id' | 'spec' | 'submission' | 'array' | 'submittedAtMs' | 'owner'>
>;

/** What is read of an ended job when it is decided how long it is kept. */
export interface EndedJob
  extends Pick<
    JobRecord,
    'id' | 'array' | 'state' | 'submittedAtMs' | 'endedAtMs' | 'epoch' | 'nodeId' | 'attempts' | 'result'
  > {
  /** Its place in the order of submission. */
  readonly sequence: number;
}

export interface NodeRecord {
  readonly id: string;
  readonly name: string;
  /** Ed25519 public key, DER (SPKI), base64. */
  readonly publicKey: string;
  readonly enrolledAtMs: number;
  /** Highest generation that said hello. */
  readonly generation: number;
  readonly bootId: string | null;
  /** Run of the agent with that generation; absent of one of protocol version 1. */
  readonly instance?: string | null;
  /** When an operator removed it; absent for a member. */
  readonly removedAtMs?: number;
  /** Where it stands, and its labels, as its credential says; absent for nowhere and none. */
  readonly place?: Place;
  readonly labels?: Labels;
  /** Of its latest credential; absent for the first. */
  readonly serial?: number;
  /** Since when, and why, more than one agent is taken to have its key; absent where none is. */
  readonly cloned?: { readonly sinceMs: number; readonly reason: string };
  /** Where operators keep new jobs away; those that have run out may still stand in it. */
  readonly cordons?: { readonly node: Cordon | null; readonly devices: Readonly<Record<string, Cordon>> };
}

/** How the jobs of an array stand now. */
export interface ArrayTally {
  readonly id: string;
  /** Lowest and highest index. */
  readonly first: number;
  readonly last: number;
  /** Jobs that there are: of a store that was lost, only those that came back from their nodes. */
  readonly size: number;
  state(index: number): JobState | null;
  count(state: JobState): number;
}

export interface JobFilter {
  readonly state?: JobState;
  /** Only jobs of this array, in the order of their index. */
  readonly array?: string;
  /** Each array once, by one of its jobs; with `state`, where any of them is in that state. */
  readonly grouped?: boolean;
  readonly limit: number;
}

/** What else the scheduler keeps: few, small, each a JSON value with an id of its kind. */
export type DocumentKind = 'user' | 'joinToken' | 'nodeHead';
/** Longest JSON of one document. */
export const MAX_DOCUMENT_BYTES = 16 * 1024;

export interface Queue {
  insertJob(job: JobRecord): Promise<void>;
  /** Takes in all jobs of an array, in the order of their index, in one commit. They share one specification. */
  insertArray(jobs: readonly JobRecord[]): Promise<void>;
  /**
   * Replaces fields of a job; throws Fault QUEUE_JOB_UNKNOWN for an unknown id. A change that nobody waits for
   * may say `soon`: it then shares the next commit, at most a few milliseconds later.
   */
  updateJob(id: string, change: JobChange, when?: 'now' | 'soon'): Promise<void>;
  job(id: string): JobRecord | null;
  /** Jobs whose id starts with the text. */
  jobsByPrefix(prefix: string, limit: number): readonly JobRecord[];
  /** Newest first. */
  jobs(filter: JobFilter): readonly JobRecord[];
  /** Null for an unknown array. What it shows follows every change. */
  array(id: string): ArrayTally | null;
  /** Ids of arrays that start with the text. */
  arraysByPrefix(prefix: string, limit: number): readonly string[];
  /** Waiting jobs by priority (high first), then by order of submission. */
  pending(): Iterable<JobRecord>;
  /** STARTING and RUNNING jobs, all or of one node. */
  active(nodeId?: string): Iterable<JobRecord>;
  counts(): Readonly<Record<JobState, number>>;
  /** Ended jobs on disk in the order of submission, those behind a place; fewer than `limit` where they are long. */
  endedJobs(after: number, limit: number): readonly EndedJob[];
  /** Whether a job that waits was submitted to wait for this job or array. */
  isAwaited(id: string): boolean;
  /**
   * Takes out ended jobs in one commit, the jobs of an array together or not at all: they carry one specification.
   * Those that have not ended, that are awaited or that are on their way to the disk stay. Resolves to the ids of the
   * others.
   */
  removeJobs(
    jobs: readonly Pick<EndedJob, 'id' | 'array' | 'state' | 'sequence'>[],
  ): Promise<readonly string[]>;
  putNode(node: NodeRecord): Promise<void>;
  node(id: string): NodeRecord | null;
  nodes(): readonly NodeRecord[];
  /** Makes or replaces one. Throws Fault QUEUE_DOCUMENT_TOO_LONG above MAX_DOCUMENT_BYTES. */
  putDocument(kind: DocumentKind, id: string, value: unknown): Promise<void>;
  /** Also of one that is not there. */
  removeDocument(kind: DocumentKind, id: string): Promise<void>;
  /** All of a kind by id, as they are now: the map follows every change. */
  documents(kind: DocumentKind): ReadonlyMap<string, unknown>;
  /** Why it takes no more changes (QUEUE_STORE_FAILED) or no new jobs (QUEUE_STORE_FULL), or null while it is well. */
  failure(): Fault | null;
  /** Waits for everything asked so far, then closes. */
  close(): Promise<void>;
}
