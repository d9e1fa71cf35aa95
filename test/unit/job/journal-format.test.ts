import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeRecord, parseJournal, writtenBytes } from '../../../src/job/journal-format.ts';

const three = [
  { kind: 'a', text: 'one' },
  { kind: 'b', text: 'zwei\n"ü"' },
  { kind: 'c', list: [1, 2, 3] },
];
const lines = three.map((record) => Buffer.from(encodeRecord(record)));
const whole = Buffer.concat(lines);
const starts = [0, lines[0]?.length ?? 0, (lines[0]?.length ?? 0) + (lines[1]?.length ?? 0)];

describe('journal format', () => {
  test('gives back any records, also with space set aside behind them', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ kind: fc.string(), value: fc.jsonValue() })),
        fc.nat(64),
        (records, zeros) => {
          const json = JSON.parse(JSON.stringify(records));
          const text = Buffer.from(records.map(encodeRecord).join(''));
          const read = parseJournal(Buffer.concat([text, Buffer.alloc(zeros)]));
          expect(read).toEqual({ records: json, damage: [] });
          expect(writtenBytes(Buffer.concat([text, Buffer.alloc(zeros)]))).toBe(text.length);
        },
      ),
    );
  });

  test('cut at every byte, keeps every record before the cut and calls the rest torn', () => {
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const { records, damage } = parseJournal(whole.subarray(0, cut));
      // A record is whole without its newline.
      const kept = lines.filter((line, i) => (starts[i] ?? 0) + line.length - 1 <= cut).length;
      expect(records).toEqual(three.slice(0, kept));
      const clean = cut === 0 || lines.some((line, i) => (starts[i] ?? 0) + line.length === cut);
      expect(damage.map(({ kind }) => kind)).toEqual(clean ? [] : ['torn']);
    }
  });

  test('with any one bit flipped, loses at most the record that holds it and reports the place', () => {
    for (let at = 0; at < whole.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const bytes = Buffer.from(whole);
        bytes.writeUInt8((bytes[at] ?? 0) ^ (1 << bit), at);
        const { records, damage } = parseJournal(bytes);
        const hit = starts.findLastIndex((start) => start <= at);
        const spared = three.filter((_, i) => i !== hit);
        expect(records.length, `byte ${at} bit ${bit}`).toBeGreaterThanOrEqual(2);
        expect(
          records.filter((record) =>
            spared.some((other) => JSON.stringify(other) === JSON.stringify(record)),
          ),
        ).toEqual(spared);
        const changesMeaning = JSON.stringify(records) !== JSON.stringify(three) || damage.length > 0;
        // The one harmless flip is the case of a digit of the checksum.
        if (!changesMeaning) expect(String.fromCharCode(bytes[at] ?? 0)).toMatch(/[a-f0-9]/i);
        for (const { from, to } of damage) expect(from <= at + 1 && to >= at).toBe(true);
      }
    }
  });

  test('reads any bytes at all without throwing, and finds a good record behind them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        const bytes = Buffer.concat([noise, Buffer.from('\n'), whole]);
        expect(parseJournal(bytes).records.slice(-3)).toEqual(three);
      }),
    );
  });

  test('a record whose length lies is not believed', () => {
    const line = encodeRecord({ kind: 'a' });
    expect(parseJournal(Buffer.from(line.replace(/ (\d+) /, ' 999999999 '))).records).toEqual([]);
    expect(parseJournal(Buffer.from(line.replace(/ (\d+) /, ' 3 '))).records).toEqual([]);
  });
});
