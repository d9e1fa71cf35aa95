// A job's output on the page: safe whatever it is, its gaps where they lie, and said when it is not kept any more.
import { describe, expect, it } from 'vitest';
import type { JobView } from '../../../src/protocol/api.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { chromium, openDashboard } from './browser.ts';

function jobView(stdout: Buffer, change: Partial<JobView> = {}): JobView {
  return {
    id: 'job-a',
    name: null,
    state: 'COMPLETED',
    reason: 'exited with code 0',
    spec: jobSpecSchema.parse({ version: 1, command: ['x'] }),
    array: null,
    node: null,
    epoch: 1,
    retries: 0,
    attempts: [],
    devices: [],
    cancelRequested: false,
    submittedAt: '2026-01-01T00:00:00.000Z',
    startedAt: null,
    endedAt: null,
    result: fakeResult('node-a', 'job-a', {
      gaps: [{ stream: 'stdout', fromByte: 6, toByte: 3_000_000_006, reason: 'quota' }],
    }),
    stdoutBytes: stdout.length,
    stderrBytes: 0,
    outputRemoved: null,
    ...change,
  } as JobView;
}

describe.skipIf(chromium === '')('the output of a job on the page', () => {
  it('is text alone, control characters marked, gaps told where they lie', async () => {
    const stdout = Buffer.from('before<b>x</b>\u001b[31mred\u001b[0m\0\u202eend');
    const { dom, text, complaints } = await openDashboard([], {
      job: { view: jobView(stdout), output: { stdout, stderr: Buffer.alloc(0) } },
    });
    expect(complaints).toBe('');
    expect(text).toMatch(/before \[3\.00 GB left out by its quota\]/);
    expect(dom).toContain('&lt;b&gt;x&lt;/b&gt;red··end');
  });

  it('that was removed says so', async () => {
    const view = jobView(Buffer.alloc(0), { outputRemoved: 'removed on 2026-01-31, 30 days after the end' });
    const { text } = await openDashboard([], {
      job: { view, output: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) } },
    });
    expect(text).toContain('Its output is not kept any more: removed on 2026-01-31, 30 days after the end.');
  });

  it('of several of an array is of none: the row has no exit code, and its state is said in the language', async () => {
    const view = jobView(Buffer.alloc(0), {
      state: 'FAILED',
      array: { id: 'arr-a', index: 1, size: 3 } as JobView['array'],
      members: '1-2',
      result: fakeResult('node-a', 'job-a', { state: 'FAILED', exitCode: 41 }),
    });
    const options = {
      language: 'zh-TW',
      job: { view, output: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) } },
    };
    const { text } = await openDashboard([], options);
    expect(text).toContain('arr-a[1-2]');
    expect(text).toContain('失敗');
    expect(text).not.toContain('41');
  });
});
