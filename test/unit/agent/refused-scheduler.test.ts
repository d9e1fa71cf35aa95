import { expect, test } from 'vitest';
import { watchScheduler } from '../../../src/agent/refused-scheduler.ts';
import { Fault } from '../../../src/base/fault.ts';
import type { SocketEvents } from '../../../src/link/socket.ts';

test('a scheduler that is not trusted, or is another, is written down once for each reason', async () => {
  const written: unknown[] = [];
  const watch = watchScheduler((kind, { code }) => written.push([kind, code]));
  const failures: string[] = [];
  const fail = (code: string): void => {
    const events = { failed: (error: Error) => void failures.push(error.message) } as unknown as SocketEvents;
    const connect = watch.sockets((_, told) => {
      told.failed(new Fault(code, code), null);
      return null as never;
    });
    connect('wss://host/v1/link', events);
  };
  fail('DIAL_UNREACHABLE');
  fail('DIAL_AUTHORITY_UNKNOWN');
  fail('DIAL_AUTHORITY_UNKNOWN');
  const other = new Fault('AGENT_OTHER_SCHEDULER', 'another');
  for (let n = 0; n < 3; n += 1) await expect(watch.hello(() => Promise.reject(other))).rejects.toBe(other);
  expect(await watch.hello(async () => 7)).toBe(7);
  fail('DIAL_AUTHORITY_UNKNOWN');
  expect(failures).toHaveLength(4);
  expect(written).toEqual([
    ['scheduler.refused', 'DIAL_AUTHORITY_UNKNOWN'],
    ['scheduler.refused', 'AGENT_OTHER_SCHEDULER'],
    ['scheduler.refused', 'DIAL_AUTHORITY_UNKNOWN'],
  ]);
});
