// What a client types, on its way to the node: small pieces that come together go together, and each is signed by a key
// of this exec where the node can pass signatures on. The order names that key in any case: an agent that says it cannot
// wins nothing but the end of the command at the door of its job room.
import { encodeExecFrame, execPieces, MAX_EXEC_CHUNK_BYTES } from '../protocol/exec.ts';
import { createInputSigner, type ExecInput, type InputProof } from '../protocol/exec-input.ts';
import type { AgentSession } from './fleet.ts';

export interface NodeInput {
  /** For the order of the exec. */
  readonly publicKey: string;
  /** Empty: the end of it, nothing comes behind. */
  input(bytes: Uint8Array): void;
  resize(rows: number, columns: number): void;
  signal(signal: number): void;
  /** What has not been sent is not wanted any more. */
  close(): void;
}

export function createNodeInput(execId: string, session: AgentSession): NodeInput {
  const signer = createInputSigner(execId);
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let flushing: NodeJS.Immediate | null = null;
  let hasEnded = false;

  const proofOf = (input: ExecInput): { readonly proof?: InputProof } =>
    session.passesProofs === true ? { proof: signer.prove(input) } : {};

  function send(bytes: Uint8Array): void {
    const proof = proofOf({ kind: 'input', bytes });
    session.send(encodeExecFrame({ execId, channel: 'stdin', bytes, ...proof }));
  }

  function flush(): void {
    if (flushing !== null) clearImmediate(flushing);
    flushing = null;
    const whole = waiting.length === 1 ? waiting[0] : Buffer.concat(waiting);
    waiting = [];
    waitingBytes = 0;
    for (const piece of execPieces(whole ?? Buffer.alloc(0))) send(piece);
  }

  return {
    publicKey: signer.publicKey,
    input(bytes) {
      if (hasEnded) return;
      if (bytes.length === 0) {
        hasEnded = true;
        flush();
        send(bytes);
        return;
      }
      waiting.push(bytes);
      waitingBytes += bytes.length;
      if (waitingBytes >= MAX_EXEC_CHUNK_BYTES) flush();
      else flushing ??= setImmediate(flush);
    },
    resize(rows, columns) {
      flush();
      session.tell({
        type: 'execResize',
        execId,
        rows,
        columns,
        ...proofOf({ kind: 'resize', rows, columns }),
      });
    },
    signal(signal) {
      flush();
      session.tell({ type: 'execSignal', execId, signal, ...proofOf({ kind: 'signal', signal }) });
    },
    close() {
      hasEnded = true;
      if (flushing !== null) clearImmediate(flushing);
      flushing = null;
      waiting = [];
    },
  };
}
