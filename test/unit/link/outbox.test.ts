import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createOutbox } from '../../../src/link/outbox.ts';

describe('outbox', () => {
  test('sends in the order of putting and keeps a message until it is acknowledged', () => {
    const outbox = createOutbox();
    const settled: string[] = [];
    for (const key of ['a', 'b', 'c'])
      outbox.put(
        key,
        (sequence) => `${key}${sequence}`,
        () => settled.push(key),
      );
    expect([outbox.next(), outbox.next(), outbox.next(), outbox.next()]).toEqual(['a1', 'b2', 'c3', null]);
    expect(outbox.acknowledge(2)).toBe(true);
    expect(settled).toEqual(['b']);
    expect(outbox.size()).toBe(2);
    outbox.rewind();
    expect([outbox.next(), outbox.next(), outbox.next()]).toEqual(['a1', 'c3', null]);
  });

  test('keeps one message per key, and makes its text once', () => {
    const outbox = createOutbox();
    let made = 0;
    const make = () => {
      made += 1;
      return 'text';
    };
    expect(outbox.put('a', make, () => {})).toBe(true);
    expect(outbox.put('a', make, () => {})).toBe(false);
    outbox.next();
    outbox.rewind();
    outbox.next();
    expect(made).toBe(1);
    outbox.acknowledge(1);
    expect(outbox.put('a', make, () => {})).toBe(true);
  });

  test('does not believe an acknowledgement for what this session has not sent', () => {
    const outbox = createOutbox();
    outbox.put(
      'a',
      () => 'a',
      () => {},
    );
    expect(outbox.acknowledge(1)).toBe(false);
    expect(outbox.acknowledge(7)).toBe(false);
    outbox.next();
    outbox.rewind();
    expect(outbox.acknowledge(1)).toBe(false);
    outbox.next();
    expect(outbox.acknowledge(1)).toBe(true);
    expect(outbox.acknowledge(1)).toBe(false);
  });

  test('keeps nothing of a message that could not be made', () => {
    const outbox = createOutbox();
    const fail = () => {
      throw new Error('no');
    };
    expect(() => outbox.put('a', fail, () => {})).toThrow('no');
    expect(outbox.size()).toBe(0);
    expect(
      outbox.put(
        'a',
        (sequence) => `a${sequence}`,
        () => {},
      ),
    ).toBe(true);
    expect(outbox.next()).toBe('a1');
  });

  test('under any history of sessions every message arrives, in order of first sending, with the same text', () => {
    const step = fc.oneof(
      fc.constant('put' as const),
      fc.constant('next' as const),
      fc.constant('ack' as const),
      fc.constant('drop' as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.infiniteStream(fc.nat()), (steps, random) => {
        const outbox = createOutbox();
        const arrived = new Map<number, string>();
        let onTheWay: number[] = [];
        const settled = new Set<number>();
        let put = 0;
        const take = (): boolean => {
          const text = outbox.next();
          if (text === null) return false;
          const sequence = Number(text.split(':')[0]);
          expect(arrived.get(sequence) ?? text).toBe(text);
          if (!arrived.has(sequence)) expect(Math.max(0, ...arrived.keys())).toBeLessThan(sequence);
          arrived.set(sequence, text);
          onTheWay.push(sequence);
          return true;
        };
        for (const kind of steps) {
          if (kind === 'put') {
            const mine = ++put;
            outbox.put(
              `k${mine}`,
              (sequence) => `${sequence}:${mine}`,
              () => settled.add(mine),
            );
          } else if (kind === 'next') take();
          else if (kind === 'drop') {
            outbox.rewind();
            onTheWay = [];
          } else if (onTheWay.length > 0) {
            const [sequence] = onTheWay.splice(random.next().value % onTheWay.length, 1);
            outbox.acknowledge(sequence as number);
          }
        }
        outbox.rewind();
        while (take());
        for (const sequence of [...arrived.keys()]) outbox.acknowledge(sequence);
        expect(arrived.size).toBe(put);
        expect(settled.size).toBe(put);
        expect(outbox.size()).toBe(0);
        expect(outbox.awaiting()).toBe(false);
      }),
    );
  });
});
