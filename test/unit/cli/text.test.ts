import { describe, expect, it } from 'vitest';
import { renderFields, renderTable } from '../../../src/cli/table.ts';
import {
  clip,
  displayWidth,
  escapeText,
  formatBytes,
  formatDecimal,
  formatRatio,
  formatSeconds,
  shellQuote,
} from '../../../src/cli/text.ts';

describe('text for terminals', () => {
  it('escapes what could move the cursor, break the line or turn the text around', () => {
    expect(escapeText('a\u001b[2J\n\r\t\u0000\u009b\u2028\u202eb')).toBe(
      'a\\x1b[2J\\n\\r\\t\\x00\\x9b\\u2028\\u202eb',
    );
    expect(escapeText('作業 é 👩‍🚀')).toBe('作業 é 👩‍🚀');
  });

  it.each([
    ['abc', 3],
    ['作業', 4],
    ['ｱ', 1],
    ['Ａ', 2],
    ['e\u0301', 1],
    ['🚀', 2],
    ['한글', 4],
  ])('measures %s as %i columns', (text, width) => {
    expect(displayWidth(text)).toBe(width);
  });

  it('clips by columns and marks the cut', () => {
    expect(clip('abcdef', 4)).toBe('abc…');
    expect(clip('作業作業', 4)).toBe('作…');
    expect(clip('ab', 2)).toBe('ab');
  });

  it.each([
    [formatBytes(null), '-'],
    [formatBytes(0), '0 B'],
    [formatBytes(1023), '1023 B'],
    [formatBytes(1536), '1.50 KiB'],
    [formatBytes(2 ** 50 * 2048), '2048 PiB'],
    [formatDecimal(25.95e9, 'FLOPS'), '25.9 GFLOPS'],
    [formatDecimal(0, 'W'), '0 W'],
    [formatDecimal(999_700, 'B'), '1.00 MB'],
    [formatDecimal(null, 'W'), '-'],
    [formatRatio(0), '0.0%'],
    [formatRatio(1), '100%'],
    [formatRatio(null), '-'],
    [formatSeconds(0.5), '0.50s'],
    [formatSeconds(59.6), '1m00s'],
    [formatSeconds(3599.7), '1h00m'],
    [formatSeconds(90_000), '1d01h'],
  ])('writes %s', (written, expected) => {
    expect(written).toBe(expected);
  });

  it('quotes words as a shell reads them back', () => {
    expect(shellQuote("it's")).toBe("'it'\\''s'");
    expect(shellQuote('')).toBe("''");
    expect(shellQuote('a/b-c=d')).toBe('a/b-c=d');
  });
});

describe('tables', () => {
  const columns = [
    { title: 'NAME', cell: (row: readonly string[]) => row[0] ?? '', colour: () => '32' },
    { title: 'N', align: 'right', cell: (row: readonly string[]) => row[1] ?? '' } as const,
    { title: 'ID', wide: true, cell: () => 'id' },
    { title: 'WHY', cell: (row: readonly string[]) => row[2] ?? '' },
  ];
  const plain = { width: null, colour: false, wide: false };

  it('aligns by display width', () => {
    expect(
      renderTable(
        columns,
        [
          ['作業', '1', 'x'],
          ['b', '22', 'y'],
        ],
        plain,
      ),
    ).toEqual(['NAME   N  WHY', '作業   1  x', 'b     22  y']);
  });

  it('cuts the last column to the terminal, shows wide columns on demand, and colours only when asked', () => {
    const rows = [['b', '2', 'a long reason why it waits']];
    expect(renderTable(columns, rows, { ...plain, width: 20 })[1]).toBe('b     2  a long rea…');
    expect(renderTable(columns, rows, { ...plain, wide: true })[1]).toBe(
      'b     2  id  a long reason why it waits',
    );
    expect(renderTable(columns, rows, plain).join('')).not.toContain('\u001b');
    expect(renderTable(columns, rows, { ...plain, colour: true })[1]).toContain('\u001b[32mb   \u001b[0m');
  });

  it('keeps a hostile name on its line', () => {
    const lines = renderTable(columns, [['a\nb\u001b[31m', '1', 'x']], plain);
    expect(lines).toHaveLength(2);
    expect(lines.join('')).not.toMatch(/\p{Cc}/u);
    expect(renderFields([['name', 'a\rb']])).toEqual(['name  a\\rb']);
  });
});
