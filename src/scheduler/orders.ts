// Orders as nodes get them, and as they show them again. What is sent to a node that speaks version 2 is signed when it is
// sent, so that it is good for a short while only; a node of version 1 gets it with a seal. The specification of a job whose
// submitter signed it travels as the very text that they signed; any other is written here, without what has its default:
// an older node refuses a field that it does not know.
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import { type JobReport, MAX_FRAME_BYTES, type SchedulerMessage } from '../protocol/control.ts';
import type { ExecOrder } from '../protocol/exec.ts';
import { MAX_SPEC_TEXT_BYTES, ORDER_LIFE_MS } from '../protocol/order.ts';
import { readStart, sealExec, sealStart, sealStop } from '../protocol/order-seal.ts';
import type { Signed } from '../protocol/signed.ts';
import { type JobSpec, jobSpecSchema } from '../protocol/spec.ts';
import { SIGNED_SINCE_VERSION } from '../protocol/version.ts';
import type { KnownOrder } from './adoption.ts';
import type { Order } from './fleet.ts';
import type { JobRecord, JobSubmission } from './queue/queue.ts';
import type { SchedulerKey } from './scheduler-key.ts';

/** Everything in the frame of an order but its specification and its devices. */
const ORDER_BYTES = 8 * 1024;
/** An id of a device in a text within a text. */
const DEVICE_BYTES = 104;

/** Who an order is for. */
export interface Addressee {
  readonly nodeId: string;
  /** Protocol version of its session. */
  readonly version: number;
}

export interface Orders {
  /** The message for this node. */
  message(to: Addressee, orderId: string, order: Order): SchedulerMessage;
  /** `inputKey`: what its input is signed with; a node of version 1 is not told. */
  exec(to: Addressee, order: ExecOrder, inputKey?: string): SchedulerMessage;
  /** What a node says that it was ordered; null where nobody can tell. */
  read(nodeId: string, report: JobReport): KnownOrder | null;
  /** By which nodes learn the keys. */
  statements(): readonly Signed[];
}

export function createOrders(schedulerId: string, key: SchedulerKey, clock: Pick<Clock, 'wallMs'>): Orders {
  const seal = (body: string): Signed => key.ring.sign('flopd.v2 order', body);

  function address(nodeId: string) {
    const issuedAtMs = clock.wallMs();
    return { schedulerId, nodeId, issuedAtMs, expiresAtMs: issuedAtMs + ORDER_LIFE_MS };
  }

  return {
    message({ nodeId, version }, orderId, order) {
      const { id: jobId, epoch, owner, array, submittedAtMs, spec, submission } = order.job;
      const names = { orderId, jobId, epoch };
      const isSigned = version >= SIGNED_SINCE_VERSION;
      if (order.kind === 'stop') {
        const { by, reason } = order;
        return isSigned
          ? sealStop(seal, { ...address(nodeId), ...names, by, reason })
          : { type: 'stop', ...names, by, reason };
      }
      const devices = [...order.job.devices];
      if (isSigned) {
        const submitter = owner === null ? null : { user: owner };
        const fields = { ...address(nodeId), ...names, submitter, array, devices, submittedAtMs };
        return sealStart(seal, fields, specText(order.job), signatureOf(submission));
      }
      const plain = withoutDefaults(spec) as JobSpec;
      return { type: 'start', ...names, spec: plain, array, devices, seal: key.seal(order.job) };
    },
    exec({ nodeId, version }, order, inputKey) {
      if (version < SIGNED_SINCE_VERSION) return order;
      const { execId, jobId, epoch, by, command, terminal, terminalType } = order;
      const names = { orderId: createId('order'), execId, jobId, epoch, by };
      const keys = inputKey === undefined ? {} : { inputKey };
      return sealExec(seal, { ...address(nodeId), ...names, ...keys }, { command, terminal, terminalType });
    },
    read(nodeId, { order, proof }) {
      if (proof === null) {
        if (order === null) return null;
        return { order, submittedAtMs: key.readSeal(nodeId, order), owner: null, submission: null };
      }
      const opened = tryRead(proof);
      if (opened === null) return null;
      const { body, order: ordered } = opened;
      const isOurs =
        key.ring.isOurs('flopd.v2 order', proof.signed) &&
        body.schedulerId === schedulerId &&
        body.nodeId === nodeId;
      const submission = proof.submission === null ? null : { text: proof.spec, ...proof.submission };
      const owner = isOurs ? (body.submitter?.user ?? null) : null;
      return { order: ordered, submittedAtMs: isOurs ? body.submittedAtMs : null, owner, submission };
    },
    statements: () => key.ring.statements(),
  };
}

function tryRead(proof: NonNullable<JobReport['proof']>) {
  try {
    return readStart(proof);
  } catch {
    // Of a build that could not be read, or changed: nobody knows the order any more.
    return null;
  }
}

function signatureOf(submission: JobSubmission | null) {
  if (submission === null) return null;
  const { publicKey, signedAtMs, signature } = submission;
  return { publicKey, signedAtMs, signature };
}

/** The text of a job's specification as it is ordered. */
export function specText({ spec, submission }: Pick<JobRecord, 'spec' | 'submission'>): string {
  return submission?.text ?? JSON.stringify(withoutDefaults(spec));
}

const defaults = jobSpecSchema.parse({ version: 1, command: ['x'] });

function withoutDefaults(spec: JobSpec): object {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(spec)) {
    const isDefault =
      value === defaults[name as keyof JobSpec] || isDeepStrictEqual(value, defaults[name as keyof JobSpec]);
    const isKept = name === 'version' || name === 'command' || !isDefault;
    if (isKept) kept[name] = value;
  }
  return kept;
}

/**
 * Throws a Fault JOB_ORDER_TOO_LONG for a job whose order would not fit into a frame of the link: with its longest
 * field, and what to do.
 */
export function requireFit(job: Pick<JobRecord, 'spec' | 'submission'>): void {
  const text = specText(job);
  const devices = (job.spec.resources.accelerators?.count ?? 0) * DEVICE_BYTES;
  const roomBytes = MAX_FRAME_BYTES - ORDER_BYTES - devices;
  const isShort = Buffer.byteLength(text) <= MAX_SPEC_TEXT_BYTES;
  // A character becomes six at the most.
  if (text.length * 6 <= roomBytes) return;
  if (isShort && Buffer.byteLength(JSON.stringify(text)) <= roomBytes) return;
  const sizes = Object.entries(job.spec).map(([name, value]) => ({
    name,
    length: JSON.stringify(value).length,
  }));
  const [longest] = sizes.sort((a, b) => b.length - a.length);
  throw new Fault(
    'JOB_ORDER_TOO_LONG',
    `the order of this job would be longer than ${MAX_FRAME_BYTES} bytes`,
    {
      field: longest?.name ?? 'command',
      remedy: 'put long data into a file, and that into the inputs of the job',
    },
  );
}
