import { expect, test } from 'vitest';
import { createOrderGate } from '../../../src/link/order-gate.ts';
import type { Order } from '../../../src/link/orders.ts';
import { createFakeSigner } from '../../fakes/signer.ts';
import { startOrder, stopOrder } from '../job/samples.ts';
import { createHandClock } from './parts.ts';

const leased = (jobId: string): Order =>
  startOrder(jobId, 1, { disconnect: { policy: 'stop', afterMs: 20_000 } });

test('an agent that was stopped asks before it acts, and acts on nothing of a dead session', async () => {
  const clock = createHandClock();
  const done: string[] = [];
  let asked = 0;
  const gate = createOrderGate({
    freshMs: () => 3000,
    ask: () => {
      asked += 1;
    },
    clock,
  });
  const take = (order: Order): void => gate.pass(order, () => void done.push(`${order.type} ${order.jobId}`));
  gate.contact(clock.monotonicMs());
  await clock.advance(2900);
  take(leased('job-1'));
  expect(done).toEqual(['start job-1']);

  await clock.advance(60_000); // SIGSTOP, SIGCONT; these lay in the socket
  take(leased('job-2'));
  take(leased('job-3'));
  take(startOrder('job-4')); // goes on without its scheduler: nobody has given it to another node
  take(stopOrder('job-1'));
  expect(done.slice(1)).toEqual(['start job-4', 'stop job-1']);
  expect(asked).toBe(1);
  gate.contact(clock.monotonicMs() - 59_000); // an echo from before: proves nothing
  expect(done).toHaveLength(3);
  gate.contact(clock.monotonicMs());
  expect(done.slice(3)).toEqual(['start job-2', 'start job-3']);

  await clock.advance(60_000);
  const signer = createFakeSigner('scheduler-1', () => 'node-1');
  // Whatever its policy: another agent with its key may have been taken in its place.
  take(signer.start('job-6', { version: 1, command: ['true'] }));
  take(signer.stop('job-7'));
  expect(done.slice(5)).toEqual(['signedStop job-7']);
  gate.contact(clock.monotonicMs());
  expect(done.slice(6)).toEqual(['signedStart job-6']);

  await clock.advance(60_000);
  take(leased('job-5'));
  gate.end();
  gate.contact(clock.monotonicMs());
  expect(done).toHaveLength(7);
});
