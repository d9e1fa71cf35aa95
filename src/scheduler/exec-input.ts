// What a client types, on its way to the node: gathered, and each piece signed by a key of this exec where the node can
// pass signatures on. What comes alone goes at once; while the command has not taken what went before, more is waited for,
// since a signature costs as much for one byte as for thousands. The order names that key in any case: an agent that says it cannot
// wins nothing but the end of the command at the door of its job room.
import { encodeExecFrame, execPieces, MAX_EXEC_CHUNK_BYTES } from '../protocol/exec.ts';
import { createInputSigner, type ExecInput, type InputProof } from '../protocol/exec-input.ts';
import type { AgentSession } from './fleet.ts';

/** Enough to be sent while others are on the way: two of them fit into the window. */
const GATHERED_BYTES = MAX_EXEC_CHUNK_BYTES;

export interface NodeInput {
  /** For the order of the exec. */
  readonly publicKey: string;
  /** Empty: the end of it, nothing comes behind. */
  input(bytes: Uint8Array): void;
  resize(rows: number, columns: number): void;
  signal(signal: number): void;
  /** So many bytes the command has taken. */
  taken(bytes: number): void;
  /** What has not been sent is not wanted any more. */
  close(): void;
}

export function createNodeInput(execId: string, session: AgentSession): NodeInput {
  const signer = createInputSigner(execId);
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  /** Sent, and not taken. */
  let untakenBytes = 0;
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
    untakenBytes += waitingBytes;
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
      if (waitingBytes >= GATHERED_BYTES) flush();
      else if (untakenBytes === 0) flushing ??= setImmediate(flush);
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
    taken(bytes) {
      untakenBytes = Math.max(0, untakenBytes - bytes);
      if (untakenBytes === 0) flush();
    },
    close() {
      hasEnded = true;
      if (flushing !== null) clearImmediate(flushing);
      flushing = null;
      waiting = [];
      waitingBytes = 0;
    },
  };
}
