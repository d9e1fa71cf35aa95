import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import type { Window } from '../../../src/protocol/columns.ts';
import { absentReasons, columnFamilies, statistic, windowStatistics } from '../../../src/protocol/columns.ts';
import { dictionarySchema } from '../../../src/protocol/control.ts';
import {
  createFrameDecoder,
  createFrameEncoder,
  createFrameScratch,
  decodeOutputChunk,
  dictionaryOf,
  encodeOutputChunk,
  frameKind,
} from '../../../src/protocol/frame.ts';
import { ColumnCodec } from '../../../src/protocol/frame-columns.ts';
import { RangeDecoder } from '../../../src/protocol/range-coder.ts';
import { column, families, makeWindow, windowRun } from './windows.ts';

const columns = [column('cpu.busyRatio'), column('memory.usedBytes'), column('disk.readBytesTotal{vda}')];

/** The code of the fault that `action` throws, or null. */
function codeOf(action: () => unknown): string | null {
  try {
    action();
    return null;
  } catch (error) {
    if (isFault(error)) return error.code;
    throw error;
  }
}

/** Largest distance between what went in and what came out: half a step of the family, and the rounding of doubles. */
function tolerance(value: number, resolution: number): number {
  return Math.abs(value) / resolution > 2 ** 52 ? 0 : resolution / 2 + Math.abs(value) * 2 ** -51;
}

function expectSame(sent: Window, got: Window): void {
  expect([got.generation, got.sequence, got.endMs, got.durationMs, got.ticks]).toEqual([
    sent.generation,
    sent.sequence,
    sent.endMs,
    sent.durationMs,
    sent.ticks,
  ]);
  expect([...got.reasons]).toEqual([...sent.reasons]);
  sent.columns.forEach(({ family }, at) => {
    const { kind, resolution } = columnFamilies[family];
    for (let place = 0; place < windowStatistics; place += 1) {
      const value = got.values[at * windowStatistics + place] ?? 0;
      const wanted = sent.values[at * windowStatistics + place] ?? 0;
      const isCarried = sent.reasons[at] === 0 && (kind === 'gauge' || place === statistic.last);
      if (!isCarried) expect(value).toBeNaN();
      else
        expect(Math.abs(value - wanted), `${family} ${wanted} ${value}`).toBeLessThanOrEqual(
          tolerance(wanted, resolution),
        );
    }
  });
}

function encodeAll(windows: readonly Window[]): Uint8Array[] {
  const encoder = createFrameEncoder();
  return windows.map((window) => encoder.encode(window));
}

function firstOf<Item>(items: readonly Item[]): Item {
  const [first] = items;
  if (first === undefined) throw new Error('empty');
  return first;
}

function rampOf(count: number): Window[] {
  return Array.from({ length: count }, (_, at) =>
    makeWindow(
      columns,
      [[0, 0.25 + at / 100, 0.5, 0.3], 1024 * (1000 + at), 5_000_000 + 700 * at + (at % 7)],
      {
        sequence: at + 1,
        endMs: 1_795_000_000_000 + 1000 * at,
      },
    ),
  );
}

describe('telemetry frames', () => {
  it('carry any run of windows to within half a step, in memory of their own', () => {
    fc.assert(
      fc.property(windowRun, (windows) => {
        const decoder = createFrameDecoder(dictionaryOf(firstOf(windows)));
        const got = encodeAll(windows).map((frame) => decoder.decode(frame));
        windows.forEach((window, at) => {
          expectSame(window, got[at] as Window);
        });
      }),
      { numRuns: 150 },
    );
  });

  it('carry counters exactly up to 2^53, and decimals as they were', () => {
    const exact = [
      column('network.receiveBytesTotal{eth0}'),
      column('pressure.waitingSecondsTotal{cpu}'),
      column('cpu.secondsTotal{user}'),
    ];
    const rows = [
      [2 ** 53 - 1, 0.1, 1e7 + 0.07],
      [2 ** 53, 123456.789012, 1e7 + 0.08],
      [2 ** 52, 123456.789013, 1e7 + 0.09],
      [2 ** 52 + 1, 123456.789013, 0],
      [0, 0.000001, 0.01],
    ];
    const windows = rows.map((row, at) => makeWindow(exact, row, { sequence: at + 1 }));
    const decoder = createFrameDecoder(dictionaryOf(firstOf(windows)));
    encodeAll(windows).forEach((frame, at) => {
      const { values } = decoder.decode(frame);
      expect([values[3], values[7], values[11]]).toEqual(rows[at]);
    });
  });

  it('carry every reason and its changes', () => {
    const windows = absentReasons.map((reason, at) =>
      makeWindow(columns, [reason === 'present' ? 0.5 : reason, 4096, at % 2 === 0 ? 'lost' : 77], {
        sequence: at + 1,
      }),
    );
    const decoder = createFrameDecoder(dictionaryOf(firstOf(windows)));
    encodeAll(windows).forEach((frame, at) => {
      expectSame(windows[at] as Window, decoder.decode(frame));
    });
  });

  it('call a present value that is not a number absent by error, and fill missing statistics with the last value', () => {
    const window = makeWindow(columns, [
      [Number.NaN, Number.POSITIVE_INFINITY, 0.75, 0.5],
      Number.NaN,
      Number.POSITIVE_INFINITY,
    ]);
    const got = createFrameDecoder(dictionaryOf(window)).decode(createFrameEncoder().encode(window));
    expect([...got.reasons].map((reason) => absentReasons[reason])).toEqual(['present', 'error', 'error']);
    expect([...got.values.subarray(0, 4)]).toEqual([0.5, 0.5, 0.75, 0.5]);
  });

  it('begin anew with a key frame when the columns change, after reset, and after a long gap', () => {
    const [one, two, three] = rampOf(3) as [Window, Window, Window];
    const encoder = createFrameEncoder();
    const isKey = (frame: Uint8Array) => ((frame[1] ?? 0) & 0x80) !== 0;
    expect(isKey(encoder.encode(one))).toBe(true);
    expect(isKey(encoder.encode(two))).toBe(false);
    encoder.reset();
    expect(isKey(encoder.encode(three))).toBe(true);
    expect(isKey(encoder.encode({ ...three, sequence: 4, generation: 2 }))).toBe(true);
    const later = { ...three, sequence: 9, generation: 2 };
    expect(isKey(encoder.encode(later))).toBe(false);
    expect(isKey(encoder.encode({ ...later, sequence: 265 }))).toBe(true);
    const decoder = createFrameDecoder(dictionaryOf(one));
    expect(codeOf(() => decoder.decode(encoder.encode({ ...later, sequence: 1000 })))).toBe(
      'LINK_FRAME_CHECK',
    );
  });

  it('let a decoder join at any key frame', () => {
    const windows = rampOf(6);
    const encoder = createFrameEncoder();
    for (const window of windows.slice(0, 3)) encoder.encode(window);
    encoder.reset();
    const decoder = createFrameDecoder(dictionaryOf(firstOf(windows)));
    for (const window of windows.slice(3)) expectSame(window, decoder.decode(encoder.encode(window)));
  });

  it('stay small: a column that stands still costs nearly nothing', () => {
    const many = Array.from({ length: 200 }, (_, at) => column(`disk.readBytesTotal{d${at}}`));
    const windows = Array.from({ length: 200 }, (_, at) =>
      makeWindow(
        many,
        many.map((_, each) => each * 1e9),
        { sequence: at + 1, endMs: 1000 * at },
      ),
    );
    const frames = encodeAll(windows);
    expect(frames.at(-1)?.length).toBeLessThanOrEqual(9);
  });

  it('have a dictionary that the control schema accepts', () => {
    const all = families.map((family) =>
      column(columnFamilies[family].label === null ? family : `${family}{x}`),
    );
    const dictionary = dictionaryOf(
      makeWindow(
        all,
        all.map(() => 1),
      ),
    );
    expect(dictionarySchema.parse(JSON.parse(JSON.stringify(dictionary)))).toEqual(dictionary);
  });
});

describe('the telemetry decoder', () => {
  const windows = rampOf(8);
  const frames = encodeAll(windows);
  const [key, delta] = frames as [Uint8Array, Uint8Array];
  const dictionary = dictionaryOf(firstOf(windows));

  it('refuses a delta frame before any key frame, and a frame that comes twice, late, or after a lost one', () => {
    const decoder = createFrameDecoder(dictionary);
    expect(codeOf(() => decoder.decode(delta))).toBe('LINK_FRAME_SEQUENCE');
    decoder.decode(key);
    expect(codeOf(() => decoder.decode(key))).toBe('LINK_FRAME_SEQUENCE');
    decoder.decode(delta);
    expect(codeOf(() => decoder.decode(delta))).toBe('LINK_FRAME_SEQUENCE');
    expect(codeOf(() => decoder.decode(key))).toBe('LINK_FRAME_SEQUENCE');
    expect(codeOf(() => decoder.decode(frames[4] as Uint8Array))).toBe('LINK_FRAME_CHECK');
    expectSame(windows[2] as Window, decoder.decode(frames[2] as Uint8Array));
  });

  it('names the kind, the version and the cut of a foreign frame', () => {
    const decoder = createFrameDecoder(dictionary);
    expect(codeOf(() => decoder.decode(new Uint8Array(0)))).toBe('LINK_FRAME_KIND');
    expect(codeOf(() => decoder.decode(Uint8Array.of(2, 1, 1)))).toBe('LINK_FRAME_KIND');
    expect(codeOf(() => decoder.decode(Uint8Array.of(1, 0x81, 1)))).toBe('LINK_FRAME_CUT');
    expect(codeOf(() => decoder.decode(Uint8Array.of(1, 2, 1, 0, 0, 0)))).toBe('LINK_FRAME_VERSION');
    expect(codeOf(() => decoder.decode(Uint8Array.of(1, 0x82, 1, 0, 0, 0)))).toBe('LINK_FRAME_VERSION');
  });

  it('refuses a frame of another dictionary, though of as many columns', () => {
    const other = [column('cpu.load1'), column('memory.usedBytes'), column('disk.readBytesTotal{vdb}')];
    const decoder = createFrameDecoder(dictionaryOf(makeWindow(other, [1, 2, 3])));
    expect(codeOf(() => decoder.decode(key))).toBe('LINK_FRAME_CHECK');
  });

  it('refuses every cut, every single flipped bit and every doubled tail, and goes on as if nothing had come', () => {
    const decoder = createFrameDecoder(dictionary);
    frames.forEach((frame, at) => {
      for (let length = 0; length < frame.length; length += 1) {
        expect(codeOf(() => decoder.decode(frame.subarray(0, length)))).toMatch(/^LINK_FRAME_/);
      }
      for (let bit = 0; bit < frame.length * 8; bit += 1) {
        const flipped = frame.slice();
        flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(
          codeOf(() => decoder.decode(flipped)),
          `frame ${at} bit ${bit}`,
        ).toMatch(/^LINK_FRAME_/);
      }
      expect(codeOf(() => decoder.decode(Uint8Array.of(...frame, ...frame)))).toMatch(/^LINK_FRAME_/);
      expectSame(windows[at] as Window, decoder.decode(frame));
    });
  });

  it('refuses or survives thousands of garbled inputs, without harm to what follows', () => {
    const decoder = createFrameDecoder(dictionary);
    decoder.decode(key);
    const garbled = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.uint8Array({ maxLength: 80 }).map((bytes) => Uint8Array.of(1, 0x81, ...bytes)),
      fc.uint8Array({ maxLength: 80 }).map((bytes) => Uint8Array.of(1, 1, 2, ...bytes)),
      fc
        .tuple(fc.constantFrom(...frames), fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }))
        .map(([frame, at, bytes]) => {
          const copy = frame.slice();
          copy.set(bytes, Math.min(at % frame.length, frame.length - bytes.length));
          return frame.every((byte, index) => byte === copy[index]) ? new Uint8Array(0) : copy;
        }),
    );
    fc.assert(
      fc.property(garbled, (bytes) => {
        expect(codeOf(() => decoder.decode(bytes))).toMatch(/^LINK_FRAME_/);
      }),
      { numRuns: 4000, seed: 20261123 },
    );
    expectSame(windows[1] as Window, decoder.decode(delta));
  });

  it('is unharmed by a hostile peer that gets the check right', () => {
    const { check } = new ColumnCodec(dictionary.generation, dictionary.columns, new RangeDecoder());
    const afterKey = crc32(key.subarray(0, -3), check);
    const seal = (bytes: Uint8Array, before: number) => {
      const crc = crc32(bytes, before);
      return Uint8Array.of(...bytes, crc >>> 16, crc >>> 8, crc);
    };
    const codes = new Set<string | null>();
    const hostile = fc.tuple(
      fc.boolean(),
      fc.integer({ min: 2, max: 255 }),
      fc.uint8Array({ maxLength: 90 }),
    );
    fc.assert(
      fc.property(hostile, ([isKey, sequence, body]) => {
        const bytes = Uint8Array.of(1, isKey ? 0x81 : 1, sequence, ...body);
        const decoder = createFrameDecoder(dictionary);
        decoder.decode(key);
        const code = codeOf(() => {
          const { values, endMs } = decoder.decode(seal(bytes, isKey ? check : afterKey));
          expect(values.length).toBe(columns.length * windowStatistics);
          expect(() => new Date(endMs).toISOString()).not.toThrow();
        });
        codes.add(code);
        if (code !== null) expectSame(windows[1] as Window, decoder.decode(delta));
      }),
      { numRuns: 1000, seed: 7 },
    );
    expect(codes).toContain('LINK_FRAME_RANGE');
  });

  it('shares its working memory with other decoders without mixing them up', () => {
    const scratch = createFrameScratch();
    const more = [...columns, column('cpu.load1')];
    const others = rampOf(8).map((window, at) =>
      makeWindow(more, [0.1, at * 1024, at, at / 4], { sequence: window.sequence }),
    );
    const decoders = [
      createFrameDecoder(dictionary, scratch),
      createFrameDecoder(dictionaryOf(firstOf(others)), scratch),
    ] as const;
    const otherFrames = encodeAll(others);
    frames.forEach((frame, at) => {
      expectSame(windows[at] as Window, decoders[0].decode(frame));
      expectSame(others[at] as Window, decoders[1].decode(otherFrames[at] as Uint8Array));
    });
  });
});

describe('output frames', () => {
  const chunk = {
    jobId: 'job-7k3m9q2x4t',
    epoch: 3,
    stream: 'stderr',
    offset: 2 ** 40 + 5,
    bytes: Uint8Array.of(0, 255, 10),
  } as const;

  it('carry any piece of output', () => {
    const jobId = fc.stringMatching(/^[a-z]{1,12}-[0-9a-z]{1,32}$/);
    const any = fc.record({
      jobId,
      epoch: fc.integer({ min: 1 }),
      stream: fc.constantFrom('stdout' as const, 'stderr' as const),
      offset: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 65_536 }),
      bytes: fc.uint8Array({ maxLength: 500 }),
    });
    fc.assert(
      fc.property(any, (each) => {
        expect(decodeOutputChunk(encodeOutputChunk(each))).toEqual(each);
      }),
    );
  });

  it('refuse what no agent can mean, by code', () => {
    const frame = encodeOutputChunk(chunk);
    const changed = (at: number, byte: number) => frame.with(at, byte);
    expect(codeOf(() => decodeOutputChunk(changed(0, 1)))).toBe('LINK_FRAME_KIND');
    expect(codeOf(() => decodeOutputChunk(changed(1, 2)))).toBe('LINK_FRAME_VERSION');
    expect(codeOf(() => decodeOutputChunk(changed(2, 3)))).toBe('LINK_FRAME_RANGE');
    expect(codeOf(() => decodeOutputChunk(changed(3, 255)))).toBe('LINK_FRAME_CUT');
    expect(codeOf(() => decodeOutputChunk(changed(4, 0x2f)))).toBe('LINK_FRAME_RANGE');
    expect(codeOf(() => decodeOutputChunk(encodeOutputChunk({ ...chunk, epoch: 0 })))).toBe(
      'LINK_FRAME_RANGE',
    );
    const head = frame.slice(0, 4 + chunk.jobId.length);
    expect(codeOf(() => decodeOutputChunk(Uint8Array.of(...head, 1, ...Array(20).fill(0xff))))).toBe(
      'LINK_FRAME_RANGE',
    );
    expect(
      codeOf(() => decodeOutputChunk(encodeOutputChunk({ ...chunk, offset: Number.MAX_SAFE_INTEGER }))),
    ).toBe('LINK_FRAME_RANGE');
    expect(codeOf(() => encodeOutputChunk({ ...chunk, bytes: new Uint8Array(65_537) }))).toBe(
      'LINK_FRAME_TOO_LONG',
    );
    const long = Uint8Array.of(
      ...encodeOutputChunk({ ...chunk, bytes: new Uint8Array(0) }),
      ...new Uint8Array(65_537),
    );
    expect(codeOf(() => decodeOutputChunk(long))).toBe('LINK_FRAME_TOO_LONG');
  });

  it('refuse every cut within the header, and any garbage without another error', () => {
    const frame = encodeOutputChunk({ ...chunk, bytes: new Uint8Array(0) });
    for (let length = 0; length < frame.length; length += 1) {
      expect(codeOf(() => decodeOutputChunk(frame.subarray(0, length)))).toMatch(
        /^LINK_FRAME_(CUT|KIND|RANGE)$/,
      );
    }
    const garbage = fc.uint8Array({ maxLength: 60 }).map((bytes) => Uint8Array.of(2, 1, 1, ...bytes));
    fc.assert(
      fc.property(garbage, (bytes) => {
        expect(codeOf(() => decodeOutputChunk(bytes)) ?? 'LINK_FRAME_').toMatch(/^LINK_FRAME_/);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the first byte', () => {
  it('tells the kind of a frame', () => {
    expect(frameKind(Uint8Array.of(1))).toBe('telemetry');
    expect(frameKind(Uint8Array.of(2))).toBe('output');
    expect(frameKind(Uint8Array.of(0))).toBeNull();
    expect(frameKind(new Uint8Array(0))).toBeNull();
  });
});
