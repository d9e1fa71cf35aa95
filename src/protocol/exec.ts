// A command beside a running job (`flopd exec`), as it crosses two borders. It is no job: nothing of it is on disk,
// and it ends with whichever of the two connections breaks first.
//
//   client                      scheduler                       agent
//   upgrade /v1/jobs/ID/exec ->
//   request                  -> exec {execId}                ->
//                            <- started                      <- execStarted
//   binary: standard input   -> frame, channel 0             ->      (an empty one: its end)
//                            <- binary: u8 channel, bytes    <- frame, channel 1 or 2
//   credit (of output)       -> execCredit                   ->
//                            <- credit (of input)            <- execCredit
//   resize | signal          -> execResize | execSignal      ->
//   close                    -> execStop                     ->      SIGHUP, then SIGKILL
//                            <- end, close                   <- execEnd      once, the last word
//
// Credit is from end to end: each side sends at most a window (EXEC_…_WINDOW_BYTES) beyond what the other has taken, so that
// nobody between them ever holds more. Frames on the link, kind 3 (frame.ts): u8 kind = 3, u8 version = 1, u8 channel,
// u8 length of the exec's id, the id in ASCII, the bytes. Version 2, of input alone, is signed (exec-input.ts): before the
// bytes stand u48 sequence (big endian) and the 64 bytes of the signature. Sizes and signals have the same as `proof`.
import * as z from 'zod';
import { Fault } from '../base/fault.ts';
import { type InputProof, inputProofSchema } from './exec-input.ts';

/** Subprotocol of the client's WebSocket. */
export const EXEC_SUBPROTOCOL = 'flopd.exec.v1';
/** Input, and output of both streams, that may be on the way without having been taken. */
export const EXEC_INPUT_WINDOW_BYTES = 64 * 1024;
export const EXEC_OUTPUT_WINDOW_BYTES = 256 * 1024;
/** Largest piece of input or output in one frame. */
export const MAX_EXEC_CHUNK_BYTES = 32 * 1024;
/** Longest command with its environment. */
export const MAX_EXEC_COMMAND_BYTES = 60 * 1024;
/** A client that does not say what it wants within this time is cut off. */
export const EXEC_REQUEST_DEADLINE_MS = 5000;

export type ExecChannel = 'stdin' | 'stdout' | 'stderr';
const channels: readonly ExecChannel[] = ['stdin', 'stdout', 'stderr'];
const FRAME_KIND = 3;
const VERSION = 1;
const SIGNED_VERSION = 2;
const SEQUENCE_BYTES = 6;
const SIGNATURE_BYTES = 64;
const PROOF_BYTES = SEQUENCE_BYTES + SIGNATURE_BYTES;
const EXEC_ID = /^exec-[0-9a-z]{1,32}$/;

const execId = z.string().regex(EXEC_ID);
const jobId = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);
const bytes = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);
const word = z
  .string()
  .max(MAX_EXEC_COMMAND_BYTES)
  .refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be text without NUL');
const side = z.number().int().min(1).max(10_000);
const size = z.strictObject({ rows: side, columns: side });
const signal = z.number().int().min(1).max(64);

/** What is to be run, and how. */
const commandFields = {
  command: z
    .array(word)
    .min(1)
    .max(4096)
    .refine((words) => words[0] !== '', 'must name a program')
    .refine(
      (words) => words.reduce((sum, one) => sum + Buffer.byteLength(one) + 1, 0) <= MAX_EXEC_COMMAND_BYTES,
      `must not be longer than ${MAX_EXEC_COMMAND_BYTES} bytes`,
    ),
  /** Size of its terminal; null: it gets pipes. */
  terminal: size.nullable().default(null),
  /** What TERM says in it; null: what the job has. */
  terminalType: z
    .string()
    .max(64)
    .regex(/^[\w.+-]+$/)
    .nullable()
    .default(null),
} as const;

/** The command of an exec as it travels beside a signed order for it. */
export const execCommandSchema = z.strictObject(commandFields);
export type ExecCommand = z.output<typeof execCommandSchema>;

export const execOrderSchema = z.strictObject({
  type: z.literal('exec'),
  execId,
  jobId,
  epoch: z.number().int().positive(),
  ...commandFields,
  /** Who asked. */
  by: z.string().min(1).max(128),
});
export const execResizeSchema = z.strictObject({
  type: z.literal('execResize'),
  execId,
  ...size.shape,
  proof: inputProofSchema.optional(),
});
export const execSignalSchema = z.strictObject({
  type: z.literal('execSignal'),
  execId,
  signal,
  proof: inputProofSchema.optional(),
});
export const execStopSchema = z.strictObject({ type: z.literal('execStop'), execId });
/** So many further bytes were taken: of output, said by the scheduler; of input, said by the agent. */
export const execCreditSchema = z.strictObject({ type: z.literal('execCredit'), execId, bytes });
export const execStartedSchema = z.strictObject({
  type: z.literal('execStarted'),
  execId,
  pid: z.number().int().positive(),
});

const endFields = {
  /** Exit code, or the signal that ended it; both null where `code` says why it is not known. */
  exitCode: z.number().int().min(0).max(255).nullable(),
  signal: signal.nullable(),
  /** Stable code of what went wrong, e.g. `EXEC_NOT_STARTED`; null for a command that ended by itself. */
  code: z.string().max(64).nullable(),
  message: z.string().max(1024).nullable(),
} as const;
export const execEndSchema = z.strictObject({ type: z.literal('execEnd'), execId, ...endFields });

/** What a client may say. */
export const execClientMessageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('request'), ...commandFields }),
  z.strictObject({ type: z.literal('resize'), ...size.shape }),
  z.strictObject({ type: z.literal('signal'), signal }),
  z.strictObject({ type: z.literal('credit'), bytes }),
]);
/** What a client is told. */
export const execServerMessageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('started'), pid: z.number().int().positive() }),
  z.strictObject({ type: z.literal('credit'), bytes }),
  z.strictObject({ type: z.literal('end'), ...endFields }),
]);

export type ExecOrder = z.output<typeof execOrderSchema>;
export type ExecEnd = Omit<z.output<typeof execEndSchema>, 'type' | 'execId'>;
export type ExecRequest = Extract<ExecClientMessage, { type: 'request' }>;
export type ExecClientMessage = z.output<typeof execClientMessageSchema>;
export type ExecServerMessage = z.output<typeof execServerMessageSchema>;
/** Messages of the link that are about an exec, by who sends them. */
export type ExecAgentMessage =
  | z.output<typeof execStartedSchema>
  | z.output<typeof execCreditSchema>
  | z.output<typeof execEndSchema>;
export type ExecSchedulerMessage =
  | ExecOrder
  | z.output<typeof execResizeSchema>
  | z.output<typeof execSignalSchema>
  | z.output<typeof execStopSchema>
  | z.output<typeof execCreditSchema>;

export interface ExecFrame {
  readonly execId: string;
  readonly channel: ExecChannel;
  readonly bytes: Uint8Array;
  /** Of signed input. */
  readonly proof?: InputProof | undefined;
}

export function encodeExecFrame({ execId: id, channel, bytes: payload, proof }: ExecFrame): Uint8Array {
  if (payload.length > MAX_EXEC_CHUNK_BYTES)
    throw new Fault('LINK_FRAME_TOO_LONG', `exec frame of ${payload.length} bytes`, { field: 'bytes' });
  const proofBytes = proof === undefined ? 0 : PROOF_BYTES;
  const frame = Buffer.alloc(4 + id.length + proofBytes + payload.length);
  const version = proof === undefined ? VERSION : SIGNED_VERSION;
  frame.set([FRAME_KIND, version, channels.indexOf(channel), id.length]);
  frame.write(id, 4, 'latin1');
  if (proof !== undefined) {
    frame.writeUIntBE(proof.sequence, 4 + id.length, SEQUENCE_BYTES);
    frame.write(proof.signature, 4 + id.length + SEQUENCE_BYTES, 'base64');
  }
  frame.set(payload, 4 + id.length + proofBytes);
  return frame;
}

/** Throws a Fault LINK_FRAME_*. The bytes of the result are a view into the frame. */
export function decodeExecFrame(frame: Uint8Array): ExecFrame {
  const [kind, version, channelNumber, idLength] = frame;
  if (kind !== FRAME_KIND) throw new Fault('LINK_FRAME_KIND', 'not an exec frame', { field: 'kind' });
  if (
    version === undefined ||
    channelNumber === undefined ||
    idLength === undefined ||
    frame.length < 4 + idLength
  )
    throw new Fault('LINK_FRAME_CUT', 'exec frame ends within its header');
  if (version !== VERSION && version !== SIGNED_VERSION)
    throw new Fault(
      'LINK_FRAME_VERSION',
      `exec frame of version ${version}; this build reads ${VERSION} and ${SIGNED_VERSION}`,
    );
  const channel = channels[channelNumber];
  if (channel === undefined)
    throw new Fault('LINK_FRAME_RANGE', `exec channel ${channelNumber}`, { field: 'channel' });
  const id = String.fromCharCode(...frame.subarray(4, 4 + idLength));
  if (!EXEC_ID.test(id)) throw new Fault('LINK_FRAME_RANGE', 'exec frame names no exec', { field: 'execId' });
  const body = frame.subarray(4 + idLength);
  const isSigned = version === SIGNED_VERSION;
  const payload = isSigned ? body.subarray(PROOF_BYTES) : body;
  if (payload.length > MAX_EXEC_CHUNK_BYTES)
    throw new Fault('LINK_FRAME_TOO_LONG', `exec frame of ${payload.length} bytes`, { field: 'bytes' });
  if (!isSigned) return { execId: id, channel, bytes: payload };
  return { execId: id, channel, bytes: payload, proof: decodeProof(channel, body) };
}

function decodeProof(channel: ExecChannel, body: Uint8Array): InputProof {
  if (channel !== 'stdin')
    throw new Fault('LINK_FRAME_RANGE', 'a signed exec frame that is no input', { field: 'channel' });
  if (body.length < PROOF_BYTES) throw new Fault('LINK_FRAME_CUT', 'exec frame ends within its signature');
  const view = Buffer.from(body.buffer, body.byteOffset, PROOF_BYTES);
  const sequence = view.readUIntBE(0, SEQUENCE_BYTES);
  if (sequence === 0)
    throw new Fault('LINK_FRAME_RANGE', 'a signed exec frame of number 0', { field: 'sequence' });
  return { sequence, signature: view.toString('base64', SEQUENCE_BYTES) };
}

/** Bytes in pieces that fit into a frame. */
export function* execPieces(payload: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < payload.length; at += MAX_EXEC_CHUNK_BYTES)
    yield payload.subarray(at, at + MAX_EXEC_CHUNK_BYTES);
}

/** What a command beside a job tells; nothing after `ended`, which comes exactly once. */
export interface ExecEvents {
  started(pid: number): void;
  output(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  inputTaken(bytes: number): void;
  ended(end: ExecEnd): void;
}

/**
 * The handle of one. Nothing of it throws; after its end all of it does nothing. `proof`: what came with it on the way,
 * for whoever verifies it (job/exec-input.ts).
 */
export interface Exec {
  /** Empty: the end of its input. */
  input(bytes: Uint8Array, proof?: InputProof): void;
  resize(rows: number, columns: number, proof?: InputProof): void;
  signal(signal: number, proof?: InputProof): void;
  /** So many further bytes of output have been taken: credit for as many more. */
  outputTaken(bytes: number): void;
  /** Ends the command; `ended` is not called any more. */
  close(): void;
}
