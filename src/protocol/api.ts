// The scheduler's HTTP API, version 1, as its clients (command line, dashboard) and its server see it.
//
//   POST /v1/jobs                 body: job specification            201 JobView; of an array ArrayView
//   GET  /v1/jobs?state=&limit=&array=&grouped=                      {jobs: JobView[]}   newest first, see below
//   GET  /v1/jobs/ID              ID or an unambiguous start of one; arr-ID.N of an array's job N   JobView
//   POST /v1/jobs/ID/cancel       body: {reason?: string}            JobView
//   GET  /v1/jobs/ID/follow?stdout=OFFSET&stderr=OFFSET              stream of follow records, see below
//   GET  /v1/jobs/ID/output?stream=stdout|stderr&offset=N&attempt=N  the bytes stored so far
//   GET  /v1/jobs/ID/outputs?attempt=N&since=MS                      OutputsView
//   GET  /v1/jobs/ID/exec         upgrade to a WebSocket             a command beside the running job: exec.ts
//   GET  /v1/arrays/ID                                               ArrayView
//   GET  /v1/arrays/ID/members?indices=0-9,12                        {members: MemberView[]}   at most 1000
//   POST /v1/arrays/ID/cancel     body: {reason?: string}            ArrayView
//   /v1/files, /v1/trees          files of jobs: file-api.ts
//   GET  /v1/nodes                                                   {nodes: NodeView[], fleet: FleetTotals}
//   GET  /v1/nodes/ID-or-name                                        NodeView
//   POST /v1/nodes/ID-or-name/drain   body: DrainRequest             NodeView
//   POST /v1/nodes/ID-or-name/resume  body: ResumeRequest            NodeView
//   POST /v1/nodes/ID-or-name/remove  body: {}                       RemovedNode
//   GET  /v1/overview             no token needed on loopback        OverviewView
//   /v1/join-tokens, /v1/nodes/…/{revoke,place,label,trust}          membership: join-token.ts
//   POST /v1/enrol                body: EnrolRequest                 EnrolAnswer
//   GET  /healthz /readyz /metrics /
//
// All of /v1 but overview and enrol needs `Authorization: Bearer TOKEN`. A failure is 4xx or 5xx with ErrorView.
//
// Jobs of an array: with `array=arr-ID` only its own, by index. With `grouped=true` those of one array that are in the
// same state are one JobView with `members`, but for those with a node, which stand alone.
//
// Follow records: u8 kind, u32 length (big endian), payload. Kind 0: JobView as JSON, sent at the start and on
// every change of state; 1: stdout bytes; 2: stderr bytes; 3: empty, keeps the connection alive; 4: StoredGap as
// JSON, where bytes are missing: before the byte at `atByte` of its stream, or later where it became known later.
// After the final JobView and the last output byte the server ends the response.
import * as z from 'zod';
import type { Credential, Inventory } from './control.ts';
import type { Cordon } from './device.ts';
import type { FleetTotals } from './device-totals.ts';
import type { DeviceView } from './device-view.ts';
import type { Labels, Place } from './place.ts';
import type { EndKind, FinalState, JobResult, JobState, Usage } from './result.ts';
import type { Signed } from './signed.ts';
import type { JobSpec } from './spec.ts';

export const followKind = { job: 0, stdout: 1, stderr: 2, keepAlive: 3, gap: 4 } as const;

export interface JobView {
  readonly id: string;
  readonly name: string | null;
  readonly state: JobState;
  /** One sentence: why it waits, where it runs, or why it ended, with evidence. */
  readonly reason: string;
  readonly spec: JobSpec;
  /** True where the caller may not see it whole: command, environment, files and sentences that quote them are left out. */
  readonly hidden: boolean;
  /** Name of the user who submitted it; null where that is not known. */
  readonly owner: string | null;
  readonly node: { readonly id: string; readonly name: string } | null;
  /** Which attempt this is; 0 while it has never been ordered to a node. */
  readonly epoch: number;
  /** Ids of the devices or partitions that it holds, or held; empty for one that never was placed or asked for none. */
  readonly devices: readonly string[];
  readonly cancelRequested: boolean;
  /** ISO 8601, UTC; null while it has not happened. */
  readonly submittedAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly result: JobResult | null;
  /** Which of its array it is; null for a job of its own. */
  readonly array: { readonly id: string; readonly index: number; readonly size: number } | null;
  /** Indices (`0-9,12`) of the jobs that this one stands for, in a list with `grouped`; null for itself alone. */
  readonly members: string | null;
  /** By which rule its data is where it runs or ran, a clause; null where it states none, or is with no node. */
  readonly dataRule: string | null;
  /** How often it was started again after an attempt that its retry policy names. */
  readonly retries: number;
  /** What became of the attempts before the present one, oldest first, at most the last 20. */
  readonly attempts: readonly AttemptView[];
  /** When it is started again at the earliest; null where nothing holds it back. */
  readonly notBefore: string | null;
  /** Output bytes that the scheduler holds. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Why its output is not kept any more, in words; null where it is. */
  readonly outputRemoved: string | null;
}

/** What the scheduler has of one attempt's output. */
export interface OutputsView {
  readonly attempt: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Where in each stream what came since the given time begins, to about a second; null where none was given. */
  readonly since: { readonly stdout: number; readonly stderr: number } | null;
  readonly removed: string | null;
}

export interface AttemptView {
  readonly epoch: number;
  readonly node: { readonly id: string; readonly name: string };
  readonly state: FinalState;
  readonly endKind: EndKind;
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly cause: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** What it used; absent in the answer of a scheduler that does not keep it. */
  readonly usage?: Usage;
}

export interface ArrayView {
  readonly id: string;
  readonly name: string | null;
  /** One sentence: how many of its jobs stand how, and why those that wait do. */
  readonly reason: string;
  readonly spec: JobSpec;
  readonly hidden: boolean;
  readonly owner: string | null;
  readonly size: number;
  readonly counts: Readonly<Record<JobState, number>>;
  /** Indices (`0-9,12`) of the jobs in each state; states without any are left out. */
  readonly indices: Readonly<Partial<Record<JobState, string>>>;
  readonly submittedAt: string;
  /** All have ended. */
  readonly ended: boolean;
}

/** A job of an array, in short. */
export interface MemberView {
  readonly index: number;
  readonly id: string;
  readonly state: JobState;
  readonly reason: string;
  readonly epoch: number;
  readonly endKind: EndKind | null;
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}
/** Members that one request may ask for. */
export const MAX_MEMBERS_ASKED = 1000;

/** The host's present figures, built from one telemetry window. Numbers are null where absent; see `absent`. */
export interface HostView {
  /** ISO 8601 stamp of the end of the window. */
  readonly sampledAt: string;
  readonly cpu: {
    readonly busyRatio: number | null;
    readonly coreBusyRatio: Readonly<Record<string, number | null>>;
    readonly secondsTotal: Readonly<Record<string, number | null>>;
    readonly load1: number | null;
    readonly load5: number | null;
    readonly load15: number | null;
    readonly clockHertz: number | null;
  };
  readonly memory: {
    readonly totalBytes: number | null;
    readonly usedBytes: number | null;
    readonly availableBytes: number | null;
    readonly freeBytes: number | null;
    readonly swapTotalBytes: number | null;
    readonly swapFreeBytes: number | null;
  };
  readonly disks: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
  readonly network: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
  readonly storage: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
  readonly pressure: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
  /** Sum over power sources; null with a reason in `absent` where the host has none. */
  readonly powerWatts: number | null;
  readonly energyJoulesTotal: number | null;
  readonly sensors: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
  /** Path of each absent number and why, e.g. `{"powerWatts": "unsupported"}`. */
  readonly absent: Readonly<Record<string, string>>;
}

export interface NodeView {
  readonly id: string;
  readonly name: string;
  /** ready: connected and takes jobs · unreachable: no link at present */
  readonly state: 'ready' | 'unreachable';
  /** One sentence, e.g. since when it is unreachable. */
  readonly reason: string;
  /** Whether new jobs may come: connected, its agent takes orders, not drained, not paused after a refusal. */
  readonly takesJobs: boolean;
  /** Why an operator keeps new jobs away from the whole node; null where nobody does. */
  readonly cordon: Cordon | null;
  /** More than one agent is taken to have its key: it takes no new jobs; null where none is. */
  readonly cloned: { readonly since: string; readonly reason: string } | null;
  /** As its credential says. */
  readonly place: Place;
  readonly labels: Labels;
  readonly agentVersion: string | null;
  readonly bootId: string | null;
  readonly enrolledAt: string;
  readonly connectedAt: string | null;
  readonly lastSeenAt: string | null;
  readonly inventory: Inventory | null;
  readonly resources: {
    readonly cpus: { readonly total: number; readonly held: number };
    readonly memoryBytes: { readonly total: number; readonly held: number };
  } | null;
  readonly jobs: readonly string[];
  /** Latest window, or null while there is none. */
  readonly host: HostView | null;
  /** Age of that window when this view was made. */
  readonly hostAgeSeconds: number | null;
  /** Its accelerators; what the scheduler knows beyond the node stands in `cordon` and `heldBy`. */
  readonly devices: readonly NodeDeviceView[];
}

/** A device of a node: the cordon is the scheduler's or else the node's. */
export type NodeDeviceView = Omit<DeviceView, 'partitions'> & {
  /** Jobs that it is granted to. */
  readonly heldBy: readonly string[];
  readonly partitions: readonly NodeDeviceView[];
};

const deviceName = z.string().min(1).max(128);
export const drainRequestSchema = z.strictObject({
  /** Id of a device or partition, or `vendor:index`; null for the whole node. */
  device: deviceName.nullable().default(null),
  reason: z.string().min(1).max(512),
  /** Lifted by itself after this time; null: when somebody resumes it. */
  forMs: z
    .number()
    .int()
    .min(1)
    .max(366 * 24 * 3600 * 1000)
    .nullable()
    .default(null),
});
export type DrainRequest = z.input<typeof drainRequestSchema>;
export const resumeRequestSchema = z.strictObject({ device: deviceName.nullable().default(null) });
export type ResumeRequest = z.input<typeof resumeRequestSchema>;

/** A node that an operator has removed. */
export interface RemovedNode {
  readonly id: string;
  readonly name: string;
  /** Jobs that were with it, and are lost. */
  readonly jobs: readonly string[];
}

export interface OverviewView {
  readonly schedulerId: string;
  readonly version: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly state: NodeView['state'];
    readonly cpuThreads: number | null;
    readonly cpuBusyRatio: number | null;
    readonly memoryTotalBytes: number | null;
    readonly memoryUsedBytes: number | null;
    readonly powerWatts: number | null;
    readonly peakFlopsFp64: number | null;
    readonly devices: number;
    readonly hostAgeSeconds: number | null;
  }[];
  readonly jobs: Readonly<Record<JobState, number>>;
  /** Accelerators of all nodes, in sums. */
  readonly fleet: FleetTotals;
}

/** Answer of GET /v1/authorities: who may sign the scheduler's certificate, PEM; empty where that is not its own. */
export interface AuthoritiesView {
  readonly authorities: readonly string[];
}

/** Where the succession of the scheduler's private authority stands. Pins as in base/authority-pin.ts. */
export interface AuthorityView {
  /** `announced`: the next is made known, the present one signs; `succeeded`: the next signs, the last is still trusted. */
  readonly phase: 'steady' | 'announced' | 'succeeded';
  readonly signs: string;
  readonly next: string | null;
  readonly previous: string | null;
  /** Wall clock; null while steady. */
  readonly nextPhaseAtMs: number | null;
  readonly certificateExpiresAtMs: number;
}

export const rotateAuthorityRequestSchema = z.strictObject({
  /** Does not wait for the overlap: the next step at once. */
  now: z.boolean().default(false),
});

/** The keys that the scheduler signs orders with, oldest first. Times: wall clock. */
export interface SchedulerKeysView {
  readonly keys: readonly {
    readonly keyId: string;
    /** Ed25519, DER (SPKI), base64. */
    readonly publicKey: string;
    readonly signsFromMs: number;
    /** Orders that it signed are good until then; null while nothing replaces it. */
    readonly notAfterMs: number | null;
  }[];
}

export const rotateKeyRequestSchema = z.strictObject({
  /** How long the present key goes on signing. */
  overlapMs: z
    .number()
    .int()
    .min(0)
    .max(90 * 86_400_000),
});

export const enrolRequestSchema = z.strictObject({
  version: z.literal(1),
  token: z.string().min(1).max(256),
  /** Ed25519 public key, DER (SPKI), base64. */
  publicKey: z.string().max(256),
  name: z.string().min(1).max(253),
  /** The id that it had before the scheduler lost it; granted when it is free. */
  nodeId: z
    .string()
    .regex(/^node-[0-9a-z]{1,32}$/)
    .optional(),
});
export type EnrolRequest = z.output<typeof enrolRequestSchema>;
export interface EnrolAnswer {
  readonly nodeId: string;
  readonly schedulerId: string;
  readonly credential: Credential;
  /** By which the node knows orders of this scheduler (keys.ts); oldest first. */
  readonly keys: readonly Signed[];
  /** With the place of the node (credential.ts). */
  readonly signedCredential: Signed;
}

export interface ErrorView {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly field: string | null;
    readonly remedy: string | null;
  };
}

/** What the daemons write to `--ready-file` and, as `endpoint.json`, into their state directory. */
export interface Endpoint {
  /** Scheduler's base URL; for a bare agent the scheduler that it is joined to. */
  readonly url: string;
  readonly metricsUrl: string | null;
  readonly pid: number;
  readonly stateDir: string;
}
