// npu-smi as a real child that hangs, floods, complains, fails, dies or vanishes: the query ends in time with the right
// code, leaves nothing behind, and the next good answer is read as if nothing had been.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import type { ToolReading } from '../../../src/device/accelerator.ts';
import { createAscend } from '../../../src/device/ascend.ts';
import { createTool, type Tool } from '../../../src/device/tool.ts';
import { type Behaviour, createFakeTool, type FakeTool, type ToolRow } from '../../fakes/tool.ts';

const fixture = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../../fixtures/ascend/${name}.txt`, import.meta.url)), 'utf8');
/** Enough for good answers on a busy machine. */
const GOOD_MS = 20_000;
/** Of a tool that never answers. */
const SHORT_MS = 1500;

const table: ToolRow = { args: 'info', stdout: fixture('info-hbm') };
const good: readonly ToolRow[] = [
  table,
  { args: 'info -m', stdout: fixture('map') },
  { args: 'info -t usages -i 1', stdout: fixture('usages') },
  { args: 'info -t common -i 1', stdout: fixture('common') },
  // What this version does not have, told on the wrong stream.
  { args: 'info -t *', stderr: 'Input parameter is not supported.\n', exitCode: 255 },
];

let fake: FakeTool;
let tool: Tool;
let descriptors = 0;
const vendor = createAscend();

function ask(budgetMs = GOOD_MS): Promise<readonly ToolReading[]> {
  return tool.query(budgetMs, (runner) => vendor.query(runner));
}

async function expectWell(): Promise<void> {
  const readings = await ask();
  expect(readings.map(({ index, numbers }) => [index, numbers.values.powerWatts])).toEqual([
    [0, 104.9],
    [1, 311.3],
    [2, 99.8],
    [3, 'unsupported'],
  ]);
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

beforeEach(() => {
  fake = createFakeTool('npu-smi', good);
  descriptors = openDescriptors();
  tool = createTool({
    path: fake.path,
    name: 'npu-smi',
    scriptFolder: '/nowhere',
    environment: { PATH: `${fake.folder}:/usr/bin:/bin` },
    clock: createClock(),
  });
});

afterEach(async () => {
  tool.close();
  await vi.waitFor(() => expect(openDescriptors()).toBeLessThanOrEqual(descriptors), 20_000);
  fake.close();
});

describe('npu-smi that misbehaves', () => {
  test('answers: the table, and what its forms add', async () => {
    const [, busy] = await tool.query(GOOD_MS, (runner) => vendor.query(runner));
    expect(busy?.numbers.engineBusyRatio).toMatchObject({ cube: 0.63, vector: 0.21 });
    expect(busy?.numbers.values).toMatchObject({ clockHertz: 1.65e9, memoryBusyRatio: 0.38 });
    expect(busy?.facts).toMatchObject({ units: 20, maxClockHertz: 1.8e9 });
    expect(fake.unanswered()).toEqual([]);
  });

  test.each<[Behaviour, string]>([
    ['hang', 'DEVICE_TOOL_LATE'],
    ['ignoreTerm', 'DEVICE_TOOL_LATE'],
    ['flood', 'DEVICE_TOOL_OUTPUT_TOO_LONG'],
    ['fail', 'DEVICE_TOOL_FAILED'],
    ['crash', 'DEVICE_TOOL_FAILED'],
    ['cut', 'DEVICE_TOOL_FAILED'],
  ])('%s: %s, in time, and well again', async (behaviour, code) => {
    await expectWell();
    fake.behave(behaviour);
    await expect(ask(code === 'DEVICE_TOOL_LATE' ? SHORT_MS : GOOD_MS)).rejects.toMatchObject({ code });
    await vi.waitFor(() => expect(fake.alive()).toEqual([]), 20_000);
    fake.behave('answer');
    // The end of the child that was killed has to be seen first: until then no second one is started.
    await vi.waitFor(expectWell, 20_000);
  });

  test.each<Behaviour>(['floodErrors', 'complain', 'holdPipe'])(
    '%s: what it answers is read',
    async (behaviour) => {
      fake.behave(behaviour);
      await expectWell();
      await vi.waitFor(() => expect(fake.alive()).toEqual([]), 20_000);
    },
  );

  test('vanishes in the middle of a query: what was told stands, then it is missing, then it is back', async () => {
    fake.answer([{ ...table, delayMs: 1000 }, ...good.slice(1)]);
    const asked = ask();
    await vi.waitFor(() => expect(fake.calls()).toContain('info'), 20_000);
    fake.vanish();
    expect(await asked).toHaveLength(4);
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_TOOL_MISSING' });
    fake.restore();
    fake.answer(good);
    await expectWell();
  });

  test('may not be run', async () => {
    fake.deny();
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_TOOL_DENIED' });
    fake.restore();
    await expectWell();
  });

  test('loses its driver, and gets it back', async () => {
    await expectWell();
    fake.answer([{ args: 'info', stdout: 'dcmi module initialize failed. ret is -8012\n', exitCode: 1 }]);
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_DRIVER_LOST' });
    fake.answer(good);
    await expectWell();
  });
});
