// F33: what a job prints reaches a terminal as text, whatever it is and however it was cut.
import { describe, expect, test } from 'vitest';
import { createTerminalFilter } from '../../../src/cli/terminal-filter.ts';

function filtered(bytes: Buffer, cutEvery = bytes.length || 1): string {
  const filter = createTerminalFilter();
  let text = '';
  for (let at = 0; at < bytes.length; at += cutEvery) text += filter.push(bytes.subarray(at, at + cutEvery));
  return text + filter.end();
}

describe('output on a terminal', () => {
  test('keeps text, tabs, line ends, progress bars and colours', () => {
    const text = 'ok\tgrün 算力 🙂\r\n50%\b\b\b60%\n\u001b[1;31mred\u001b[0m\n';
    expect(filtered(Buffer.from(text))).toBe(`${text}\u001b[0m`);
  });

  test.each([
    ['cursor movement', '\u001b[2J\u001b[H', '\\x1b[2J\\x1b[H'],
    ['a new title', '\u001b]0;owned\u0007', '\\x1b]0;owned\\x07'],
    ['a question that the terminal answers', '\u001b[6n', '\\x1b[6n'],
    ['NUL and delete', 'a\0b\u007f', 'a\\x00b\\x7f'],
    ['controls of the second half', '\u009b2J', '\\x9b2J'],
    ['marks that turn the direction', 'a\u202eb', 'a\\u202eb'],
    ['a lonely escape at the end', 'x\u001b', 'x\\x1b'],
  ])('shows %s instead of obeying it', (_what, given, shown) => {
    for (const cut of [1, 2, 3, 100]) expect(filtered(Buffer.from(given), cut)).toBe(shown);
  });

  test('joins characters and colours that are cut at any place', () => {
    const text = '漢字 é \u001b[38;5;200mx';
    const bytes = Buffer.from(text);
    for (let cut = 1; cut <= bytes.length; cut += 1) expect(filtered(bytes, cut)).toBe(`${text}\u001b[0m`);
  });

  test('shows bytes that are no text, and only those', () => {
    expect(filtered(Buffer.from([0x61, 0xff, 0xc3, 0x28, 0xe6, 0xbc, 0x62, 0xed, 0xa0, 0x80]))).toBe(
      'a\\xff\\xc3(\\xe6\\xbcb\\xed\\xa0\\x80',
    );
  });

  test('lets no control character through, whatever comes and however it is cut', () => {
    let seed = 12_345;
    const random = (): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed;
    };
    const bytes = Buffer.from(Array.from({ length: 20_000 }, () => (random() >> 8) & 0xff));
    const whole = filtered(bytes);
    const esc = String.fromCharCode(0x1b);
    const rest = whole.replaceAll(new RegExp(`${esc}\\[[0-9;:]*m`, 'g'), '');
    expect(rest).toMatch(/^(?:[\t\n\r\b]|\P{Cc})*$/u);
    for (const cut of [1, 7, 64, 4096]) expect(filtered(bytes, cut)).toBe(whole);
  });

  test('keeps back no more than a few bytes of a line without end', () => {
    const filter = createTerminalFilter();
    const piece = Buffer.alloc(1024 * 1024, 0x78);
    let shown = 0;
    for (let times = 0; times < 20; times += 1) shown += filter.push(piece).length;
    expect(shown).toBe(20 * piece.length);
    let kept = 0;
    for (let times = 0; times < 1000; times += 1) kept += filter.push(Buffer.from('\u001b[1111')).length;
    expect(kept).toBeGreaterThan(5000);
  });
});
