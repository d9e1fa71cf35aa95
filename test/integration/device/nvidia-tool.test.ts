// nvidia-smi as it may be found on a host, with real children: the built query program, the package that reads the XML,
// and a tool that hangs, floods, complains, fails or goes away in the middle.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { nvidia } from '../../../src/device/nvidia.ts';
import { createTool, type Tool } from '../../../src/device/tool.ts';
import { type Behaviour, createFakeTool, type FakeTool, type ToolRow } from '../../fakes/tool.ts';
import { buildIfStale, program } from '../cli/command-line.ts';
import { until } from '../native/addon.ts';

const xml = readFileSync(fileURLToPath(new URL('../../fixtures/nvidia/query.xml', import.meta.url)), 'utf8');
const list = `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-11111111-2222-3333-4444-555555555555)
  MIG 3g.40gb     Device  0: (UUID: MIG-aaaaaaaa-0000-0000-0000-000000000001)
  MIG 1g.10gb     Device  1: (UUID: MIG-aaaaaaaa-0000-0000-0000-000000000002)
GPU 1: NVIDIA L40S (UUID: GPU-66666666-7777-8888-9999-000000000000)
`;
const answers = (query: Partial<ToolRow>): ToolRow[] => [
  { args: '-q -x', stdout: xml, ...query },
  { args: '-L', stdout: list },
];
const GOOD_MS = 30_000;
/** Long enough for a child of Node on a busy machine, were it to answer. */
const SHORT_MS = 2500;

let fake: FakeTool;
let tool: Tool;
const ask = (budgetMs = GOOD_MS) => tool.query(budgetMs, (runner) => nvidia.query(runner));
const descriptors = (): number => readdirSync('/proc/self/fd').length;

beforeAll(buildIfStale, 60_000);
beforeEach(() => {
  fake = createFakeTool('nvidia-smi', answers({}));
  tool = createTool({
    path: fake.path,
    name: fake.name,
    scriptFolder: dirname(program),
    environment: { PATH: `${fake.folder}:/usr/bin:/bin` },
    clock: createClock(),
  });
});
afterEach(() => {
  tool.close();
  fake.close();
});

const ids = [
  'GPU-11111111-2222-3333-4444-555555555555',
  'MIG-aaaaaaaa-0000-0000-0000-000000000001',
  'MIG-aaaaaaaa-0000-0000-0000-000000000002',
  'GPU-66666666-7777-8888-9999-000000000000',
];

describe('nvidia-smi through the package', () => {
  it('is read: devices, instances, and a process whose name is escaped', async () => {
    const readings = await ask();
    expect(readings.map(({ id }) => id)).toEqual(ids);
    expect(readings[3]?.processes).toEqual([
      { pid: 4242, memoryBytes: 700 * 1024 * 1024, name: 'python3 <a>' },
    ]);
  });

  it('with warnings on stderr, five megabytes of them, and a bad exit code beside a good answer', async () => {
    for (const behaviour of ['complain', 'floodErrors'] as const) {
      fake.behave(behaviour);
      expect((await ask()).map(({ id }) => id)).toEqual(ids);
    }
    fake.behave('answer');
    const warning = 'WARNING: infoROM is corrupted at gpu 0000:17:00.0\n';
    fake.answer(answers({ exitCode: 14, stdout: xml + warning, stderr: warning }));
    expect((await ask()).map(({ id }) => id)).toEqual(ids);
  });

  it('with the lists of clocks of sixty-four devices: 5 MB', async () => {
    const blocks = xml.slice(xml.indexOf('\t<gpu '), xml.indexOf('</nvidia_smi_log>'));
    const clocks = `<value>1593 MHz</value>${'\n\t\t\t\t<supported_graphics_clock>1275 MHz</supported_graphics_clock>'.repeat(1300)}`;
    const many = blocks
      .replaceAll('<value>1593 MHz</value>', clocks)
      .replaceAll('<value>9001 MHz</value>', clocks);
    const devices = Array.from({ length: 32 }, (_, at) => {
      const number = at.toString(16).padStart(2, '0');
      return many
        .replaceAll('GPU-11111111', `GPU-111111${number}`)
        .replaceAll('GPU-66666666', `GPU-666666${number}`)
        .replaceAll('00000000:17:', `00000000:${number}:`)
        .replaceAll('00000000:B1:', `00000001:${number}:`);
    });
    const text = xml.replace(blocks, devices.join('')).replace('>2</attached', '>64</attached');
    expect(text.length).toBeGreaterThan(4.5e6);
    fake.answer(answers({ stdout: text }));
    const readings = await ask();
    expect(readings.filter(({ parentId }) => parentId === null)).toHaveLength(64);
  });

  it('finds the XML behind what is said of a device that is lost', async () => {
    await ask();
    const [first = ''] = /\t<gpu id=[\s\S]*?<\/gpu>\n/.exec(xml) ?? [];
    const text = xml.replace(first, '').replace('>2</attached', '>1</attached');
    const words = 'Unable to determine the device handle for GPU0: 0000:17:00.0: GPU is lost.\n';
    fake.answer(answers({ stdout: words + text }));
    const readings = await ask();
    expect(readings.map(({ id, index, conditions: [worst] }) => [id, index, worst?.code])).toEqual([
      [ids[3], 1, 'row-remap-pending'],
      [ids[0], 0, 'device-lost'],
    ]);
  });

  it.each<[Behaviour, string]>([
    ['hang', 'DEVICE_TOOL_LATE'],
    ['ignoreTerm', 'DEVICE_TOOL_LATE'],
    ['flood', 'DEVICE_OUTPUT_UNKNOWN'],
    ['fail', 'DEVICE_DRIVER_LOST'],
    ['crash', 'DEVICE_TOOL_FAILED'],
    ['cut', 'DEVICE_OUTPUT_UNKNOWN'],
  ])('%s: %s, nothing is left behind, and the next answer is good', async (behaviour, code) => {
    await ask();
    const before = descriptors();
    fake.behave(behaviour);
    await expect(ask(code === 'DEVICE_TOOL_LATE' ? SHORT_MS : GOOD_MS)).rejects.toMatchObject({ code });
    await until(() => fake.alive().length === 0);
    fake.behave('answer');
    await until(() => descriptors() <= before);
    // Refused until the one that was killed is gone for good.
    await vi.waitFor(async () => expect((await ask()).map(({ id }) => id)).toEqual(ids), 30_000);
  });

  it('goes away between two questions of one query, and comes back', async () => {
    // The XML is asked for first; by the time of the list the tool has removed itself.
    const lines = `#!/bin/sh\nif [ "$1" = -q ]; then cat ${fake.folder}/xml; rm -f "$0"; fi\n`;
    writeFileSync(`${fake.folder}/xml`, xml);
    writeFileSync(fake.path, lines, { mode: 0o755 });
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_TOOL_MISSING' });
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_TOOL_MISSING' });
    fake.restore();
    expect((await ask()).map(({ id }) => id)).toEqual(ids);
  });

  it.each([
    ['two outputs in one', xml + xml],
    ['a second document behind the end', `${xml}<?xml version="1.0"?><nvidia_smi_log/>`],
    ['a document without its end', xml.replace('</nvidia_smi_log>', '')],
    ['a number in two parts', xml.replace('211.55', '2<!-- -->11.55')],
    ['XML of something else', '<?xml version="1.0"?>\n<html><body/></html>\n'],
    ['keys that are no names', '<?xml version="1.0"?>\n<__proto__><gpu>1</gpu></__proto__>\n'],
    ['a hundred thousand levels', `<?xml version="1.0"?>\n${'<a>'.repeat(100_000)}`],
    ['the same, closed', `<?xml version="1.0"?>\n${'<a>'.repeat(100_000)}${'</a>'.repeat(100_000)}`],
  ])('refuses %s', async (_, stdout) => {
    fake.answer(answers({ stdout }));
    await expect(ask()).rejects.toMatchObject({ code: expect.stringMatching(/OUTPUT_UNKNOWN|FAILED/) });
  });

  it('says that the driver is not loaded, and that it was replaced', async () => {
    fake.answer([
      {
        args: '*',
        stdout: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        exitCode: 9,
      },
    ]);
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_DRIVER_LOST' });
    fake.answer([
      { args: '*', stdout: 'Failed to initialize NVML: Driver/library version mismatch\n', exitCode: 18 },
    ]);
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_DRIVER_LOST' });
  });
});
