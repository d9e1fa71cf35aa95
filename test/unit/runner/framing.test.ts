import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createFrameReader,
  decodeBody,
  encodeFrame,
  encodeOutput,
  MAX_RUNNER_FRAME_BYTES,
} from '../../../src/runner/framing.ts';
import { parseAgentMessage, parseRunnerMessage } from '../../../src/runner/message.ts';

function read(bytes: Uint8Array, pieces: readonly number[]): Buffer[] {
  const bodies: Buffer[] = [];
  const reader = createFrameReader((body) => bodies.push(Buffer.from(body)));
  let at = 0;
  for (const piece of pieces) {
    reader.push(bytes.subarray(at, at + piece));
    at += piece;
  }
  reader.push(bytes.subarray(at));
  return bodies;
}

describe('frames of the runner', () => {
  test('come out as they went in, however they were cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 }),
        fc.array(fc.nat({ max: 40 }), { maxLength: 40 }),
        (bodies, pieces) => {
          const wire = Buffer.concat(bodies.map(encodeFrame));
          expect(read(wire, pieces)).toEqual(bodies.map((body) => Buffer.from(body)));
        },
      ),
    );
  });

  test('of a length that is none are refused before anything of them is kept', () => {
    for (const length of [0, MAX_RUNNER_FRAME_BYTES + 1, 0xffff_ffff]) {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      const reader = createFrameReader(() => {});
      expect(() => reader.push(head)).toThrow(/declares/);
    }
    expect(() => encodeFrame(new Uint8Array(0))).toThrow(/fit/);
    expect(() => encodeFrame(new Uint8Array(MAX_RUNNER_FRAME_BYTES + 1))).toThrow(/fit/);
  });

  test('of output name their question, and an unknown job is not an empty one', () => {
    const decode = (frame: Uint8Array) => decodeBody(frame.subarray(4));
    expect(decode(encodeOutput(7, Buffer.from('x')))).toEqual({
      kind: 'output',
      request: 7,
      bytes: Buffer.from('x'),
    });
    expect(decode(encodeOutput(8, null))).toEqual({ kind: 'output', request: 8, bytes: null });
    expect(decode(encodeOutput(9, Buffer.alloc(0)))).toMatchObject({ bytes: Buffer.alloc(0) });
  });

  test('any bytes are a message, or a fault with a code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 120 }), (bytes) => {
        try {
          const incoming = decodeBody(bytes);
          if (incoming.kind === 'message') parseAgentMessage(incoming.text);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^RUNNER_/) });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('messages of the runner', () => {
  test('are closed: a field too many ends the matter, whoever it is from', () => {
    expect(parseAgentMessage('{"type":"ping"}')).toEqual({ type: 'ping' });
    for (const text of [
      '{"type":"ping","path":"/etc/passwd"}',
      '{"type":"hello","version":1,"__proto__":{}}',
      '{"type":"contact","sinceMs":-1,"heartbeatMs":1}',
      '{"type":"contact","sinceMs":1e999,"heartbeatMs":1}',
      '{"type":"read","request":1,"jobId":"job-1","epoch":1,"stream":"stdout","offset":0,"limit":1e9}',
      '{"type":"energy","request":1,"answer":{}}',
      '[]',
    ])
      expect(() => parseAgentMessage(text), text).toThrow(/protocol/);
    expect(() => parseAgentMessage('['.repeat(1000))).toThrow(/nested/);
    expect(() => parseAgentMessage('{"type":')).toThrow(/JSON/);
    // It stands beside its agent: fields of a newer one are no reason to lose its jobs.
    expect(parseRunnerMessage('{"type":"told","more":1}')).toEqual({ type: 'told' });
  });
});
