// Bodies that never end cannot fill the memory of the scheduler, and what they held comes back.
import type { IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { MAX_BODIES_BYTES, MAX_BODY_BYTES, readBody } from '../../../src/scheduler/http.ts';

const busy = expect.objectContaining({ code: 'API_BUSY' });

test('of more than fit in all, the next is refused at once, and taken when the others have gone', async () => {
  // The same bytes each time: the test itself takes no memory.
  const piece = Buffer.alloc(MAX_BODY_BYTES, 0x20);
  let leave = (_: Error): void => {};
  const gone = new Promise<never>((_, reject) => (leave = reject));
  gone.catch(() => {});
  const ask = (stalls: boolean): Promise<object> => {
    async function* body(): AsyncGenerator<Buffer> {
      yield piece;
      if (stalls) await gone;
    }
    return readBody(Object.assign(body(), { headers: {} }) as unknown as IncomingMessage, z.object({}));
  };
  const slow = Array.from({ length: MAX_BODIES_BYTES / MAX_BODY_BYTES }, () => ask(true));
  const left = Promise.allSettled(slow);
  await new Promise(setImmediate);
  await expect(ask(false)).rejects.toThrow(busy);
  leave(new Error('aborted'));
  await left;
  // Let in; that blanks are no JSON is another matter.
  await expect(ask(false)).rejects.toThrow(expect.objectContaining({ code: 'API_JSON' }));
});
