// Binary frames of flopd.v1, encoder beside decoder. The first byte tells the kind.
//
// Telemetry, kind 1: one window, in the columns of the dictionary that was sent before it.
//
//   u8   kind = 1
//   u8   version = 1, plus 0x80 for a key frame
//   u8   low byte of the window's sequence
//   ...  range code (range-coder.ts) of: [key frame: generation, sequence] duration, end time, ticks,
//        whether any reason changed, and then for each column: [its new reason] and, if it is present,
//        "quiet", or the values.
//   u24  check (big endian): CRC-32 of the bytes before it, begun with the CRC-32 of the frame before, or of the
//        dictionary for a key frame; its low 24 bits. So a frame that is damaged, cut, sent twice, out of order
//        or meant for another dictionary is refused before anything of it takes effect.
//
// Values travel as integers: the value over the resolution of its family, rounded. What does not fit (above 2^52)
// travels as the 64 bits of the double. Integers are coded as the distance from an expectation: for a counter the
// last value plus its usual step; for a gauge's last value the one before; for its extremes the nearer of those
// two; for its mean the middle between the extremes. Distances are coded as number of bits (under models chosen
// by how many bits that place usually takes), sign, and the bits. "Quiet" is a counter that stood still, or a
// gauge whose four statistics all equal the last value before. A key frame starts from zeros and fresh models.
//
// Output, kind 2: u8 kind = 2, u8 version = 1, u8 stream (1 stdout, 2 stderr), u8 length of the job id, the job id
// in ASCII, varint epoch, varint offset of the first byte in the stream, the bytes.
//
// Exec, kind 3: exec.ts.
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import type { Window } from './columns.ts';
import { windowStatistics } from './columns.ts';
import type { Dictionary } from './control.ts';
import { MAX_OUTPUT_CHUNK_BYTES } from './control.ts';
import { ColumnCodec, outOfRange } from './frame-columns.ts';
import { FrameModel, role } from './frame-model.ts';
import type { BitCoder } from './range-coder.ts';
import { RangeDecoder, RangeEncoder } from './range-coder.ts';

const TELEMETRY = 1;
const OUTPUT = 2;
const EXEC = 3;
const VERSION = 1;
const KEY = 0x80;
const HEADER_BYTES = 3;
const CHECK_BYTES = 3;
/** Largest step of the sequence that one byte can tell. */
const MAX_SEQUENCE_STEP = 255;
/** Furthest stamp that a Date can show. */
const MAX_DATE_MS = 8.64e15;
const MAX_VARINT_BYTES = 8;
const JOB_ID = /^[a-z]+-[0-9a-z]{1,32}$/;

/** First byte of a binary frame; null for a kind that this version does not know. */
export function frameKind(frame: Uint8Array): 'telemetry' | 'output' | 'exec' | null {
  switch (frame[0]) {
    case TELEMETRY:
      return 'telemetry';
    case OUTPUT:
      return 'output';
    case EXEC:
      return 'exec';
    default:
      return null;
  }
}

/** The control message that must precede the telemetry frames of this window's generation. */
export function dictionaryOf(window: Window): Dictionary {
  const columns = window.columns.map(({ family, owner, label }) => ({ family, owner, label }));
  return { type: 'dictionary', generation: window.generation, columns };
}

export interface FrameEncoder {
  /** The window as a frame: relative to the frame before, or a key frame where there is none to refer to. */
  encode(window: Window): Uint8Array;
  /** Makes the next frame a key frame. For whoever could not deliver the last one. */
  reset(): void;
}

/** Hot: every window. `encode` allocates only its result, except when the columns change. */
export function createFrameEncoder(): FrameEncoder {
  const coder = new RangeEncoder();
  let codec: ColumnCodec | null = null;
  let model = new FrameModel(0, 0);
  const head = createHead();
  let started = false;
  let check = 0;
  return {
    reset() {
      started = false;
    },
    encode(window) {
      if (codec === null || codec.generation !== window.generation || codec.columns !== window.columns) {
        codec = new ColumnCodec(window.generation, window.columns, coder);
        model = codec.createModel();
        started = false;
      }
      const step = window.sequence - head.sequence;
      const key = !started || step < 1 || step > MAX_SEQUENCE_STEP;
      if (key) {
        model.clear();
        clearHead(head);
        check = codec.check;
      }
      coder.start(HEADER_BYTES);
      head.sequence = window.sequence;
      codeHead(coder, model, head, key, window.generation, window);
      codec.code(model, window.values, window.reasons, false);
      const frame = coder.finish(HEADER_BYTES, CHECK_BYTES);
      frame[0] = TELEMETRY;
      frame[1] = key ? VERSION | KEY : VERSION;
      frame[2] = window.sequence & 0xff;
      check = checkOf(frame, check);
      writeCheck(frame, check);
      started = true;
      return frame;
    },
  };
}

export interface FrameDecoder {
  /** The window in a frame; memory of its own. Throws a Fault LINK_FRAME_* and then is as it was before. */
  decode(frame: Uint8Array): Window;
}

/** Working memory that decoders may share, as long as they decode one after the other: saves half of each. */
export interface FrameScratch {
  model: FrameModel;
}

export function createFrameScratch(): FrameScratch {
  return { model: new FrameModel(0, 0) };
}

/** Hot: every frame. Work and memory are bounded by the dictionary, whatever the frame says. */
export function createFrameDecoder(
  dictionary: Dictionary,
  scratch: FrameScratch = createFrameScratch(),
): FrameDecoder {
  const coder = new RangeDecoder();
  const codec = new ColumnCodec(dictionary.generation, dictionary.columns, coder);
  const model = codec.createModel();
  const accepted = createHead();
  const head = createHead();
  let started = false;
  let check = 0;
  return {
    decode(frame) {
      const key = readHeader(frame, started);
      if (!key && ((frame[2] ?? 0) - accepted.sequence) % 256 === 0) throw repeated(accepted.sequence);
      const expected = checkOf(frame, key ? codec.check : check);
      if ((expected & 0xffffff) !== readCheck(frame)) throw damaged();
      if (!scratch.model.fits(model)) scratch.model = codec.createModel();
      const work = scratch.model;
      if (key) {
        work.clear();
        clearHead(head);
      } else {
        work.copyFrom(model);
        Object.assign(head, accepted);
        head.sequence += ((frame[2] ?? 0) - head.sequence) & 0xff;
      }
      coder.start(frame, HEADER_BYTES, frame.length - CHECK_BYTES);
      const generation = codeHead(coder, work, head, key, codec.generation, NOTHING);
      if (generation !== codec.generation || head.sequence % 256 !== frame[2] || !isHead(head))
        throw outOfRange('head');
      if (key && started && head.sequence <= accepted.sequence) throw repeated(accepted.sequence);
      const values = new Float64Array(codec.columns.length * windowStatistics);
      const reasons = new Uint8Array(codec.columns.length);
      codec.code(work, values, reasons, true);
      if (coder.finish() > 0) throw outOfRange('length');
      // From here nothing fails.
      model.copyFrom(work);
      Object.assign(accepted, head);
      check = expected;
      started = true;
      const { sequence, endMs, durationMs, ticks } = head;
      return { generation, columns: codec.columns, sequence, endMs, durationMs, ticks, values, reasons };
    },
  };
}

interface Head {
  sequence: number;
  endMs: number;
  durationMs: number;
  ticks: number;
}

const NOTHING: Readonly<Head> = { sequence: 0, endMs: 0, durationMs: 0, ticks: 0 };

function createHead(): Head {
  return { ...NOTHING };
}

function clearHead(head: Head): void {
  Object.assign(head, NOTHING);
}

/** Codes the head from `window` (or, decoding, from the code alone) into `head`; returns the generation. */
function codeHead(
  coder: BitCoder,
  model: FrameModel,
  head: Head,
  key: boolean,
  generation: number,
  window: Readonly<Head>,
): number {
  const slot = 4 * model.columnCount;
  let coded = generation;
  if (key) {
    coded = model.integer(coder, role.first, slot, 0, generation);
    head.sequence = model.integer(coder, role.first, slot, 0, window.sequence);
  }
  const which = key ? role.first : role.head;
  const size = key ? 0 : -1;
  head.durationMs += model.integer(coder, which, slot, size, Math.round(window.durationMs) - head.durationMs);
  const expectedEnd = head.endMs + head.durationMs;
  head.endMs =
    expectedEnd + model.integer(coder, which, slot + 1, size, Math.round(window.endMs) - expectedEnd);
  head.ticks += model.integer(coder, which, slot + 2, size, window.ticks - head.ticks);
  return coded;
}

/** Whether a decoded head is one that an encoder can have meant; keeps the stamp within what a Date can show. */
function isHead({ sequence, endMs, durationMs, ticks }: Head): boolean {
  return (
    Number.isSafeInteger(sequence) &&
    sequence >= 0 &&
    Number.isSafeInteger(ticks) &&
    ticks >= 0 &&
    Number.isInteger(endMs) &&
    Math.abs(endMs) <= MAX_DATE_MS &&
    Number.isSafeInteger(durationMs) &&
    durationMs >= 0
  );
}

/** Refuses what cannot be a telemetry frame of this version; returns whether it is a key frame. */
function readHeader(frame: Uint8Array, started: boolean): boolean {
  if (frame[0] !== TELEMETRY) throw new Fault('LINK_FRAME_KIND', 'not a telemetry frame', { field: 'kind' });
  if (frame.length < HEADER_BYTES + CHECK_BYTES) {
    throw new Fault('LINK_FRAME_CUT', `telemetry frame of ${frame.length} bytes is shorter than its header`);
  }
  const version = (frame[1] ?? 0) & ~KEY;
  if (version !== VERSION) {
    const message = `telemetry frame of version ${version}; this build reads version ${VERSION}`;
    throw new Fault('LINK_FRAME_VERSION', message, {
      field: 'version',
      remedy: 'run the same release on both sides',
    });
  }
  const key = ((frame[1] ?? 0) & KEY) !== 0;
  if (!key && !started)
    throw new Fault('LINK_FRAME_SEQUENCE', 'telemetry frame refers to one that has not come');
  return key;
}

/** CRC-32 over everything before the check, begun with that of the frame before. */
function checkOf(frame: Uint8Array, before: number): number {
  return crc32(frame.subarray(0, frame.length - CHECK_BYTES), before);
}

function writeCheck(frame: Uint8Array, check: number): void {
  frame[frame.length - 3] = check >>> 16;
  frame[frame.length - 2] = check >>> 8;
  frame[frame.length - 1] = check;
}

function readCheck(frame: Uint8Array): number {
  const end = frame.length;
  return ((frame[end - 3] ?? 0) << 16) | ((frame[end - 2] ?? 0) << 8) | (frame[end - 1] ?? 0);
}

function damaged(): Fault {
  return new Fault(
    'LINK_FRAME_CHECK',
    'telemetry frame is damaged, cut, or does not follow the frame before it',
  );
}

function repeated(sequence: number): Fault {
  return new Fault('LINK_FRAME_SEQUENCE', `telemetry frame does not come after window ${sequence}`, {
    field: 'sequence',
  });
}

/** A piece of a job's output. */
export interface OutputChunk {
  readonly jobId: string;
  readonly epoch: number;
  readonly stream: 'stdout' | 'stderr';
  /** Offset of the first byte in the stream. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export function encodeOutputChunk({ jobId, epoch, stream, offset, bytes }: OutputChunk): Uint8Array {
  if (bytes.length > MAX_OUTPUT_CHUNK_BYTES) {
    throw new Fault('LINK_FRAME_TOO_LONG', `output chunk of ${bytes.length} bytes`, { field: 'bytes' });
  }
  const head: number[] = [OUTPUT, VERSION, stream === 'stdout' ? 1 : 2, jobId.length];
  for (let at = 0; at < jobId.length; at += 1) head.push(jobId.charCodeAt(at));
  pushVarint(head, epoch);
  pushVarint(head, offset);
  const frame = new Uint8Array(head.length + bytes.length);
  frame.set(head);
  frame.set(bytes, head.length);
  return frame;
}

/** Throws a Fault LINK_FRAME_*. The bytes of the result are a view into the frame. */
export function decodeOutputChunk(frame: Uint8Array): OutputChunk {
  if (frame[0] !== OUTPUT) throw new Fault('LINK_FRAME_KIND', 'not an output frame', { field: 'kind' });
  const [, version, stream, idLength] = frame;
  if (version === undefined || stream === undefined || idLength === undefined) throw cutOutput();
  if (version !== VERSION) {
    const message = `output frame of version ${version}; this build reads version ${VERSION}`;
    throw new Fault('LINK_FRAME_VERSION', message, {
      field: 'version',
      remedy: 'run the same release on both sides',
    });
  }
  if (stream !== 1 && stream !== 2)
    throw new Fault('LINK_FRAME_RANGE', `output stream ${stream}`, { field: 'stream' });
  if (frame.length < 4 + idLength) throw cutOutput();
  const jobId = String.fromCharCode(...frame.subarray(4, 4 + idLength));
  if (!JOB_ID.test(jobId))
    throw new Fault('LINK_FRAME_RANGE', 'output frame names no job', { field: 'jobId' });
  const epoch = readVarint(frame, 4 + idLength, 'epoch');
  const offset = readVarint(frame, epoch.next, 'offset');
  const bytes = frame.subarray(offset.next);
  if (epoch.value === 0) throw new Fault('LINK_FRAME_RANGE', 'output frame of epoch 0', { field: 'epoch' });
  if (bytes.length > MAX_OUTPUT_CHUNK_BYTES) {
    throw new Fault('LINK_FRAME_TOO_LONG', `output chunk of ${bytes.length} bytes`, { field: 'bytes' });
  }
  if (offset.value + bytes.length > Number.MAX_SAFE_INTEGER) {
    throw new Fault('LINK_FRAME_RANGE', 'output frame beyond the largest offset', { field: 'offset' });
  }
  return {
    jobId,
    epoch: epoch.value,
    stream: stream === 1 ? 'stdout' : 'stderr',
    offset: offset.value,
    bytes,
  };
}

/** Appends a non-negative safe integer in groups of seven bits, lowest first. */
function pushVarint(into: number[], value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) into.push((rest % 0x80) | 0x80);
  into.push(rest);
}

function readVarint(frame: Uint8Array, from: number, field: string): { value: number; next: number } {
  let value = 0;
  for (let at = from, factor = 1; at < from + MAX_VARINT_BYTES; at += 1, factor *= 0x80) {
    const byte = frame[at];
    if (byte === undefined) throw cutOutput();
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) {
      if (!Number.isSafeInteger(value)) break;
      return { value, next: at + 1 };
    }
  }
  throw new Fault('LINK_FRAME_RANGE', `output frame with an impossible ${field}`, { field });
}

function cutOutput(): Fault {
  return new Fault('LINK_FRAME_CUT', 'output frame ends within its header');
}
