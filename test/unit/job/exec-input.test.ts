// The guard before a command: what is signed passes, anything else ends it once, with the reason.
import { describe, expect, test } from 'vitest';
import { guardExec } from '../../../src/job/exec-input.ts';
import type { ExecEnd, ExecEvents } from '../../../src/protocol/exec.ts';
import { createInputSigner } from '../../../src/protocol/exec-input.ts';

function bench() {
  const done: unknown[][] = [];
  const ends: ExecEnd[] = [];
  const refused: string[] = [];
  const signer = createInputSigner('exec-1');
  let inner: ExecEvents | null = null;
  const note =
    (what: string) =>
    (...rest: unknown[]) =>
      void done.push([what, ...rest]);
  const guarded = guardExec({
    execId: 'exec-1',
    inputKey: signer.publicKey,
    events: { started() {}, output() {}, inputTaken() {}, ended: (end) => void ends.push(end) },
    start(events) {
      inner = events;
      return {
        input: note('input'),
        resize: note('resize'),
        signal: note('signal'),
        outputTaken: note('outputTaken'),
        close: note('close'),
      };
    },
    refused: ({ code }) => void refused.push(code),
  });
  const type = (text: string): void => {
    const bytes = Buffer.from(text);
    guarded.input(bytes, signer.prove({ kind: 'input', bytes }));
  };
  return { done, ends, refused, signer, guarded, type, end: (end: ExecEnd) => inner?.ended(end) };
}

describe('a guarded command', () => {
  test('gets what was signed for it, and credit without', () => {
    const { done, ends, signer, guarded, type } = bench();
    type('a');
    guarded.resize(3, 4, signer.prove({ kind: 'resize', rows: 3, columns: 4 }));
    guarded.signal(2, signer.prove({ kind: 'signal', signal: 2 }));
    guarded.outputTaken(9);
    type('');
    expect(done).toEqual([
      ['input', Buffer.from('a')],
      ['resize', 3, 4],
      ['signal', 2],
      ['outputTaken', 9],
      ['input', Buffer.from('')],
    ]);
    expect(ends).toEqual([]);
  });

  test.each([
    ['input', (to: ReturnType<typeof bench>) => to.guarded.input(Buffer.from('rm\n'))],
    ['the end of its input', (to: ReturnType<typeof bench>) => to.guarded.input(Buffer.alloc(0))],
    ['a size', (to: ReturnType<typeof bench>) => to.guarded.resize(1, 1)],
    ['a signal', (to: ReturnType<typeof bench>) => to.guarded.signal(9)],
  ])('is ended by %s that is not signed, once, and takes nothing more', (_, act) => {
    const to = bench();
    to.type('a');
    act(to);
    act(to);
    to.type('b');
    expect(to.done).toEqual([['input', Buffer.from('a')], ['close']]);
    expect(to.refused).toEqual(['EXEC_INPUT_UNSIGNED']);
    expect(to.ends).toMatchObject([{ exitCode: null, code: 'EXEC_INPUT_UNSIGNED' }]);
    expect(to.ends[0]?.message).toContain('look at that host');
  });

  test('refuses nothing after its end', () => {
    const to = bench();
    to.end({ exitCode: 0, signal: null, code: null, message: null });
    to.guarded.input(Buffer.from('late'));
    expect([to.done, to.refused, to.ends.length]).toEqual([[], [], 1]);
    const left = bench();
    left.guarded.close();
    left.guarded.signal(9);
    expect([left.done, left.refused]).toEqual([[['close']], []]);
  });
});
