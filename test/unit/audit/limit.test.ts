import { expect, test } from 'vitest';
import { limitAudit, RECORDS_PER_PERIOD } from '../../../src/audit/limit.ts';
import type { AuditFacts } from '../../../src/protocol/audit.ts';
import { createFakeClock } from '../job/fake-clock.ts';

test('what strangers bring about is bounded and counted; what was decided about members is all there', () => {
  const clock = createFakeClock();
  const written: { kind: string; facts: AuditFacts }[] = [];
  const record = limitAudit((kind, facts) => written.push({ kind, facts }), clock);
  for (let n = 0; n < 10_000; n += 1) record('access.denied', { address: '192.0.2.1' });
  for (let n = 0; n < 1000; n += 1) record('job.ordered', { n });
  expect(written.filter(({ kind }) => kind === 'access.denied')).toHaveLength(RECORDS_PER_PERIOD);
  expect(written.filter(({ kind }) => kind === 'job.ordered')).toHaveLength(1000);
  clock.advance(10_000);
  expect(written.at(-1)).toEqual({
    kind: 'access.denied',
    facts: { suppressed: 10_000 - RECORDS_PER_PERIOD },
  });
  record('access.denied', { address: '192.0.2.2' });
  expect(written.at(-1)?.facts).toEqual({ address: '192.0.2.2' });
  clock.advance(60_000);
  expect(written.filter(({ facts }) => facts.suppressed !== undefined)).toHaveLength(1);
});
