// Attacks A07 to A10 on the agent: every place of every message of a scheduler made wrong. Each is refused with a code and
// a field, answered as an order that is not understood, or means what it says; nothing of it reaches a prototype.
import { expect, test } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import { parseSchedulerMessage } from '../../../src/link/message.ts';
import { mutantsOf } from '../../fakes/mutants.ts';
import { messages } from '../protocol/messages.ts';

const ofSchedulers = Object.entries(messages).filter(([name]) => name.startsWith('scheduler.'));
/** Names that are no field of any message. */
const NEVER = /__proto__|constructor|prototype|toString/;

test.each(ofSchedulers)('%s', (_, message) => {
  let refused = 0;
  for (const { text, what } of mutantsOf(message)) {
    let parsed: ReturnType<typeof parseSchedulerMessage> | null = null;
    try {
      parsed = parseSchedulerMessage(Buffer.from(text));
    } catch (error) {
      if (!isFault(error)) throw error;
      refused += 1;
      expect(error.code, what).toMatch(/^LINK_/);
      expect(error.message.length, what).toBeLessThan(200);
    }
    // Inside of a specification the order is refused by its ids; of the one free map the name is left out.
    if (NEVER.test(what) && parsed !== null && parsed.message?.type !== 'unfit') {
      expect(what).toMatch(/^spec\.environment with __proto__$/);
      expect(JSON.stringify(parsed.message)).not.toContain('__proto__');
    }
    expect(({} as Record<string, unknown>).x).toBe(undefined);
  }
  expect(refused).toBeGreaterThan(0);
});

test.each([10_000, 1_000_000])('nested %i deep is refused before it is parsed', (depth) => {
  for (const text of ['['.repeat(depth), '{"a":'.repeat(Math.min(depth, 200_000))])
    expect(() => parseSchedulerMessage(Buffer.from(text))).toThrow(/nested deeper/);
});
