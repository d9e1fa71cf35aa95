// What the tools print, hostile: cut anywhere, doubled, garbled, with lines lost or strange ones between, from another
// tool, or nothing but noise. The answer is a clear fault, or readings in which every number stands in the text.
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import type { ToolReading } from '../../../src/device/accelerator.ts';
import { fixture } from './scripted-runner.ts';
import { ask, everything, forms, measuredOf, numbersOf } from './tool-forms.ts';

// Generated input takes its time on a machine that others use.
vi.setConfig({ testTimeout: 120_000 });

function expectTrue(answer: readonly ToolReading[] | string, text: string): void {
  if (typeof answer === 'string') return;
  const known = numbersOf(text);
  for (const value of answer.flatMap(measuredOf)) {
    expect(Number.isFinite(value)).toBe(true);
    if (!known.has(Math.abs(value))) expect.fail(`${value} does not stand in the text`);
  }
  const ids = answer.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { id, name, serial } of answer) {
    expect(id.length).toBeGreaterThan(0);
    expect(id.length).toBeLessThanOrEqual(96);
    for (const words of [name, serial]) expect((words ?? '').length).toBeLessThanOrEqual(128);
  }
}

const strange = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.string({ unit: fc.constantFrom(...'|+-=/ :.,%0123456789NACW\n\t"{}[]'.split('')), maxLength: 400 }),
);

describe.each(forms)('$file', (form) => {
  const text = fixture(form.file);

  test('is read, every number from the text', async () => {
    const answer = await ask(form, text);
    if (typeof answer === 'string') throw new Error(answer);
    expect(answer.length).toBeGreaterThan(0);
    expect(answer.flatMap(measuredOf).length).toBeGreaterThan(2);
    expectTrue(answer, everything(form, text));
  });

  test('cut anywhere: a fault, or fewer devices with the very numbers of the whole', async () => {
    const whole = await ask(form, text);
    if (typeof whole === 'string') throw new Error(whole);
    for (let at = 0; at < text.length; at += text.length > 2500 ? 7 : 3) {
      const answer = await ask(form, text.slice(0, at));
      if (typeof answer === 'string') continue;
      for (const reading of answer) {
        const same = whole.find(
          ({ index, parentId }) => index === reading.index && parentId === reading.parentId,
        );
        expect(same, `index ${reading.index}, cut at ${at}`).toBeDefined();
        const isSame = (name: string, value: unknown): void => {
          const other = (same?.numbers.values as Record<string, unknown> | undefined)?.[name];
          if (typeof value === 'number') expect(`${name} ${value}`).toBe(`${name} ${String(other)}`);
        };
        for (const [name, value] of Object.entries(reading.numbers.values)) isSame(name, value);
      }
    }
  });

  test('doubled: a fault, or the devices once', async () => {
    const whole = await ask(form, text);
    const count = typeof whole === 'string' ? 0 : whole.length;
    for (const twice of [text + text, `${text}\n\n${text}`, `${text}${text}${text}`]) {
      const answer = await ask(form, twice);
      if (typeof answer !== 'string') expect(answer.length).toBeLessThanOrEqual(count);
      expectTrue(answer, everything(form, twice));
    }
  });

  test('garbled in any way', async () => {
    const place = fc.nat({ max: text.length - 1 });
    const garbled = fc.oneof(
      fc
        .array(fc.tuple(place, strange), { minLength: 1, maxLength: 6 })
        .map((edits) =>
          edits.reduce(
            (old, [at, insert]) => old.slice(0, at) + insert + old.slice(at + (insert.length % 9)),
            text,
          ),
        ),
      fc
        .array(fc.tuple(place, fc.constantFrom(...'0123456789|/.%: -N\n')), { minLength: 1, maxLength: 8 })
        .map((edits) => edits.reduce((old, [at, char]) => old.slice(0, at) + char + old.slice(at + 1), text)),
      fc.shuffledSubarray(text.split('\n')).map((lines) => lines.join('\n')),
      fc.tuple(place, place).map(([from, to]) => text.slice(0, from) + text.slice(to)),
    );
    await fc.assert(
      fc.asyncProperty(garbled, async (each) => expectTrue(await ask(form, each), everything(form, each))),
      { numRuns: 300, seed: 20261010 },
    );
  });

  test("noise and other tools' texts", async () => {
    const isMain = form.others === undefined;
    for (const other of forms) {
      if (other.file === form.file) continue;
      const foreign = fixture(other.file);
      const answer = await ask(form, foreign);
      if (isMain && other.vendor !== form.vendor && !/rocm|hy-smi/.test(foreign + form.tool + other.tool))
        expect(`${other.file}: ${typeof answer === 'string' ? answer : 'read'}`).toMatch(/: DEVICE_/);
      expectTrue(answer, everything(form, foreign));
    }
    await fc.assert(
      fc.asyncProperty(strange, async (each) => {
        const answer = await ask(form, each);
        if (isMain) expect(answer).toMatch(/^DEVICE_/);
        expectTrue(answer, everything(form, each));
      }),
      { numRuns: 100, seed: 20261010 },
    );
  });

  test('4 MB of one character, one line or many, take no time', async () => {
    const before = process.cpuUsage();
    const size = 4 * 1024 * 1024;
    for (const char of [
      '\n',
      ' \n',
      '=',
      '|',
      '-',
      '+',
      ' ',
      '0',
      '{',
      '[',
      ':',
      'a\n',
      '| 0 |\n',
      '|-|\n',
      '- ',
      '"a":',
    ])
      await ask(form, char.repeat(size / char.length));
    for (const insert of [' ', '0', '|', '-']) await ask(form, text.replace('\n', insert.repeat(size)));
    expect(process.cpuUsage(before).user).toBeLessThan(10e6);
  });
});
