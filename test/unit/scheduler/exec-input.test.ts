// What a client types on its way to a node: gathered, in order, signed where the node can pass that on.
import { describe, expect, test } from 'vitest';
import {
  decodeExecFrame,
  type ExecSchedulerMessage,
  MAX_EXEC_CHUNK_BYTES,
} from '../../../src/protocol/exec.ts';
import { createInputVerifier, type ExecInput } from '../../../src/protocol/exec-input.ts';
import { createNodeInput } from '../../../src/scheduler/exec-input.ts';
import type { AgentSession } from '../../../src/scheduler/fleet.ts';

type Sent = ReturnType<typeof decodeExecFrame> | ExecSchedulerMessage;

function bench(passesProofs: boolean) {
  const sent: Sent[] = [];
  const session = {
    passesProofs,
    send: (frame: Uint8Array) => void sent.push(decodeExecFrame(frame)),
    tell: (message: ExecSchedulerMessage) => sent.push(message) > 0,
  } as unknown as AgentSession;
  return { sent, to: createNodeInput('exec-1', session) };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(() => resolve()));

function inputOf(one: Sent): ExecInput {
  if ('channel' in one) return { kind: 'input', bytes: one.bytes };
  if (one.type === 'execResize') return { kind: 'resize', rows: one.rows, columns: one.columns };
  if (one.type === 'execSignal') return { kind: 'signal', signal: one.signal };
  throw new Error('no input');
}

describe('input on its way to a node', () => {
  test('is signed in its order, over sizes, signals and its end', async () => {
    const { sent, to } = bench(true);
    for (const one of 'hello') to.input(Buffer.from(one));
    to.resize(5, 6);
    to.input(Buffer.from('a'));
    to.signal(2);
    to.input(Buffer.from('b'));
    to.taken(7);
    await nextTurn();
    to.input(Buffer.alloc(2 * MAX_EXEC_CHUNK_BYTES + 1));
    to.input(Buffer.alloc(0));
    to.input(Buffer.from('behind the end'));
    const verifier = createInputVerifier('exec-1', to.publicKey);
    for (const one of sent)
      expect(verifier.problem(inputOf(one), (one as { proof?: never }).proof)).toBeNull();
    expect(sent.map((one) => ('channel' in one ? one.bytes.length : one.type))).toEqual([
      ...[5, 'execResize', 1, 'execSignal', 1],
      ...[MAX_EXEC_CHUNK_BYTES, MAX_EXEC_CHUNK_BYTES, 1, 0],
    ]);
  });

  test('is plain for a node that cannot pass signatures on', async () => {
    const { sent, to } = bench(false);
    to.input(Buffer.from('x'));
    to.resize(5, 6);
    expect(sent).toEqual([
      { execId: 'exec-1', channel: 'stdin', bytes: expect.anything() },
      { type: 'execResize', execId: 'exec-1', rows: 5, columns: 6 },
    ]);
  });

  test('is gathered while what went before has not been taken, up to a piece that is worth it', async () => {
    const { sent, to } = bench(true);
    const sizes = () => sent.map((one) => ('channel' in one ? one.bytes.length : 0));
    to.input(Buffer.alloc(3));
    await nextTurn();
    for (let n = 0; n < 5; n += 1) to.input(Buffer.alloc(1000));
    await nextTurn();
    to.taken(2);
    expect(sizes()).toEqual([3]);
    to.taken(1);
    expect(sizes()).toEqual([3, 5000]);
    for (let n = 0; n < 9; n += 1) to.input(Buffer.alloc(4096));
    expect(sizes()).toEqual([3, 5000, 8 * 4096]);
    to.input(Buffer.alloc(0));
    expect(sizes()).toEqual([3, 5000, 8 * 4096, 4096, 0]);
  });

  test('goes nowhere after its close', async () => {
    const { sent, to } = bench(true);
    to.input(Buffer.from('x'));
    to.close();
    await nextTurn();
    expect(sent).toEqual([]);
  });
});
