// Orders on their way from the session to whoever carries them out, and their answers back. Bounded: when too many
// are under way the link stops reading, which the scheduler feels as a full window.
import { describeError, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { OrderAck, StartOrder, StopOrder } from '../protocol/control.ts';
import type { SignedStart, SignedStop } from '../protocol/order.ts';

/** Orders being carried out at the same time. */
export const MAX_ORDERS_IN_PROGRESS = 1024;
const MAX_MESSAGE = 1024;
const MAX_CODE = 64;

export type Order = StartOrder | StopOrder | SignedStart | SignedStop;
export type OrderHandler = (order: Order) => Promise<Pick<OrderAck, 'outcome' | 'code' | 'message'>>;

export interface Orders {
  /** Hands the order over at once and `answer`s with its acknowledgement, later. Never throws. */
  take(order: Order, answer: (ack: OrderAck) => void): void;
}

/** `setReading(false)` is called when no more orders fit, `setReading(true)` when there is room again. */
export function createOrders(handle: OrderHandler, setReading: (reading: boolean) => void, log: Log): Orders {
  let inProgress = 0;

  /** What goes wrong on this side is a refusal, so that the scheduler can place the job elsewhere. */
  async function acknowledge(order: Order): Promise<OrderAck> {
    const { orderId } = order;
    try {
      const { outcome, code, message } = await handle(order);
      return { type: 'orderAck', orderId, outcome, code, message: message?.slice(0, MAX_MESSAGE) ?? null };
    } catch (error) {
      const code = isFault(error) ? error.code.slice(0, MAX_CODE) : 'AGENT_ERROR';
      const message = describeError(error).slice(0, MAX_MESSAGE);
      log.error({ jobId: order.jobId, epoch: order.epoch, code }, `an order failed on this node: ${message}`);
      return { type: 'orderAck', orderId, outcome: 'refused', code, message };
    }
  }

  return {
    take(order, answer) {
      inProgress += 1;
      if (inProgress === MAX_ORDERS_IN_PROGRESS) setReading(false);
      acknowledge(order)
        .then((ack) => {
          inProgress -= 1;
          if (inProgress === MAX_ORDERS_IN_PROGRESS - 1) setReading(true);
          answer(ack);
        })
        .catch((error: unknown) => log.error({}, `cannot answer an order: ${describeError(error)}`));
    },
  };
}
