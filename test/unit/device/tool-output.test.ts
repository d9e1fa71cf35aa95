// What the tools print, hostile: cut anywhere, doubled, garbled, with lines lost or strange ones between, from another
// tool, or nothing but noise. The answer is a clear fault, or readings in which every number stands in the text.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import type { ToolReading } from '../../../src/device/accelerator.ts';
import { createVendors } from '../../../src/device/vendors.ts';
import { createScriptedRunner, fixture } from './scripted-runner.ts';

interface Form {
  readonly vendor: string;
  readonly tool: string;
  readonly file: string;
  /** Arguments that it answers; a form of the tool has one main text. */
  readonly args: RegExp;
  /** Texts for other arguments, which stay whole. */
  readonly others?: Readonly<Record<string, string>>;
}

const forms: readonly Form[] = [
  ...['ddr', 'ddr-hugepages', 'hbm-old', 'hbm', 'two-chips'].map((layout) => ({
    vendor: 'ascend',
    tool: 'npu-smi',
    file: `ascend/info-${layout}.txt`,
    args: /^info$/,
  })),
  ...['usages', 'common', 'ecc', 'memory', 'topology', 'map', 'parts', 'board-chip'].map((form) => ({
    vendor: 'ascend',
    tool: 'npu-smi',
    file: `ascend/${form}.txt`,
    args: /^info -[tm]/,
    others: { info: fixture('ascend/info-hbm.txt') },
  })),
  { vendor: 'amd', tool: 'rocm-smi', file: 'amd/rocm-smi.json', args: /--json/ },
  { vendor: 'amd', tool: 'rocm-smi', file: 'amd/rocm-smi.txt', args: /^$/ },
  { vendor: 'amd', tool: 'rocm-smi', file: 'amd/rocm-smi-wide.txt', args: /^$/ },
  {
    vendor: 'amd',
    tool: 'amd-smi',
    file: 'amd/amd-smi-metric.json',
    args: /^metric/,
    others: {
      'static --json': fixture('amd/amd-smi-static.json'),
      'process --json': fixture('amd/amd-smi-process.json'),
    },
  },
  {
    vendor: 'amd',
    tool: 'amd-smi',
    file: 'amd/amd-smi-process.json',
    args: /^process/,
    others: {
      'static --json': fixture('amd/amd-smi-static.json'),
      'metric --json': fixture('amd/amd-smi-metric.json'),
    },
  },
  { vendor: 'hygon', tool: 'hy-smi', file: 'hygon/hy-smi.txt', args: /^$/ },
  { vendor: 'hygon', tool: 'hy-smi', file: 'hygon/hy-smi.json', args: /--json/ },
  { vendor: 'cambricon', tool: 'cnmon', file: 'cambricon/cnmon.txt', args: /^$/ },
  { vendor: 'enflame', tool: 'efsmi', file: 'enflame/efsmi.txt', args: /^$/ },
  { vendor: 'iluvatar', tool: 'ixsmi', file: 'iluvatar/ixsmi.txt', args: /^$/ },
  { vendor: 'metax', tool: 'mx-smi', file: 'metax/mx-smi.txt', args: /^$/ },
  { vendor: 'kunlunxin', tool: 'xpu_smi', file: 'kunlunxin/xpu_smi.txt', args: /^$/ },
  { vendor: 'mthreads', tool: 'mthreads-gmi', file: 'mthreads/mthreads-gmi.txt', args: /^$/ },
  { vendor: 'mthreads', tool: 'mthreads-gmi', file: 'mthreads/mthreads-gmi-2.4.txt', args: /^$/ },
  { vendor: 'tenstorrent', tool: 'tt-smi', file: 'tenstorrent/tt-smi.json', args: /^-s$/ },
];

/** Readings, or the code of the fault. Anything else that is thrown fails the test. */
async function ask(form: Form, text: string): Promise<readonly ToolReading[] | string> {
  const vendor = createVendors().find(({ name }) => name === form.vendor);
  const runner = createScriptedRunner(
    form.tool,
    (line) => form.others?.[line] ?? (form.args.test(line) ? text : null),
  );
  try {
    return (await vendor?.query(runner)) ?? 'no such vendor';
  } catch (error) {
    if (isFault(error) && error.code.startsWith('DEVICE_') && error.message.length < 1000) return error.code;
    throw error;
  }
}

/** Units that a tool may print, in the base units of the columns. */
const scales = [1, 1024, 1024 ** 2, 1024 ** 3, 1e6];

function numbersOf(text: string): Set<number> {
  const found = new Set<number>();
  for (const [token] of text.matchAll(/\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    // `4e` garbled between digits: both readings of it stand there.
    for (const each of [token, ...token.split(/[eE]/)]) {
      const value = Number(each);
      for (const scale of scales) found.add(value * scale);
      found.add(value / 100);
    }
  }
  return found;
}

function measuredOf({ numbers, processes, facts }: ToolReading): number[] {
  const parts = [numbers.values, numbers.engineBusyRatio ?? {}, numbers.throttledRatio ?? {}, facts];
  const values: unknown[] = parts.flatMap((each) => Object.values(each) as unknown[]);
  const held = (processes ?? []).flatMap(({ pid, memoryBytes }) => [pid, memoryBytes]);
  return [...values, ...held].filter((value) => typeof value === 'number');
}

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

const everything = (form: Form, text: string): string =>
  [text, ...Object.values(form.others ?? {})].join('\n');
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
    const beforeMs = performance.now();
    const size = 4 * 1024 * 1024;
    for (const char of ['|', '-', '+', ' ', '0', '{', '[', ':', 'a\n', '| 0 |\n', '|-|\n', '- ', '"a":'])
      await ask(form, char.repeat(size / char.length));
    for (const insert of [' ', '0', '|', '-']) await ask(form, text.replace('\n', insert.repeat(size)));
    expect(performance.now() - beforeMs).toBeLessThan(5000);
  });
});
