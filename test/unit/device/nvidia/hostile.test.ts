// Output that was cut, doubled, garbled or is somebody else's: a clear refusal or true readings, never a number that is
// not in the text.
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { isFault } from '../../../../src/base/fault.ts';
import type { ToolReading } from '../../../../src/device/accelerator.ts';
import { readingsOfLog } from '../../../../src/device/nvidia/log.ts';
import { parseNvidiaText } from '../../../../src/device/nvidia/text.ts';
import { treeAt, treeOfXml } from '../../../../src/device/nvidia/tree.ts';
import { fixture } from '../scripted-runner.ts';
import * as texts from './texts.ts';

const forms: Readonly<Record<string, string>> = texts;
/** Forms that say the same when they come twice: each row stands for itself, and the last one counts. */
const repeatable = ['monitor', 'processMonitor'];
const RUNS = 1500;
// Generated input takes its time on a machine that others use.
vi.setConfig({ testTimeout: 120_000 });

/** Every number of the text, as the parsers may scale it. */
function numbersIn(text: string): Set<string> {
  const found = new Set<string>();
  for (const match of text.matchAll(/\d+(?:\.\d+)?/g)) {
    const value = Number(match[0]);
    for (const scaled of [value, value * 1048576, value * 1e6, value * 1024, value / 100])
      found.add(scaled.toPrecision(12));
  }
  return found;
}

type Parse = (text: string, options: object, done: (error: Error | null, data: unknown) => void) => void;
const { parseString } = createRequire(import.meta.url)('xml2js') as { parseString: Parse };

/** As src/bin/nvidia-query.ts has it read; what its parser refuses has no devices. */
function readXml(text: string): readonly ToolReading[] {
  if (/<!--|<!\[CDATA\[|<!ENTITY/.test(text)) return [];
  let data: unknown = null;
  let isBroken = false;
  try {
    parseString(text, { explicitArray: false, trim: true, async: false }, (error, parsed) => {
      isBroken ||= error !== null;
      data = parsed;
    });
  } catch {
    isBroken = true;
  }
  const tree = treeOfXml(isBroken ? null : JSON.parse(JSON.stringify(data ?? null)));
  return tree[0]?.key === 'nvidia_smi_log' ? readingsOfLog(treeAt(tree, 'nvidia_smi_log'), text) : [];
}

function read(text: string, parse = parseNvidiaText as (text: string) => readonly ToolReading[]) {
  try {
    return parse(text);
  } catch (error) {
    expect(isFault(error)).toBe(true);
    return [];
  }
}

/** Throws where a reading has what the text has not. Without `expect` per value: there are millions of them. */
function expectTrue(text: string, parse?: (text: string) => readonly ToolReading[]): void {
  const readings = read(text, parse);
  if (readings.length === 0) return;
  const known = numbersIn(text);
  for (const { numbers, id, processes, links } of readings) {
    if (id === '') throw new Error('a device without an id');
    for (const [name, value] of Object.entries(numbers.values)) {
      // Sums of counters are not in the text themselves.
      if (typeof value !== 'number' || name.startsWith('ecc')) continue;
      if (!known.has(value.toPrecision(12))) throw new Error(`${name} ${value} is not in the text`);
    }
    for (const { pid, memoryBytes } of processes ?? []) {
      if (!known.has(pid.toPrecision(12))) throw new Error(`pid ${pid} is not in the text`);
      if (memoryBytes !== null && !known.has(memoryBytes.toPrecision(12)))
        throw new Error(`memory ${memoryBytes} is not in the text`);
    }
    // Counts of the link state are counted, those of a matrix are read.
    for (const { kind, count } of links)
      if (kind === 'nvlink' && !text.includes('Link ') && !known.has(count.toPrecision(12)))
        throw new Error(`${count} links are not in the text`);
  }
}

describe.each(Object.entries(forms))('the %s form', (name, text) => {
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

  it('doubled: refused, or the same', () => {
    const twice = `${text}\n${text}`;
    if (repeatable.includes(name)) expect(parseNvidiaText(twice)).toEqual(parseNvidiaText(text));
    else expect(() => parseNvidiaText(twice)).toThrowError(/not one that this build can read/);
  });
});

describe('the XML', () => {
  const xml = fixture('nvidia/query.xml');

  it('is read', () => {
    expect(readXml(xml)).toHaveLength(4);
    expectTrue(xml, readXml);
  });

  it('cut anywhere: nothing', () => {
    fc.assert(
      fc.property(fc.nat(xml.trimEnd().length - 1), (at) => {
        expect(read(xml.slice(0, at), readXml)).toEqual([]);
      }),
      { numRuns: 400 },
    );
  });

  it('with a part taken out, or bytes changed: no false number', () => {
    const put = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom(
        '<gpu>',
        '</gpu>',
        '<__proto__>7 W</__proto__>',
        '&amp;',
        '<![CDATA[9]]>',
        'GPU is lost',
      ),
    );
    fc.assert(
      fc.property(fc.nat(xml.length), fc.nat(200), put, (at, length, text) =>
        expectTrue(xml.slice(0, at) + text + xml.slice(at + length), readXml),
      ),
      { numRuns: 1000 },
    );
  });

  it('with lines moved: no false number', () => {
    const lines = xml.split('\n');
    fc.assert(
      fc.property(fc.nat(lines.length), fc.nat(lines.length), (from, to) => {
        const moved = lines.toSpliced(from, 1).toSpliced(to, 0, lines[from] ?? '');
        expectTrue(moved.join('\n'), readXml);
      }),
      { numRuns: 400 },
    );
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
    const before = process.cpuUsage();
    for (const line of [
      'A',
      '=',
      '\n',
      '|   0  ',
      ' : : ',
      '\t',
      'GPU 0: ',
      '| N/A ',
      '# gpu pwr ',
      '# gpu pwr\n# Idx W\n',
      'GPU0\t',
      ', gpu_uuid, pid',
      ' \u001b[4m',
    ])
      expect(read(line.repeat(5_000_000 / line.length))).toEqual([]);
    // No figure, a guard against expressions that back-track for minutes; by the processor, as the machine is shared.
    expect(process.cpuUsage(before).user).toBeLessThan(30e6);
  });
});
