// What is asked of nvidia-smi and when, and what is kept of devices that fall silent. The package that reads the XML
// runs in a child of its own (test/integration/device/nvidia-tool.test.ts); here its answers are played.
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../../../src/base/fault.ts';
import { nvidia } from '../../../../src/device/nvidia.ts';
import { createScriptedRunner, fixture } from '../scripted-runner.ts';
import { list } from './texts.ts';

type Parse = (text: string, options: object, done: (error: Error | null, data: unknown) => void) => void;
const { parseString } = createRequire(import.meta.url)('xml2js') as { parseString: Parse };

const xml = fixture('nvidia/query.xml');
const [big = '', small = ''] = [...xml.matchAll(/\t<gpu id=[\s\S]*?<\/gpu>\n/g)].map(([block]) => block);
const [bigId, smallId] = [
  'GPU-11111111-2222-3333-4444-555555555555',
  'GPU-66666666-7777-8888-9999-000000000000',
];
const matrix = `\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID
GPU0\t X \tNV2\t0-31\t0\t\tN/A
GPU1\tNV2\t X \t32-63\t1\t\tN/A
`;
const links = `GPU 0: NVIDIA A100-SXM4-80GB (UUID: ${bigId})
\t Link 0: 25 GB/s
\t Link 1: 25 GB/s
GPU 1: NVIDIA L40S (UUID: ${smallId})
\t Link 0: 25 GB/s
\t Link 1: 25 GB/s
\t Link 2: <inactive>
`;

/** As dist/nvidia-query.js prints it. */
function answered(text: string, raw = ''): string {
  let data: unknown = null;
  parseString(text, { explicitArray: false, trim: true, async: false }, (_, parsed) => {
    data = parsed;
  });
  return JSON.stringify({ exitCode: 0, stderr: '', raw, data });
}
const said = (raw: string, exitCode: number): string =>
  JSON.stringify({ exitCode, stderr: '', raw, data: null });

const one = (...blocks: readonly string[]): string =>
  xml.replace(big + small, blocks.join('')).replace('>2</attached', `>${blocks.length}</attached`);

interface Played {
  query: string;
  list: string | Fault | null;
  matrix: string | Fault | null;
  links: string | null;
  text: string | null;
}

function bed(change: Partial<Played> = {}) {
  const played: Played = { query: answered(xml), list, matrix, links, text: null, ...change };
  const runner = createScriptedRunner('nvidia-smi', (args) => {
    if (args === '') return played.query;
    if (args === '-L') return played.list;
    if (args === 'topo -m') return played.matrix;
    if (args === 'nvlink -s') return played.links;
    return args.startsWith('-q -i ') ? played.text : null;
  });
  return { played, runner, ask: () => nvidia.query(runner) };
}

describe('nvidia-smi is asked', () => {
  it('for the XML every time, for ids of instances and for links every tenth time', async () => {
    const { runner, ask } = bed();
    for (let time = 0; time < 11; time += 1) expect(await ask()).toHaveLength(4);
    expect(runner.calls.filter((args) => args === '')).toHaveLength(11);
    for (const rare of ['-L', 'topo -m', 'nvlink -s'])
      expect(runner.calls.filter((args) => args === rare)).toHaveLength(2);
  });

  it('and answers the same each time: instances, links, near nodes, links that are down', async () => {
    const { ask } = bed();
    const first = await ask();
    expect(first).toMatchObject([
      {
        id: bigId,
        numaNode: 0,
        links: [{ kind: 'nvlink', peer: smallId, count: 2, up: true }],
        conditions: [],
      },
      {
        id: 'MIG-aaaaaaaa-0000-0000-0000-000000000001',
        parentId: bigId,
        profile: '3g.40gb',
        name: 'NVIDIA A100-SXM4-80GB MIG 3g.40gb',
        processes: [{ pid: 31337 }],
      },
      { id: 'MIG-aaaaaaaa-0000-0000-0000-000000000002', parentId: bigId, profile: '1g.10gb', processes: [] },
      {
        id: smallId,
        numaNode: 1,
        links: [
          { kind: 'nvlink', peer: bigId, count: 2, up: true },
          { kind: 'nvlink', peer: null, count: 1, up: false },
        ],
        conditions: [
          { code: 'row-remap-pending' },
          { code: 'ecc-uncorrected' },
          { code: 'throttled-thermal' },
          { code: 'pcie-width' },
          { code: 'nvlink-down', rung: 'observe' },
        ],
      },
    ]);
    expect(await ask()).toEqual(first);
  });

  it('no instance goes under a name of ours because the list hangs once', async () => {
    const { played, ask } = bed({ list: new Fault('DEVICE_TOOL_LATE', 'no answer') });
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_TOOL_LATE' });
    played.list = list;
    expect((await ask()).map(({ id }) => id)).toContain('MIG-aaaaaaaa-0000-0000-0000-000000000001');
  });

  it.each([
    ['a tool without the matrix', null],
    ['a matrix that hangs', new Fault('DEVICE_TOOL_LATE', 'no answer')],
    ['a matrix of another form', 'GPU0 GPU1\nGPU0 X ?'],
  ])('%s costs the links alone', async (_, broken) => {
    const readings = await bed({ matrix: broken }).ask();
    expect(readings).toHaveLength(4);
    expect(readings.flatMap((each) => each.links)).toEqual([]);
  });
});

describe('a device that is lost', () => {
  const handle = (what: string) =>
    `Unable to determine the device handle for GPU${what}: 0000:17:00.0: GPU is lost.  Reboot the system to recover this GPU\n`;

  it('that the tool names before the XML keeps its id, and its sibling its number', async () => {
    const { played, ask } = bed();
    await ask();
    played.query = answered(one(small), handle('0'));
    const readings = await ask();
    expect(readings.map(({ id, index }) => [id, index])).toEqual([
      [smallId, 1],
      [bigId, 0],
    ]);
    expect(readings[0]?.numbers.values.powerWatts).toBe(211.55);
    expect(readings[1]).toMatchObject({
      conditions: [{ code: 'device-lost', rung: 'resetNeeded' }],
      problem: 'GPU is lost.  Reboot the system to recover this GPU',
      numbers: { values: { powerWatts: 'lost', memoryUsedBytes: 'lost' } },
    });
    played.query = answered(xml);
    expect((await ask()).map(({ id }) => id).slice(0, 1)).toEqual([bigId]);
  });

  it('before the agent came is told by its place', async () => {
    const readings = await bed({ query: answered(one(small), handle('0')) }).ask();
    expect(readings.map(({ id, index }) => [id, index])).toEqual([
      [smallId, 1],
      ['00000000:17:00.0', 0],
    ]);
  });

  it('that stops an older tool leaves its siblings readable', async () => {
    const text = `
==============NVSMI LOG==============

Driver Version : 570.12.34

Attached GPUs : 2
GPU 00000000:B1:00.0
    Product Name : NVIDIA L40S
    GPU UUID : ${smallId}
    GPU Power Readings
        Power Draw : 180.00 W
`;
    const { played, runner, ask } = bed({ text });
    await ask();
    played.query = said(handle(''), 15);
    const readings = await ask();
    expect(runner.calls).toContain('-q -i 00000000:B1:00.0');
    expect(readings.map(({ id, index }) => [id, index])).toEqual([
      [smallId, 1],
      [bigId, 0],
    ]);
    expect(readings[0]?.numbers.values.powerWatts).toBe(180);
  });

  it('whose UUID can no longer be read is still the same', async () => {
    const { played, ask } = bed();
    await ask();
    played.query = answered(xml.replace(`<uuid>${smallId}`, '<uuid>Unknown Error'));
    expect((await ask()).map(({ id }) => id)).toContain(smallId);
  });

  it('alone: nothing else is there', async () => {
    const readings = await bed({ query: said(`${handle('0')}No devices were found\n`, 6) }).ask();
    expect(readings).toMatchObject([{ id: '00000000:17:00.0', conditions: [{ code: 'device-lost' }] }]);
  });
});

describe('what cannot be read', () => {
  it.each([
    [
      "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
      9,
      'DEVICE_DRIVER_LOST',
    ],
    ['', 9, 'DEVICE_DRIVER_LOST'],
    ['', 127, 'DEVICE_TOOL_MISSING'],
    ['', 1, 'DEVICE_TOOL_FAILED'],
    ['Segmentation fault', 139, 'DEVICE_OUTPUT_UNKNOWN'],
    [xml.slice(0, xml.length / 2), 0, 'DEVICE_OUTPUT_UNKNOWN'],
  ])('%j (exit code %i): %s', async (raw, exitCode, code) => {
    await expect(bed({ query: said(raw, exitCode) }).ask()).rejects.toMatchObject({ code });
  });

  it('a child that prints no JSON, and XML of something else', async () => {
    await expect(bed({ query: 'Error: Cannot find module' }).ask()).rejects.toMatchObject({
      code: 'DEVICE_TOOL_FAILED',
    });
    await expect(bed({ query: answered('<html><body/></html>') }).ask()).rejects.toMatchObject({
      code: 'DEVICE_OUTPUT_UNKNOWN',
    });
  });
});
