import { describe, expect, test } from 'vitest';
import {
  decodeExecFrame,
  type ExecChannel,
  encodeExecFrame,
  execClientMessageSchema,
  execPieces,
  MAX_EXEC_CHUNK_BYTES,
} from '../../../src/protocol/exec.ts';
import { createInputSigner, SEQUENCE_MAX } from '../../../src/protocol/exec-input.ts';
import { frameKind } from '../../../src/protocol/frame.ts';

const sample = {
  execId: 'exec-7k3m9q2x4t',
  channel: 'stdout' as ExecChannel,
  bytes: Buffer.from([0, 255, 10, 3]),
};

describe('an exec frame', () => {
  test.each(['stdin', 'stdout', 'stderr'] as const)('comes back as it was, on %s, also empty', (channel) => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(MAX_EXEC_CHUNK_BYTES, 7)]) {
      const frame = encodeExecFrame({ ...sample, channel, bytes });
      expect(frameKind(frame)).toBe('exec');
      const back = decodeExecFrame(frame);
      expect(back).toMatchObject({ execId: sample.execId, channel });
      expect(Buffer.from(back.bytes).equals(bytes)).toBe(true);
    }
  });

  test('that is cut anywhere in its head is refused; never read beyond its end', () => {
    const frame = encodeExecFrame({ ...sample, bytes: new Uint8Array(0) });
    for (let length = 0; length < frame.length; length += 1)
      expect(() => decodeExecFrame(frame.subarray(0, length))).toThrow(/exec frame|not an exec/);
  });

  test('of signed input comes back with its proof, and is refused cut, on another channel and without a number', () => {
    const signer = createInputSigner(sample.execId);
    for (const bytes of [Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(MAX_EXEC_CHUNK_BYTES, 7)]) {
      const proof = { ...signer.prove({ kind: 'input', bytes }), sequence: SEQUENCE_MAX };
      const frame = encodeExecFrame({ execId: sample.execId, channel: 'stdin', bytes, proof });
      const back = decodeExecFrame(frame);
      expect(back).toMatchObject({ execId: sample.execId, channel: 'stdin', proof });
      expect(Buffer.from(back.bytes).equals(bytes)).toBe(true);
    }
    const proof = signer.prove({ kind: 'input', bytes: Buffer.alloc(0) });
    const frame = encodeExecFrame({ ...sample, channel: 'stdin', bytes: new Uint8Array(0), proof });
    for (let length = 0; length < frame.length; length += 1)
      expect(() => decodeExecFrame(frame.subarray(0, length))).toThrow(/exec frame|not an exec/);
    const codeOf = (frameOf: object) => expect.objectContaining({ code: 'LINK_FRAME_RANGE', ...frameOf });
    expect(() => decodeExecFrame(encodeExecFrame({ ...sample, proof }))).toThrow(
      codeOf({ field: 'channel' }),
    );
    const zero = encodeExecFrame({ ...sample, channel: 'stdin', proof: { ...proof, sequence: 0 } });
    expect(() => decodeExecFrame(zero)).toThrow(codeOf({ field: 'sequence' }));
  });

  test.each([
    ['of another kind', 0, 2, 'LINK_FRAME_KIND'],
    ['of another version', 1, 3, 'LINK_FRAME_VERSION'],
    ['of an unknown channel', 2, 3, 'LINK_FRAME_RANGE'],
    ['whose id is none', 4, 0x2f, 'LINK_FRAME_RANGE'],
  ])('%s is refused', (_what, at, value, code) => {
    const frame = encodeExecFrame(sample);
    frame[at] = value;
    expect(() => decodeExecFrame(frame)).toThrow(expect.objectContaining({ code }));
  });

  test('that is too long is neither made nor read', () => {
    const bytes = Buffer.alloc(MAX_EXEC_CHUNK_BYTES + 1);
    expect(() => encodeExecFrame({ ...sample, bytes })).toThrow(
      expect.objectContaining({ code: 'LINK_FRAME_TOO_LONG' }),
    );
    const frame = Buffer.concat([encodeExecFrame({ ...sample, bytes: new Uint8Array(0) }), bytes]);
    expect(() => decodeExecFrame(frame)).toThrow(expect.objectContaining({ code: 'LINK_FRAME_TOO_LONG' }));
  });

  test('pieces join to the whole', () => {
    const whole = Buffer.alloc(3 * MAX_EXEC_CHUNK_BYTES + 5, 1);
    const pieces = [...execPieces(whole)];
    expect(pieces.every((piece) => piece.length <= MAX_EXEC_CHUNK_BYTES)).toBe(true);
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
    expect([...execPieces(new Uint8Array(0))]).toEqual([]);
  });
});

describe('what a client says', () => {
  test.each([
    { type: 'request', command: [] },
    { type: 'request', command: [''] },
    { type: 'request', command: ['a\0b'] },
    { type: 'request', command: ['x'.repeat(70_000)] },
    { type: 'request', command: ['a'], terminal: { rows: 0, columns: 80 } },
    { type: 'request', command: ['a'], terminalType: 'x\u001b' },
    { type: 'request', command: ['a'], user: 'root' },
    { type: 'signal', signal: 65 },
    { type: 'credit', bytes: 0 },
    { type: 'resize', rows: 1.5, columns: 80 },
    { type: 'sudo' },
    null,
    [],
  ])('is refused as %j', (message) => {
    expect(execClientMessageSchema.safeParse(message).success).toBe(false);
  });
});
