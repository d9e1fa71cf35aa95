// What is typed into a command beside a job, signed. The order of an exec names a key that the scheduler made for it
// alone (`inputKey`, order.ts); all that reaches the command from then on (input, its end, sizes of its terminal, signals)
// carries a sequence number and a signature by that key, so that whoever stands between scheduler and job room can
// withhold it and end the command, and nothing else.
//
//   signed     'flopd.v2 input' LF  exec id LF  sequence LF  kind LF  content      kind: input | resize | signal
//   content    input: SHA-256 of the bytes (none at its end), hexadecimal · resize: ROWSxCOLUMNS · signal: its number
//
// INVARIANT: sequence numbers begin with 1 and rise by 1 over all kinds: none is left out, repeated or passed by another.
import { createHash, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import * as z from 'zod';
import { Fault } from '../base/fault.ts';
import { publicKeyText } from '../base/key-file.ts';
import { readPublicKey, signatureSchema } from './signed.ts';

/** In frames a sequence number has six bytes. */
export const SEQUENCE_MAX = 2 ** 48 - 1;

export const inputProofSchema = z.strictObject({
  sequence: z.number().int().min(1).max(SEQUENCE_MAX),
  /** Ed25519, base64. */
  signature: signatureSchema,
});
export type InputProof = z.output<typeof inputProofSchema>;

export type ExecInput =
  | { readonly kind: 'input'; readonly bytes: Uint8Array }
  | { readonly kind: 'resize'; readonly rows: number; readonly columns: number }
  | { readonly kind: 'signal'; readonly signal: number };

export interface InputSigner {
  /** For the order: DER (SPKI), base64. */
  readonly publicKey: string;
  /** Each call is the next in the sequence: what is signed must be sent, in this order. */
  prove(input: ExecInput): InputProof;
}

/** With a key of its own, which nobody keeps; tests give one. */
export function createInputSigner(
  execId: string,
  privateKey: KeyObject = generateKeyPairSync('ed25519').privateKey,
): InputSigner {
  let sequence = 0;
  return {
    publicKey: publicKeyText(privateKey),
    prove(input) {
      sequence += 1;
      const signature = sign(null, bytesToSign(execId, sequence, input), privateKey).toString('base64');
      return { sequence, signature };
    },
  };
}

export interface InputVerifier {
  /** Null for what comes next in the sequence and is signed; else why not: EXEC_INPUT_UNSIGNED, …_SEQUENCE, …_SIGNATURE. */
  problem(input: ExecInput, proof: InputProof | undefined): Fault | null;
}

/** Throws a Fault JOB_ORDER_UNFIT for a key that is none. */
export function createInputVerifier(execId: string, inputKey: string): InputVerifier {
  const key: KeyObject | null = readPublicKey(inputKey);
  if (key === null) throw new Fault('JOB_ORDER_UNFIT', 'the key for the input of the command is no key');
  let last = 0;
  return {
    problem(input, proof) {
      if (proof === undefined) return refusal('UNSIGNED', 'it is not signed by the scheduler');
      const { sequence, signature } = proof;
      if (sequence !== last + 1)
        return refusal('SEQUENCE', sequence > last ? 'something before it is missing' : 'it has come before');
      const bytes = Buffer.from(signature, 'base64');
      if (!verify(null, bytesToSign(execId, sequence, input), key, bytes))
        return refusal('SIGNATURE', 'it is not what the scheduler signed');
      last = sequence;
      return null;
    },
  };
}

function refusal(what: 'UNSIGNED' | 'SEQUENCE' | 'SIGNATURE', why: string): Fault {
  return new Fault(`EXEC_INPUT_${what}`, `input of the command was refused, and the command ended: ${why}`, {
    remedy:
      'restart the agent of the node if it is older than its job runner; otherwise it does not pass on what it is told: look at that host',
  });
}

function bytesToSign(execId: string, sequence: number, input: ExecInput): Buffer {
  return Buffer.from(`flopd.v2 input\n${execId}\n${sequence}\n${input.kind}\n${contentOf(input)}`);
}

/** A digest, since Ed25519 reads what it signs twice, and by a slower hash. */
function contentOf(input: ExecInput): string {
  switch (input.kind) {
    case 'input':
      return createHash('sha256').update(input.bytes).digest('hex');
    case 'resize':
      return `${input.rows}x${input.columns}`;
    case 'signal':
      return String(input.signal);
  }
}
