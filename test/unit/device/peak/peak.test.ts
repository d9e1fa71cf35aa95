import { describe, expect, it } from 'vitest';
import type { ComputeFacts } from '../../../../src/device/accelerator.ts';
import { findPeak, noFlops, type PeakQuery } from '../../../../src/device/peak/peak.ts';
import { unknownFacts } from '../../../../src/device/reading.ts';
import { precisions } from '../../../../src/protocol/device.ts';

const GIB = 1024 ** 3;
const query = (vendor: string, name: string | null, more: Partial<PeakQuery> = {}): PeakQuery => ({
  vendor,
  name,
  facts: unknownFacts,
  memoryTotalBytes: null,
  profile: null,
  override: null,
  ...more,
});
const facts = (more: Partial<ComputeFacts>): ComputeFacts => ({ ...unknownFacts, ...more });
const tera = (value: number | null): number | null => (value === null ? null : value / 1e12);
const hopper = (units: number, megahertz: number): ComputeFacts =>
  facts({ computeCapability: '9.0', lanes: units * 128, units, maxClockHertz: megahertz * 1e6 });

describe('peaks by table', () => {
  // biome-ignore format: a table, one name as its tool prints it a line
  it.each([
    ['NVIDIA H100 80GB HBM3', 33.5, 989.4, 1978.9],
    ['NVIDIA H100 PCIe', 25.6, 756, 1513],
    ['NVIDIA H100 NVL', 30, 835.5, 1670.5],
    ['NVIDIA H20', 1, 148, 296],
    ['NVIDIA H20-3e', 1, 148, 296],
    ['NVIDIA H200', 33.5, 989.4, 1978.9],
    ['NVIDIA H200 NVL', 30, 836, 1671],
    ['NVIDIA H800', 1, 989.4, 1978.9],
    ['NVIDIA GH200 480GB', 33.5, 989.4, 1978.9],
    ['NVIDIA GH200 144G HBM3e', 33.5, 989.4, 1978.9],
    ['NVIDIA B200', 37, 2250, 4500],
    ['NVIDIA GB200', 40, 2500, 5000],
    ['NVIDIA B300 SXM6 AC', 1.2, 2250, 4500],
    ['NVIDIA GB300', 1.3, 2500, 5000],
    ['A100-SXM4-40GB', 9.7, 312, null],
    ['NVIDIA A100-SXM4-40GB', 9.7, 312, null],
    ['NVIDIA A100-SXM4-80GB', 9.7, 312, null],
    ['NVIDIA A100 80GB PCIe', 9.7, 312, null],
    ['NVIDIA A100-PCIE-40GB', 9.7, 312, null],
    ['NVIDIA A800-SXM4-80GB', 9.7, 312, null],
    ['NVIDIA A800 80GB PCIe', 9.7, 312, null],
    ['NVIDIA L40', 1.4143, 181.05, 362],
    ['NVIDIA L40S', 1.4314, 362.05, 733],
    ['NVIDIA L20', 0.93472, 119.5, 239],
    ['NVIDIA L4', 0.47328, 121, 242.5],
    ['NVIDIA GeForce RTX 4090', 1.2902, 165.2, 330.3],
    ['NVIDIA GeForce RTX 3090', 0.55596, 71.2, null],
    ['NVIDIA GeForce RTX 5090', 1.6368, 209.5, 419],
  ])('knows %s', (name, fp64, bf16, fp8) => {
    const { peakFlops, method, source } = findPeak(query('nvidia', name));
    expect([tera(peakFlops.fp64), tera(peakFlops.bf16), tera(peakFlops.fp8)]).toEqual([fp64, bf16, fp8]);
    expect(method).toBe('table');
    expect(source).toMatch(/confidence/);
    expect(Object.keys(peakFlops)).toEqual([...precisions]);
  });

  it.each([
    ['Tesla V100-SXM2-32GB', 125],
    ['Tesla V100-SXM2-16GB', 125],
    ['Tesla V100-PCIE-32GB', 112],
    ['Tesla T4', 65],
  ])('gives %s no precision that it does not have', (name, fp16) => {
    const { peakFlops } = findPeak(query('nvidia', name));
    expect(tera(peakFlops.fp16)).toBe(fp16);
    expect([peakFlops.bf16, peakFlops.tf32, peakFlops.fp8]).toEqual([null, null, null]);
  });

  it.each([
    ['Ascend 910B3', 313],
    ['Ascend910B3', 313],
    ['910B3', 313],
    ['910B2', 376],
    ['910B2C', 376],
    ['910B1', 386.5],
    ['910B4', 280],
    ['910B4-1', 280],
    ['910A', 256],
    ['Ascend 910A', 256],
    ['310P3', 70],
    ['310', 11],
    ['Ascend910_9391', 376],
    ['Ascend910_9362', 280],
  ])('knows Ascend %s', (name, fp16) => {
    const { peakFlops, method } = findPeak(query('ascend', name));
    expect([tera(peakFlops.fp16), method]).toEqual([fp16, 'table']);
  });

  it('takes 910B without a digit for the first generation', () => {
    for (const name of ['910B', 'Ascend910B', 'Ascend 910B']) {
      const first = findPeak(query('ascend', name, { memoryTotalBytes: 32 * GIB }));
      expect([tera(first.peakFlops.fp16), first.peakFlops.bf16, first.method]).toEqual([256, null, 'table']);
      expect(findPeak(query('ascend', name)).method).toBe('table');
    }
  });

  it('does not take a die of a later module, which has the same name and more memory, for the first 910', () => {
    const die = findPeak(query('ascend', 'Ascend910', { memoryTotalBytes: 64 * GIB }));
    expect([die.method, die.peakFlops]).toEqual([null, noFlops]);
    expect(die.source).toMatch(/less memory/);
    const first = findPeak(query('ascend', 'Ascend910', { memoryTotalBytes: 32 * GIB }));
    expect(tera(first.peakFlops.fp16)).toBe(256);
  });

  it.each([
    ['amd', 'AMD Instinct MI300X OAM', 1307.4],
    ['amd', 'AMD Instinct MI250X', 191.5],
    ['hygon', 'K100_AI', 196],
    ['cambricon', 'MLU370-X8', 96],
    ['mthreads', 'MTT S4000', 100],
    ['metax', 'MetaX C500', 280],
    ['iluvatar', 'Iluvatar BI-V150', 192],
    ['enflame', 'CloudBlazer T20', 128],
    ['kunlunxin', 'P800', 350],
  ])('knows %s %s', (vendor, name, fp16) => {
    expect(tera(findPeak(query(vendor, name)).peakFlops.fp16)).toBe(fp16);
  });

  it.each([
    ['hygon', 'Z100'],
    ['hygon', 'K100'],
    ['mthreads', 'MTT S5000'],
    ['tenstorrent', 'n150 L'],
    ['amd', '0x74a2'],
    ['nvidia', null],
    ['toString', 'x'],
  ])('says that it does not know %s %s', (vendor, name) => {
    const { peakFlops, method, source } = findPeak(query(vendor, name));
    expect([peakFlops, method]).toEqual([noFlops, null]);
    expect(source).toMatch(/^unknown: .+node\.peakFlops/);
  });
});

describe('peaks by formula', () => {
  it('serves a product that is in no table, and says so', () => {
    const { peakFlops, method, source } = findPeak(
      query('nvidia', 'NVIDIA H100 64GB', { facts: hopper(132, 1980) }),
    );
    expect(method).toBe('formula');
    expect(source).toMatch(/^estimated: "NVIDIA H100 64GB" is in no table; 132 multiprocessors/);
    expect(tera(peakFlops.fp32)).toBeCloseTo(66.9, 1);
    expect(tera(peakFlops.fp64)).toBeCloseTo(33.5, 1);
    // At 0.92 of the highest clock within half a percent of what H100 SXM is published with.
    expect((peakFlops.bf16 ?? 0) / 989.4e12).toBeCloseTo(1, 1.9);
  });

  it('halves the tensor units of GeForce, and of A10G their integer rate too', () => {
    const ada = facts({ computeCapability: '8.9', lanes: 76 * 128, units: 76, maxClockHertz: 2505e6 });
    const consumer = findPeak(query('nvidia', 'NVIDIA GeForce RTX 4080', { facts: ada })).peakFlops;
    const professional = findPeak(query('nvidia', 'NVIDIA RTX 5000 Ada', { facts: ada })).peakFlops;
    expect((professional.bf16 ?? 0) / (consumer.bf16 ?? 1)).toBe(2);
    expect(professional.int8).toBe(consumer.int8);
    const ampere = facts({ computeCapability: '8.6', lanes: 80 * 128, units: 80, maxClockHertz: 1710e6 });
    const cloud = findPeak(query('nvidia', 'NVIDIA A10G', { facts: ampere })).peakFlops;
    expect([tera(cloud.bf16), tera(cloud.int8)].map((each) => Math.round(each ?? 0))).toEqual([70, 140]);
  });

  it('gives cards without tensor units none', () => {
    const turing = facts({ computeCapability: '7.5', lanes: 1408, units: 22, maxClockHertz: 1800e6 });
    const { peakFlops } = findPeak(query('nvidia', 'NVIDIA GeForce GTX 1660', { facts: turing }));
    expect([peakFlops.fp16, peakFlops.int8]).toEqual([null, null]);
    expect(tera(peakFlops.fp32)).toBeCloseTo(5.07, 2);
  });

  it('computes FP32 alone where the compute capability has no rates', () => {
    const pascal = facts({ computeCapability: '6.1', lanes: 3840, units: 30, maxClockHertz: 1531e6 });
    const { peakFlops, source } = findPeak(query('nvidia', 'Tesla P40', { facts: pascal }));
    expect(tera(peakFlops.fp32)).toBeCloseTo(11.76, 2);
    expect(peakFlops.fp16).toBeNull();
    expect(source).toMatch(/6\.1 has no rates/);
  });

  it('never serves an export part, whose name alone tells it', () => {
    for (const name of ['NVIDIA H800 PCIe', 'NVIDIA L2', 'NVIDIA GeForce RTX 4090 D', 'NVIDIA B30A']) {
      const { method, source } = findPeak(query('nvidia', name, { facts: hopper(114, 1755) }));
      expect([name, method]).toEqual([name, null]);
      expect(source).toMatch(/export part/);
    }
  });

  it('never serves a card for mining, or a virtual GPU, whose share is not told', () => {
    for (const [name, why] of [
      ['NVIDIA CMP 170HX', 'export part'],
      ['NVIDIA H20Z', 'export part'],
      ['NVIDIA A40-8Q', 'virtual GPU'],
      ['NVIDIA L40S-24C', 'virtual GPU'],
      ['GRID A100-3-20C', 'virtual GPU'],
      ['NVIDIA H100 PCIe-1-10CME', 'virtual GPU'],
      ['GRID T4-16Q', 'virtual GPU'],
    ] as const) {
      const { method, source } = findPeak(query('nvidia', name, { facts: hopper(114, 1755) }));
      expect([name, method]).toEqual([name, null]);
      expect(source).toContain(why);
    }
    // What looks alike and is whole.
    for (const name of ['A100-PCIE-40GB', 'Tesla V100-SXM2-32GB', 'NVIDIA H20-3e', 'NVIDIA A100-SXM4-80GB'])
      expect([name, findPeak(query('nvidia', name)).method]).toEqual([name, 'table']);
  });

  it('never takes a name that was cut for the card that it begins with', () => {
    for (const name of ['NVIDIA GeForce RTX 4090 ...', 'NVIDIA GeForce RTX 3090 ...'])
      expect([name, findPeak(query('nvidia', name)).method]).toEqual([name, null]);
  });

  it('never takes a part with more or fewer units for the one of its name', () => {
    const cores = (units: number) => facts({ units, maxClockHertz: 1650e6 });
    const known = findPeak(query('ascend', 'Ascend950PR', { facts: cores(28) }));
    expect([known.method, tera(known.peakFlops.bf16)]).toEqual(['table', 378.5]);
    const whole = findPeak(query('ascend', 'Ascend950PR', { facts: cores(32) }));
    expect(whole.method).toBe('formula');
    expect(tera(whole.peakFlops.bf16)).toBeCloseTo(432.5, 1);
    expect(whole.source).toContain('another number of units');
    // A partition of it goes by the name of the whole.
    const part = findPeak(query('amd', 'AMD Instinct MI300X', { facts: facts({ units: 38 }) }));
    expect([part.method, part.source]).toEqual([null, expect.stringContaining('another number of units')]);
    expect(findPeak(query('amd', 'AMD Instinct MI300X', { facts: facts({ units: 304 }) })).method).toBe(
      'table',
    );
    expect(findPeak(query('amd', 'AMD Instinct MI300X')).method).toBe('table');
  });

  it('never takes a portable card for the one of that number', () => {
    expect(findPeak(query('nvidia', 'NVIDIA GeForce RTX 4090 Laptop GPU')).method).toBeNull();
    expect(
      findPeak(query('nvidia', 'NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition')).method,
    ).toBeNull();
  });

  it('computes AI cores, cube and vector', () => {
    const cores = facts({ units: 25, maxClockHertz: 1800e6 });
    const newer = findPeak(query('ascend', '910B9', { facts: cores }));
    expect(newer.method).toBe('formula');
    expect(tera(newer.peakFlops.bf16)).toBeCloseTo(368.64);
    expect(tera(newer.peakFlops.fp16)).toBeCloseTo(391.68);
    const older = findPeak(query('ascend', '310B4', { facts: facts({ units: 1, maxClockHertz: 1e9 }) }));
    expect([tera(older.peakFlops.fp16), older.peakFlops.bf16]).toEqual([8.192, null]);
  });
});

describe('peaks of partitions', () => {
  const whole = hopper(132, 1980);

  it('are the share of their multiprocessors', () => {
    const slice = findPeak(
      query('nvidia', 'NVIDIA H100 80GB HBM3', {
        facts: hopper(16, 1980),
        profile: '1g.10gb',
        wholeFacts: whole,
      }),
    );
    expect(tera(slice.peakFlops.bf16)).toBeCloseTo((989.4 * 16) / 132);
    expect(slice.source).toMatch(/^share 16\/132 multiprocessors of H100 SXM/);
    const named = query('nvidia', 'NVIDIA H100 80GB HBM3 MIG 1g.10gb', {
      facts: hopper(16, 1980),
      profile: '1g.10gb',
    });
    expect(findPeak(named).peakFlops).toEqual(slice.peakFlops);
  });

  it('come from the profile where the partition does not tell its units', () => {
    const share = (name: string, profile: string) => findPeak(query('nvidia', name, { profile }));
    expect(tera(share('NVIDIA A100-SXM4-40GB', '3g.20gb').peakFlops.bf16)).toBeCloseTo((312 * 42) / 108);
    expect(tera(share('NVIDIA H100 80GB HBM3', '2g.20gb').peakFlops.bf16)).toBeCloseTo((989.4 * 32) / 132);
    expect(share('NVIDIA A100-SXM4-40GB', '3g.20gb').source).toMatch(/by its profile/);
    const cores = findPeak(query('ascend', '910B3', { profile: 'vir05_1c_16g' }));
    expect(tera(cores.peakFlops.fp16)).toBeCloseTo(313 / 4);
  });

  it('are unknown where nothing tells the share', () => {
    expect(findPeak(query('nvidia', 'NVIDIA B200', { profile: '1g.23gb' })).method).toBeNull();
    expect(findPeak(query('nvidia', 'NVIDIA A30', { profile: 'nonsense' })).source).toMatch(
      /share .* not known/,
    );
    const more = query('nvidia', 'NVIDIA A30', { facts: hopper(200, 1000), profile: '1g.6gb' });
    expect(findPeak(more).method).toBeNull();
  });
});

describe('what the operator says of a peak', () => {
  it('wins, precision by precision', () => {
    const { peakFlops, method, source } = findPeak(
      query('nvidia', 'NVIDIA H20', { override: { bf16: 150e12 } }),
    );
    expect([peakFlops.bf16, tera(peakFlops.fp8), method]).toEqual([150e12, 296, 'override']);
    expect(source).toMatch(/^node\.peakFlops of the device for bf16; the others: H20/);
  });

  it('stands alone for a device that nobody else knows, and is shared by its partitions', () => {
    const { peakFlops, source } = findPeak(query('hygon', 'Z100', { override: { fp16: 80e12 } }));
    expect(peakFlops).toEqual({ ...noFlops, fp16: 80e12 });
    expect(source).not.toMatch(/others/);
    const slice = findPeak(query('nvidia', 'NVIDIA A30', { override: { bf16: 168e12 }, profile: '1g.6gb' }));
    expect(slice.peakFlops.bf16).toBe(42e12);
  });
});

it('takes any name without harm', () => {
  const names = [
    '',
    ' ',
    '\u0000',
    'H100'.repeat(10_000),
    '(((((',
    'A100 '.repeat(5000),
    '𝟙'.repeat(200),
    'xxx',
  ];
  for (const vendor of ['nvidia', 'ascend', 'amd', 'kunlunxin', '__proto__']) {
    for (const name of names) {
      const { peakFlops, source } = findPeak(query(vendor, name));
      expect(Object.keys(peakFlops)).toEqual([...precisions]);
      expect(source.length).toBeLessThanOrEqual(512);
      expect(source).not.toMatch(/\p{Cc}/u);
    }
  }
});
