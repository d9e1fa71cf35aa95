import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { auditKinds } from '../../src/protocol/audit.ts';
import { writtenKinds } from './audit-kinds.ts';

const source = join(import.meta.dirname, '../../src');
const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter(
    (path) =>
      path.endsWith('.ts') && path !== join('protocol', 'audit.ts') && path !== join('audit', 'limit.ts'),
  )
  .map((path) => join(source, path));

/** Each kind and a test that comes by it: a new kind needs a line here. */
const reachedBy: Readonly<Record<(typeof auditKinds)[number], string>> = {
  opened: 'unit/audit/audit.test.ts',
  closed: 'unit/audit/audit.test.ts',
  'tail.cut': 'unit/audit/audit.test.ts',
  gap: 'unit/audit/audit.test.ts',
  'chain.broken': 'unit/audit/audit.test.ts',
  'segments.removed': 'unit/audit/audit.test.ts',
  'node.enrolled': 'system/audit.test.ts',
  'node.removed': 'system/audit.test.ts',
  'node.revoked': 'system/audit.test.ts',
  'node.cloned': 'integration/scheduler/clones.test.ts',
  'node.changed': 'system/audit.test.ts',
  'node.head': 'unit/scheduler/node-heads.test.ts',
  'node.rewound': 'unit/scheduler/node-heads.test.ts',
  'token.created': 'system/audit.test.ts',
  'token.used': 'system/audit.test.ts',
  'token.revoked': 'system/audit.test.ts',
  'user.created': 'system/audit.test.ts',
  'user.changed': 'system/audit.test.ts',
  'user.revoked': 'system/audit.test.ts',
  'user.key.added': 'system/users.test.ts',
  'access.denied': 'system/audit.test.ts',
  'job.submitted': 'system/audit.test.ts',
  'job.ordered': 'system/audit.test.ts',
  'job.adopted': 'unit/scheduler/audited-queue.test.ts',
  'job.cancelled': 'system/audit.test.ts',
  'job.ended': 'system/audit.test.ts',
  'job.entered': 'system/audit.test.ts',
  'jobs.removed': 'unit/scheduler/job-retention.test.ts',
  'node.drained': 'system/audit.test.ts',
  'node.resumed': 'system/audit.test.ts',
  'policy.refused': 'unit/scheduler/data-rules.test.ts',
  'key.rotated': 'unit/scheduler/key-ring.test.ts',
  'authority.rotated': 'system/tls.test.ts',
  'order.accepted': 'system/audit.test.ts',
  'order.refused': 'unit/runner/job-audit.test.ts',
  'order.stopped': 'system/audit.test.ts',
  'attempt.started': 'system/audit.test.ts',
  'attempt.ended': 'system/audit.test.ts',
  'keys.learned': 'unit/job/trust.test.ts',
  'scheduler.refused': 'unit/agent/refused-scheduler.test.ts',
  'scheduler.head': 'unit/agent/scheduler-heads.test.ts',
  'scheduler.rewound': 'unit/agent/scheduler-heads.test.ts',
};

test('every kind of audit record is written by somebody', () => {
  const written = writtenKinds(auditKinds, files);
  expect(auditKinds.filter((kind) => !written.has(kind))).toEqual([]);
  expect(Object.keys(reachedBy).sort()).toEqual([...auditKinds].sort());
});

test('a kind that nobody writes is found', () => {
  expect(writtenKinds(['nobody.writes.this'], files).size).toBe(0);
});
