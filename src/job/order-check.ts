// The door of the job room: what comes over the wire is let in only as an order that the scheduler signed for this node,
// and only as far as it says. Behind it there are no signatures any more. A refusal here leaves no trace in the journal:
// whoever cannot sign must not be able to use up the name of an attempt.
import type { Clock } from '../base/clock.ts';
import { describeError, Fault, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { createRefusalLog } from '../base/refusal-log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import type { StartOrder, StopOrder } from '../protocol/control.ts';
import type { Exec, ExecEvents, ExecOrder } from '../protocol/exec.ts';
import type { SignedExec, SignedStart, SignedStop } from '../protocol/order.ts';
import { type OrderReader, openExec, openStart, openStop } from '../protocol/order-seal.ts';
import type { Signed } from '../protocol/signed.ts';
import type { OrderProof } from './book.ts';
import { guardExec } from './exec-input.ts';
import type { Jobs, OrderAnswer } from './job.ts';
import type { Submitters } from './submitters.ts';
import type { Trust } from './trust.ts';

/** Orders as they travel; the unsigned ones are of version 1. */
export type OrderMessage = StartOrder | StopOrder | SignedStart | SignedStop;
export type ExecMessage = ExecOrder | SignedExec;

/** require: nothing is done without a signature · optional: unsigned orders are carried out, with a warning. */
export type SignatureMode = 'require' | 'optional';

export interface OrderDoor {
  /** Never rejects for what is wrong with the order. */
  order(message: OrderMessage): Promise<OrderAnswer>;
  /** A refusal comes through `events.ended`, never before this returns. */
  exec(message: ExecMessage, events: ExecEvents): Exec;
  /** What the scheduler tells of its keys. */
  learnKeys(statements: readonly Signed[]): void;
}

export interface OrderDoorParts {
  readonly jobs: Pick<Jobs, 'start' | 'stop' | 'execs'>;
  readonly nodeId: string;
  readonly trust: Trust;
  readonly signatures: SignatureMode;
  /** Null where anybody may submit who may submit to the scheduler. */
  readonly submitters: Submitters | null;
  /** An order was accepted. */
  readonly granted: (order: StartOrder) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: AuditSink;
}

export function createOrderDoor(parts: OrderDoorParts): OrderDoor {
  const { jobs, nodeId, trust, signatures, submitters, granted, clock, log, audit } = parts;
  const refusals = createRefusalLog(log, clock);

  const reader = (): OrderReader => ({
    schedulerId: trust.schedulerId(),
    nodeId,
    key: trust.key,
    nowMs: clock.wallMs(),
  });

  function requireSigned(what: string): void {
    if (signatures === 'require')
      throw new Fault('ORDER_UNSIGNED', `this node takes signed orders only, and ${what} is not signed`, {
        remedy:
          'upgrade the scheduler; until then "orders.signatures: optional" in the configuration of the node lets it pass',
      });
    refusals.refused({}, `${what} is not signed; this node is told to take it (orders.signatures: optional)`);
  }

  function open(message: SignedStart): { order: StartOrder; proof: OrderProof } {
    const now = reader();
    const { order, body } = openStart(message, now);
    submitters?.require(message, now.schedulerId);
    return { order, proof: { message, expiresAtMs: body.expiresAtMs } };
  }

  function openUnsigned(order: StartOrder): { order: StartOrder; proof: null } {
    requireSigned('the order');
    if (submitters !== null)
      throw new Fault('ORDER_SUBMITTER', 'this node takes only jobs that their submitter has signed');
    return { order, proof: null };
  }

  async function start(message: StartOrder | SignedStart): Promise<OrderAnswer> {
    const { order, proof } = message.type === 'start' ? openUnsigned(message) : open(message);
    const answer = await jobs.start(order, proof);
    if (answer.outcome === 'accepted') granted(order);
    return answer;
  }

  function stop(message: StopOrder | SignedStop): Promise<OrderAnswer> {
    if (message.type === 'stop') {
      requireSigned('the order to stop a job');
      return jobs.stop(message);
    }
    const { order, body } = openStop(message, reader());
    return jobs.stop(order, body.expiresAtMs);
  }

  function openCommand(message: ExecMessage) {
    if (submitters !== null)
      throw new Fault(
        'ORDER_SUBMITTER',
        'this node takes commands beside jobs from nobody: it asks for signatures of submitters, and those have none',
      );
    if (message.type === 'exec') {
      requireSigned('the command beside a job');
      return { order: message, untilMs: null, inputKey: null };
    }
    const { order, body } = openExec(message, reader());
    return { order, untilMs: body.expiresAtMs, inputKey: body.inputKey ?? null };
  }

  /** Begins an exec whose order was let in. Throws a Fault JOB_ORDER_UNFIT. */
  function begin(message: ExecMessage, events: ExecEvents): Exec {
    const { execId, jobId, epoch } = message;
    const { order, untilMs, inputKey } = openCommand(message);
    const facts = { order: 'exec', execId, jobId, epoch, by: order.by };
    const start = (to: ExecEvents): Exec =>
      jobs.execs.start(order, to, untilMs, (code) =>
        code === null ? audit('order.accepted', facts) : audit('order.refused', { ...facts, code }),
      );
    if (inputKey === null) return start(events);
    const refused = (fault: Fault): void => {
      const { code } = refuse(message, fault);
      audit('order.refused', { order: 'exec', execId, jobId, epoch, code });
    };
    return guardExec({ execId, inputKey, events, start, refused });
  }

  function refuse(message: OrderMessage | ExecMessage, fault: Fault): OrderAnswer {
    const { jobId, epoch } = message;
    const text = describeError(fault);
    refusals.refused(
      { jobId, epoch, order: message.type, code: fault.code },
      `an order was refused: ${text}`,
    );
    return { outcome: 'refused', code: fault.code, message: text };
  }

  function note(message: OrderMessage, answer: OrderAnswer): OrderAnswer {
    const { orderId, jobId, epoch } = message;
    const keyId = 'signed' in message ? message.signed.keyId : null;
    const isStop = message.type === 'stop' || message.type === 'signedStop';
    const { outcome, code } = answer;
    const done = isStop ? 'order.stopped' : 'order.accepted';
    audit(outcome === 'refused' ? 'order.refused' : done, {
      order: isStop ? 'stop' : 'start',
      orderId,
      jobId,
      epoch,
      keyId,
      ...(outcome === 'refused' ? { code } : { repeated: outcome === 'duplicate' }),
    });
    return answer;
  }

  return {
    async order(message) {
      try {
        const isStart = message.type === 'start' || message.type === 'signedStart';
        return note(message, await (isStart ? start(message) : stop(message)));
      } catch (error) {
        if (!isFault(error)) throw error;
        return note(message, refuse(message, error));
      }
    },
    exec(message, events) {
      const { execId, jobId, epoch } = message;
      try {
        return begin(message, events);
      } catch (error) {
        if (!isFault(error)) throw error;
        const { code, message: text } = refuse(message, error);
        audit('order.refused', { order: 'exec', execId, jobId, epoch, code });
        queueMicrotask(() => events.ended({ exitCode: null, signal: null, code, message: text }));
        return { input() {}, resize() {}, signal() {}, outputTaken() {}, close() {} };
      }
    },
    learnKeys: (statements) => trust.learn(statements),
  };
}
