import { describe, expect, test } from 'vitest';
import {
  createInputSigner,
  createInputVerifier,
  type ExecInput,
  SEQUENCE_MAX,
} from '../../../src/protocol/exec-input.ts';

const typed = (text: string): ExecInput => ({ kind: 'input', bytes: Buffer.from(text) });
const all: readonly ExecInput[] = [
  typed('ls\n'),
  { kind: 'resize', rows: 24, columns: 80 },
  { kind: 'signal', signal: 2 },
  typed(''),
];

function pair(execId = 'exec-1') {
  const signer = createInputSigner(execId);
  const verifier = createInputVerifier(execId, signer.publicKey);
  return {
    signer,
    verifier,
    codeOf: (...rest: Parameters<typeof verifier.problem>) => verifier.problem(...rest)?.code,
  };
}

describe('signed input', () => {
  test('of every kind is let in, in its order', () => {
    const { signer, verifier } = pair();
    for (const input of all) expect(verifier.problem(input, signer.prove(input))).toBeNull();
  });

  test('without a signature is refused', () => {
    expect(pair().codeOf(typed('x'), undefined)).toBe('EXEC_INPUT_UNSIGNED');
  });

  test.each(all.map((input, at) => [at, input] as const))(
    'that says something else is refused (%i)',
    (_, input) => {
      for (const other of [...all, typed('ls \n'), { kind: 'resize', rows: 8, columns: 24 } as const]) {
        if (other === input) continue;
        const { signer, codeOf } = pair();
        expect(codeOf(other, signer.prove(input))).toBe('EXEC_INPUT_SIGNATURE');
      }
    },
  );

  test('is good once, in its place, and for its command', () => {
    const { signer, codeOf } = pair();
    const [first, second, third] = [1, 2, 3].map((at) => ({
      input: typed(`${at}`),
      proof: signer.prove(typed(`${at}`)),
    }));
    if (first === undefined || second === undefined || third === undefined) throw new Error('three');
    expect(codeOf(second.input, second.proof)).toBe('EXEC_INPUT_SEQUENCE');
    expect(codeOf(first.input, first.proof)).toBeUndefined();
    expect(codeOf(first.input, first.proof)).toBe('EXEC_INPUT_SEQUENCE');
    expect(codeOf(first.input, { ...first.proof, sequence: 2 })).toBe('EXEC_INPUT_SIGNATURE');
    expect(codeOf(third.input, third.proof)).toBe('EXEC_INPUT_SEQUENCE');
    expect(codeOf(second.input, second.proof)).toBeUndefined();
    const { publicKey } = signer;
    const elsewhere = createInputVerifier('exec-2', publicKey);
    expect(elsewhere.problem(first.input, first.proof)?.code).toBe('EXEC_INPUT_SIGNATURE');
  });

  test('by another key is refused, and a key that is none before anything begins', () => {
    const { codeOf } = pair();
    expect(codeOf(typed('x'), createInputSigner('exec-1').prove(typed('x')))).toBe('EXEC_INPUT_SIGNATURE');
    expect(() => createInputVerifier('exec-1', 'A'.repeat(60))).toThrow(
      expect.objectContaining({ code: 'JOB_ORDER_UNFIT' }),
    );
    expect(Number.isSafeInteger(SEQUENCE_MAX)).toBe(true);
  });
});
