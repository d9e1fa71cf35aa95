import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createWaitingLine, type Waiting } from '../../../../src/scheduler/queue/waiting-line.ts';

describe('the waiting line', () => {
  it('says of each job how many are ahead, whatever came, went and came back', () => {
    const step = fc.record({ add: fc.boolean(), sequence: fc.nat({ max: 900 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 1500, size: 'max' }), (steps) => {
        const line = createWaitingLine<Waiting>();
        const model = new Map<string, Waiting>();
        for (const { add, sequence } of steps) {
          const item = { id: `job-${sequence}`, priority: sequence % 3, sequence };
          if (add) {
            line.add(item);
            model.set(item.id, item);
          } else {
            expect(line.remove(item.id)).toBe(model.delete(item.id));
          }
        }
        const order = [...model.values()].sort((a, b) => b.priority - a.priority || a.sequence - b.sequence);
        for (const [at, { id }] of order.entries()) expect(line.ahead(id)).toBe(at);
        expect(line.ahead('job-none')).toBe(-1);
        expect([...line].map(({ id }) => id)).toEqual(order.map(({ id }) => id));
      }),
      { numRuns: 30 },
    );
  });
});
