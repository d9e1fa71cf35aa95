import { expect, test } from 'vitest';
import { createAdmissionFlow } from '../../../src/link/admission.ts';
import { agentMessageSchema } from '../../../src/protocol/control.ts';

test('that no orders are taken is told with the hello, and after it whenever that changes, once', () => {
  const sent: unknown[] = [];
  let isLive = false;
  const flow = createAdmissionFlow((text) => {
    if (isLive) sent.push(agentMessageSchema.parse(JSON.parse(text)));
    return isLive;
  });
  const heartbeat = (refusing: string | null) => ({ type: 'heartbeat', sequence: null, refusing });
  expect(flow.tell()).toEqual({});
  isLive = true;
  flow.begin();
  flow.put(null);
  expect(sent).toEqual([]);
  flow.put('no durable space');
  flow.put('no durable space');
  flow.put(null);
  expect(sent).toEqual([heartbeat('no durable space'), heartbeat(null)]);

  // Between the hello and the welcome.
  isLive = false;
  flow.put('safe mode');
  expect(flow.tell()).toEqual({ refusing: 'safe mode' });
  flow.put(`x${'y'.repeat(2000)}`);
  isLive = true;
  flow.begin();
  expect(sent.slice(2)).toEqual([heartbeat(`x${'y'.repeat(1023)}`)]);
});
