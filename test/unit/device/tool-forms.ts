// Every form of a tool's output that we have written, how its vendor is asked with it, and which numbers of a reading
// must stand in the text.
import { isFault } from '../../../src/base/fault.ts';
import type { ToolReading } from '../../../src/device/accelerator.ts';
import { createVendors } from '../../../src/device/vendors.ts';
import { createScriptedRunner, fixture } from './scripted-runner.ts';

export interface Form {
  readonly vendor: string;
  readonly tool: string;
  readonly file: string;
  /** Arguments that it answers; a form of the tool has one main text. */
  readonly args: RegExp;
  /** Texts for other arguments, which stay whole. */
  readonly others?: Readonly<Record<string, string>>;
}

export const forms: readonly Form[] = [
  ...['ddr', 'ddr-hugepages', 'hbm-old', 'hbm', 'two-chips', '950'].map((layout) => ({
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
  { vendor: 'amd', tool: 'rocm-smi', file: 'amd/rocm-smi-lines.txt', args: /^-/ },
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
  { vendor: 'amd', tool: 'amd-smi', file: 'amd/amd-smi.txt', args: /^$/ },
  { vendor: 'hygon', tool: 'hy-smi', file: 'hygon/hy-smi.txt', args: /^$/ },
  { vendor: 'hygon', tool: 'hy-smi', file: 'hygon/hy-smi.json', args: /--json/ },
  { vendor: 'cambricon', tool: 'cnmon', file: 'cambricon/cnmon.txt', args: /^$/ },
  { vendor: 'cambricon', tool: 'cnmon', file: 'cambricon/cnmon-4.txt', args: /^$/ },
  { vendor: 'enflame', tool: 'efsmi', file: 'enflame/efsmi.txt', args: /^$/ },
  { vendor: 'enflame', tool: 'efsmi', file: 'enflame/efsmi-1.7.txt', args: /^$/ },
  { vendor: 'iluvatar', tool: 'ixsmi', file: 'iluvatar/ixsmi.txt', args: /^$/ },
  { vendor: 'metax', tool: 'mx-smi', file: 'metax/mx-smi.txt', args: /^$/ },
  { vendor: 'metax', tool: 'mx-smi', file: 'metax/mx-smi-2.2.4.txt', args: /^$/ },
  { vendor: 'metax', tool: 'mx-smi', file: 'metax/mx-smi-2.0.txt', args: /^$/ },
  { vendor: 'kunlunxin', tool: 'xpu_smi', file: 'kunlunxin/xpu_smi.txt', args: /^$/ },
  { vendor: 'kunlunxin', tool: 'xpu_smi', file: 'kunlunxin/xpu_smi-5.txt', args: /^$/ },
  { vendor: 'mthreads', tool: 'mthreads-gmi', file: 'mthreads/mthreads-gmi.txt', args: /^$/ },
  { vendor: 'mthreads', tool: 'mthreads-gmi', file: 'mthreads/mthreads-gmi-2.4.txt', args: /^$/ },
  { vendor: 'tenstorrent', tool: 'tt-smi', file: 'tenstorrent/tt-smi.json', args: /^-s$/ },
];

/** Readings, or the code of the fault. Anything else that is thrown fails the test. */
export async function ask(form: Form, text: string): Promise<readonly ToolReading[] | string> {
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

export function numbersOf(text: string): Set<number> {
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

export function measuredOf({ numbers, processes, facts }: ToolReading): number[] {
  const parts = [numbers.values, numbers.engineBusyRatio ?? {}, numbers.throttledRatio ?? {}, facts];
  const values: unknown[] = parts.flatMap((each) => Object.values(each) as unknown[]);
  const held = (processes ?? []).flatMap(({ pid, memoryBytes }) => [pid, memoryBytes]);
  return [...values, ...held].filter((value) => typeof value === 'number');
}

/** The text that was garbled, and those beside it. */
export const everything = (form: Form, text: string): string =>
  [text, ...Object.values(form.others ?? {})].join('\n');
