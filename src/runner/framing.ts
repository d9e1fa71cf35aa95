// How messages cross the runner's socket, both ways:
//
//   u32 length (big endian, of what follows; 1 to MAX_FRAME)    body
//   body '{'…   JSON text, one message of protocol.ts
//   body 1      an answer of output: u8 1, u32 request, u8 0 (job not known) or 1, the bytes
//   body 3      a piece of input or output of a command beside a job, as on the link (protocol/exec.ts)
//
// A length that is none is refused before any buffer is made for it, and with it the connection: nothing behind it can
// be believed. Nothing here knows what a message means.
import { Fault } from '../base/fault.ts';

/** The largest order or result on the link is 1 MiB; a list of thousands of devices is a little longer. */
export const MAX_RUNNER_FRAME_BYTES = 2 * 1024 * 1024;
const HEAD_BYTES = 4;
const OUTPUT = 1;
const OUTPUT_HEAD_BYTES = 6;

export type Incoming =
  | { readonly kind: 'message'; readonly text: string }
  | { readonly kind: 'output'; readonly request: number; readonly bytes: Uint8Array | null }
  | { readonly kind: 'exec'; readonly frame: Uint8Array };

/** A frame of these bytes. Throws RUNNER_FRAME_LENGTH for one that the other side would refuse. */
export function encodeFrame(body: Uint8Array | string): Uint8Array {
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  if (length === 0 || length > MAX_RUNNER_FRAME_BYTES)
    throw new Fault('RUNNER_FRAME_LENGTH', `a message of ${length} bytes does not fit`, { field: 'length' });
  const frame = Buffer.allocUnsafe(HEAD_BYTES + length);
  frame.writeUInt32BE(length, 0);
  if (typeof body === 'string') frame.write(body, HEAD_BYTES);
  else frame.set(body, HEAD_BYTES);
  return frame;
}

/** `bytes` null: the job is not known. */
export function encodeOutput(request: number, bytes: Uint8Array | null): Uint8Array {
  const body = Buffer.allocUnsafe(OUTPUT_HEAD_BYTES + (bytes?.length ?? 0));
  body[0] = OUTPUT;
  body.writeUInt32BE(request, 1);
  body[5] = bytes === null ? 0 : 1;
  if (bytes !== null) body.set(bytes, OUTPUT_HEAD_BYTES);
  return encodeFrame(body);
}

/** Reads one body. Throws RUNNER_FRAME_*. The bytes of the result are views. */
export function decodeBody(body: Uint8Array): Incoming {
  const view = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  switch (view[0]) {
    case 0x7b:
      return { kind: 'message', text: decodeText(view) };
    case OUTPUT: {
      const known = view[5];
      if (view.length < OUTPUT_HEAD_BYTES || (known !== 0 && known !== 1) || (known === 0 && view.length > 6))
        throw new Fault('RUNNER_FRAME_CUT', 'an answer of output that is none', { field: 'output' });
      return {
        kind: 'output',
        request: view.readUInt32BE(1),
        bytes: known === 0 ? null : view.subarray(OUTPUT_HEAD_BYTES),
      };
    }
    case 3:
      return { kind: 'exec', frame: view };
    default:
      throw new Fault('RUNNER_FRAME_KIND', 'a frame of a kind that nobody knows', { field: 'kind' });
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Fault('RUNNER_FRAME_TEXT', 'a message that is not UTF-8', { field: 'message' });
  }
}

export interface FrameReader {
  /** Takes what came, calls `take` with each whole body in order. Throws RUNNER_FRAME_LENGTH, and what `take` throws. */
  push(chunk: Uint8Array): void;
  /** Bytes that wait for the rest of their frame. */
  waitingBytes(): number;
}

/** Keeps at most one frame; bodies are views that are good until `take` returns, unless they came in pieces. */
export function createFrameReader(take: (body: Uint8Array) => void): FrameReader {
  const head = Buffer.alloc(HEAD_BYTES);
  let headBytes = 0;
  let body: Buffer | null = null;
  let bodyBytes = 0;

  return {
    push(chunk) {
      let at = 0;
      while (at < chunk.length) {
        if (body === null) {
          while (headBytes < HEAD_BYTES && at < chunk.length) head[headBytes++] = chunk[at++] ?? 0;
          if (headBytes < HEAD_BYTES) return;
          const length = head.readUInt32BE(0);
          if (length === 0 || length > MAX_RUNNER_FRAME_BYTES)
            throw new Fault('RUNNER_FRAME_LENGTH', `a frame that declares ${length} bytes`, {
              field: 'length',
            });
          if (chunk.length - at >= length) {
            headBytes = 0;
            const whole = chunk.subarray(at, at + length);
            at += length;
            take(whole);
            continue;
          }
          body = Buffer.allocUnsafe(length);
          bodyBytes = 0;
        }
        const part = chunk.subarray(at, at + (body.length - bodyBytes));
        body.set(part, bodyBytes);
        bodyBytes += part.length;
        at += part.length;
        if (bodyBytes < body.length) return;
        const whole = body;
        body = null;
        headBytes = 0;
        take(whole);
      }
    },
    waitingBytes: () => headBytes + bodyBytes,
  };
}
