import { describe, expect, it } from 'vitest';
import { jobColumns, jobFields } from '../../../src/cli/job-table.ts';
import type { AttemptView, JobView } from '../../../src/protocol/api.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { jobRecord } from '../scheduler/records.ts';

const { usage } = fakeResult('node-a', 'job-a');

function fieldsOf(attempt: Partial<AttemptView>): Map<string, string> {
  const past = {
    epoch: 1,
    node: { id: 'node-a', name: 'a' },
    state: 'FAILED',
    cause: 'exited with code 3',
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: '2026-01-01T00:00:02.000Z',
    ...attempt,
  } as AttemptView;
  const { spec } = jobRecord({}, { retry: { times: 2, on: ['failed'] } });
  const job = { ...jobRecord(), spec, name: null, reason: '', attempts: [past], node: null, dataRule: null };
  return new Map(jobFields(job as unknown as JobView, 0));
}

describe('the fields of a job that was started again', () => {
  it('say what each attempt used', () => {
    const used = { ...usage, durationMs: 2000, cpuUserSeconds: 1.5, memoryPeakBytes: 1024 * 1024 };
    const fields = fieldsOf({ usage: used });
    expect(fields.get('attempt 1')).toBe('FAILED on a after 2.00s: exited with code 3');
    expect(fields.get('attempt 1 used')).toMatch(
      /^2\.00s, .*; CPU time 1\.50s user, .* system; peak memory 1\.00 MiB/,
    );
  });

  it('say why nothing is known of what one used', () => {
    const nothing = Object.fromEntries(Object.keys(usage).map((name) => [name, null]));
    const lost = { ...nothing, absent: { durationMs: 'lost: no agent knows' } } as unknown as typeof usage;
    expect(fieldsOf({ usage: lost }).get('attempt 1 used')).toBe('unknown: lost: no agent knows');
    expect(fieldsOf({}).get('attempt 1 used')).toBe('not kept by this scheduler');
  });
});

it('shows the beginning of a long command in a row, as the other columns would be out of sight', () => {
  const { spec } = jobRecord({});
  const job = {
    spec: { ...spec, command: ['x'.repeat(5000)] },
    owner: 'mei',
    hidden: false,
  } as unknown as JobView;
  const column = jobColumns(0, [job]).find(({ title }) => title === 'COMMAND');
  expect(column?.cell(job)).toHaveLength(120);
});
