// Commands beside jobs on the link: what the scheduler says reaches the handle, what the command does goes back, and
// all of them end with the session.
import { describe, expect, test } from 'vitest';
import { createExecFlow } from '../../../src/link/exec.ts';
import type { Exec, ExecEvents } from '../../../src/protocol/exec.ts';
import { decodeExecFrame, type ExecOrder, encodeExecFrame } from '../../../src/protocol/exec.ts';
import { createInputSigner } from '../../../src/protocol/exec-input.ts';

const order = (execId: string): ExecOrder => ({
  type: 'exec',
  execId,
  jobId: 'job-a',
  epoch: 1,
  command: ['cat'],
  terminal: null,
  terminalType: null,
  by: 'user',
});

function bench() {
  const sent: unknown[] = [];
  const done: unknown[][] = [];
  const told: ExecEvents[] = [];
  const flow = createExecFlow(
    (_order, events) => {
      told.push(events);
      const record =
        (what: string) =>
        (...rest: unknown[]) =>
          void done.push([what, ...rest]);
      return Object.fromEntries(
        ['input', 'resize', 'signal', 'outputTaken', 'close'].map((name) => [name, record(name)]),
      ) as unknown as Exec;
    },
    (data) => void sent.push(typeof data === 'string' ? JSON.parse(data) : decodeExecFrame(data)),
  );
  return { flow, sent, done, told };
}

describe('commands beside jobs on the link', () => {
  test('are told what comes, and tell what happens', () => {
    const { flow, sent, done, told } = bench();
    flow.message(order('exec-1'));
    flow.frame(encodeExecFrame({ execId: 'exec-1', channel: 'stdin', bytes: Buffer.from('abc') }));
    const proof = createInputSigner('exec-1').prove({ kind: 'input', bytes: Buffer.from('de') });
    flow.frame(encodeExecFrame({ execId: 'exec-1', channel: 'stdin', bytes: Buffer.from('de'), proof }));
    flow.message({ type: 'execResize', execId: 'exec-1', rows: 5, columns: 6, proof });
    flow.message({ type: 'execSignal', execId: 'exec-1', signal: 2 });
    flow.message({ type: 'execCredit', execId: 'exec-1', bytes: 9 });
    expect(done).toEqual([
      ['input', Buffer.from('abc'), undefined],
      ['input', Buffer.from('de'), proof],
      ['resize', 5, 6, proof],
      ['signal', 2, undefined],
      ['outputTaken', 9],
    ]);
    const [events] = told;
    events?.started(7);
    events?.output('stderr', Buffer.from('e'));
    events?.inputTaken(3);
    events?.ended({ exitCode: 3, signal: null, code: null, message: null });
    expect(sent).toEqual([
      { type: 'execStarted', execId: 'exec-1', pid: 7 },
      { execId: 'exec-1', channel: 'stderr', bytes: expect.anything() },
      { type: 'execCredit', execId: 'exec-1', bytes: 3 },
      { type: 'execEnd', execId: 'exec-1', exitCode: 3, signal: null, code: null, message: null },
    ]);
    expect(flow.running()).toBe(0);
  });

  test('drop what crossed their end, and end with the session', () => {
    const { flow, done } = bench();
    flow.message(order('exec-1'));
    flow.message(order('exec-2'));
    flow.message({ type: 'execStop', execId: 'exec-1' });
    flow.message({ type: 'execSignal', execId: 'exec-1', signal: 2 });
    flow.frame(encodeExecFrame({ execId: 'exec-1', channel: 'stdin', bytes: Buffer.from('late') }));
    expect(done).toEqual([['close']]);
    flow.end();
    expect(done).toEqual([['close'], ['close']]);
    expect(flow.running()).toBe(0);
  });

  test('refuse one that runs already, and output that comes from the scheduler', () => {
    const { flow } = bench();
    flow.message(order('exec-1'));
    expect(() => flow.message(order('exec-1'))).toThrow(expect.objectContaining({ code: 'LINK_EXEC_TWICE' }));
    const output = encodeExecFrame({ execId: 'exec-1', channel: 'stdout', bytes: new Uint8Array(1) });
    expect(() => flow.frame(output)).toThrow(expect.objectContaining({ code: 'LINK_FRAME_RANGE' }));
  });
});
