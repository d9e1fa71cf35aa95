import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFollowReader, type FollowRecord } from '../../../src/cli/follow-record.ts';

function record(kind: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header[0] = kind;
  header.writeUInt32BE(payload.length, 1);
  return Buffer.concat([header, payload]);
}

const job = (state: string): Buffer => record(0, Buffer.from(JSON.stringify({ state })));

function read(stream: Buffer, cuts: readonly number[]): FollowRecord[] {
  const reader = createFollowReader();
  const places = [...new Set([0, ...cuts.map((cut) => cut % (stream.length + 1)), stream.length])].sort(
    (a, b) => a - b,
  );
  return places.slice(1).flatMap((end, index) => reader.push(stream.subarray(places[index], end)));
}

describe('follow records', () => {
  it('are read alike wherever the stream is cut', () => {
    const stream = Buffer.concat([
      record(3, Buffer.alloc(0)),
      job('RUNNING'),
      record(1, Buffer.from('out 作')),
      record(2, Buffer.from('err')),
      record(1, Buffer.alloc(0)),
      record(1, Buffer.from('more')),
      job('COMPLETED'),
    ]);
    fc.assert(
      fc.property(fc.array(fc.nat()), (cuts) => {
        const records = read(stream, cuts);
        const bytes = (kind: string): string =>
          Buffer.concat(
            records.flatMap((one) => (one.kind === kind && 'bytes' in one ? [one.bytes] : [])),
          ).toString();
        expect(bytes('stdout')).toBe('out 作more');
        expect(bytes('stderr')).toBe('err');
        expect(records.flatMap((one) => (one.kind === 'job' ? [one.job.state] : []))).toEqual([
          'RUNNING',
          'COMPLETED',
        ]);
      }),
    );
  });

  it.each([
    ['an unknown kind', record(9, Buffer.alloc(1))],
    ['a keep-alive with content', record(3, Buffer.alloc(1))],
    ['a job that is not JSON', record(0, Buffer.from('{'))],
    ['a job without a state', record(0, Buffer.from('{}'))],
    ['a job that is null', record(0, Buffer.from('null'))],
    ['an empty job', record(0, Buffer.alloc(0))],
    ['a job of four gigabytes', Buffer.from([0, 255, 255, 255, 255])],
  ])('refuses %s', (_, stream) => {
    expect(() => createFollowReader().push(stream)).toThrow(
      expect.objectContaining({ code: 'FOLLOW_RECORD_INVALID' }),
    );
  });

  it('passes output on before its record is complete, whatever length it declares', () => {
    const reader = createFollowReader();
    const header = Buffer.from([1, 255, 255, 255, 255]);
    expect(reader.push(header)).toEqual([]);
    expect(reader.push(Buffer.from('abc'))).toEqual([{ kind: 'stdout', bytes: Buffer.from('abc') }]);
  });
});
