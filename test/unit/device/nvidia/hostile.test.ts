// Output that was cut, doubled, garbled or is somebody else's: a clear refusal or true readings, never a number that is
// not in the text.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isFault } from '../../../../src/base/fault.ts';
import type { ToolReading } from '../../../../src/device/accelerator.ts';
import { parseNvidiaText } from '../../../../src/device/nvidia/text.ts';
import { csv, list, log, table } from './texts.ts';

const forms = { log, table, list, csv };
const RUNS = 2000;

/** Every number of the text, as the parsers may scale it. */
function numbersIn(text: string): Set<string> {
  const found = new Set<string>();
  for (const match of text.matchAll(/\d+(?:\.\d+)?/g)) {
    const value = Number(match[0]);
    for (const scaled of [value, value * 1048576, value * 1e6, value * 1000, value / 100])
      found.add(scaled.toPrecision(12));
  }
  return found;
}

function read(text: string): readonly ToolReading[] {
  try {
    return parseNvidiaText(text);
  } catch (error) {
    expect(isFault(error)).toBe(true);
    return [];
  }
}

/** Throws where a reading has what the text has not. Without `expect` per value: there are millions of them. */
function expectTrue(text: string): void {
  const readings = read(text);
  if (readings.length === 0) return;
  const known = numbersIn(text);
  for (const { numbers, id, processes } of readings) {
    if (id === '') throw new Error('a device without an id');
    for (const [name, value] of Object.entries(numbers.values)) {
      // Sums of counters are not in the text themselves.
      if (typeof value !== 'number' || name.startsWith('ecc')) continue;
      if (!known.has(value.toPrecision(12))) throw new Error(`${name} ${value} is not in the text`);
    }
    for (const { pid } of processes ?? [])
      if (!known.has(pid.toPrecision(12))) throw new Error(`pid ${pid} is not in the text`);
  }
}

describe.each(Object.entries(forms))('the %s form', (_, text) => {
  it('is read', () => {
    expect(read(text).length).toBeGreaterThan(0);
    expectTrue(text);
  });

  it('cut anywhere: no false number', () => {
    fc.assert(
      fc.property(fc.nat(text.length), (at) => expectTrue(text.slice(0, at))),
      { numRuns: RUNS },
    );
  });

  it('with a part taken out, or bytes changed: no false number', () => {
    fc.assert(
      fc.property(fc.nat(text.length), fc.nat(200), fc.string({ maxLength: 12 }), (at, length, put) =>
        expectTrue(text.slice(0, at) + put + text.slice(at + length)),
      ),
      { numRuns: RUNS },
    );
  });

  it('doubled: refused', () => {
    expect(() => parseNvidiaText(`${text}\n${text}`)).toThrowError(/cannot|can not|not one that/);
  });
});

describe('foreign text', () => {
  it('is refused, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 300, unit: 'binary' }), (text) => {
        expect(read(text)).toEqual([]);
      }),
      { numRuns: RUNS },
    );
    for (const text of ['', 'Segmentation fault', '<html><body>502</body></html>', '{"gpus": 8}'])
      expect(() => parseNvidiaText(text)).toThrowError();
  });

  it('of five megabytes takes no time to speak of', () => {
    const startedMs = performance.now();
    for (const line of ['A', '|   0  ', ' : : ', '\t', 'GPU 0: ', '| N/A '])
      expect(read(line.repeat(5_000_000 / line.length))).toEqual([]);
    // No figure, a guard against expressions that back-track for minutes.
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  });
});
