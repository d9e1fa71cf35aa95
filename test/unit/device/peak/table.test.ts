// Every row of our tables: well formed, matched by one row alone, at the deviation from the formula that it states;
// and, where the house's reference sheet is present, equal to it.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { peakVendor, peakVendorNames } from '../../../../src/device/peak/catalogue.ts';
import { ratesByCapability } from '../../../../src/device/peak/nvidia.ts';
import { findPeak } from '../../../../src/device/peak/peak.ts';
import { findRow, type PeakRow } from '../../../../src/device/peak/table.ts';
import { unknownFacts } from '../../../../src/device/reading.ts';
import { isPrecision, type Precision, precisions } from '../../../../src/protocol/device.ts';

const rows = peakVendorNames.flatMap((vendor) =>
  (peakVendor(vendor)?.table.rows ?? []).map((row) => ({ vendor, row, name: `${vendor} ${row.name}` })),
);

describe.each(rows)('the row $name', ({ row }) => {
  it('has figures of known precisions only, all above zero, and says where they come from', () => {
    for (const [precision, figure] of Object.entries(row.teraFlops)) {
      expect(precisions).toContain(precision);
      expect(figure).toBeGreaterThan(0);
    }
    for (const each of row.computed ?? []) expect(row.teraFlops).toHaveProperty(each);
    expect(row.source.length).toBeGreaterThan(5);
    expect(['high', 'medium', 'low', 'none']).toContain(row.confidence);
    expect(() => new RegExp(row.match, 'i')).not.toThrow();
  });

  it('keeps the order of precisions: narrower ones are not slower, except where a part is cut', () => {
    const { fp32 = 0, tf32 = fp32, bf16 = tf32, fp8 = bf16 } = row.teraFlops;
    expect(tf32).toBeGreaterThanOrEqual(fp32);
    expect(bf16).toBeGreaterThanOrEqual(tf32);
    expect(fp8).toBeGreaterThanOrEqual(bf16);
  });
});

/** FLOP per clock and unit by the formula at the highest clock. */
function rateOf(vendor: string, row: PeakRow, precision: Precision): number | undefined {
  if (vendor === 'ascend') {
    if (precision !== 'fp16') return undefined;
    return (
      8192 +
      (row.name.startsWith('950') ? 1024 : row.fp16Vector === undefined && row.cube === undefined ? 0 : 512)
    );
  }
  const rate = ratesByCapability[row.computeCapability ?? '']?.[precision];
  const isInteger = precision === 'int8';
  const isTensor = precision !== 'fp64' && precision !== 'fp32';
  const isHalf = row.halfRate === true && isTensor && (!isInteger || ['L40', 'L20'].includes(row.name));
  return rate === undefined ? undefined : rate * (isHalf ? 0.5 : 1);
}

const withDeviation = rows.filter(({ row }) => row.deviationPercent !== undefined);

it.each(withDeviation)('$name deviates from the formula as its row says', ({ vendor, row }) => {
  for (const [precision, stated] of Object.entries(row.deviationPercent ?? {})) {
    if (!isPrecision(precision)) throw new Error(precision);
    const rate = rateOf(vendor, row, precision) ?? Number.NaN;
    const formula = ((row.units ?? Number.NaN) * rate * (row.clockMhz ?? Number.NaN)) / 1e6;
    const deviation = (formula / (row.teraFlops[precision] ?? Number.NaN) - 1) * 100;
    expect(Math.abs(deviation - stated), precision).toBeLessThanOrEqual(0.1);
  }
  expect(withDeviation.filter((each) => each.vendor === 'nvidia').length).toBeGreaterThanOrEqual(26);
});

const sheetFolder = join(import.meta.dirname, '../../../../../shared/reference');
const hasSheet = existsSync(join(sheetFolder, 'peak-flops.json'));

interface SheetEntry {
  readonly vendor: string;
  readonly product: string;
  readonly match: readonly string[];
  readonly peaks: Readonly<Record<string, number>>;
}

const ourVendor: Readonly<Record<string, string>> = { huawei: 'ascend', moorethreads: 'mthreads' };
// biome-ignore format: a table
const sheetKeys: Readonly<Record<Precision, readonly string[]>> = {
  fp64: ['fp64'], fp32: ['fp32'], tf32: ['tf32'], fp8: ['fp8'], int8: ['int8', 'int8_cube'],
  bf16: ['bf16_tensor', 'bf16_matrix', 'bf16_cube', 'bf16'],
  fp16: ['fp16_tensor', 'fp16_matrix', 'fp16_total', 'fp16'],
};
/** Two devices a module: the sheet has the module. */
const halved = ['MI250X'];

function sheetEntries(): readonly SheetEntry[] {
  const sheet: unknown = JSON.parse(readFileSync(join(sheetFolder, 'peak-flops.json'), 'utf8'));
  return (sheet as { entries: SheetEntry[] }).entries.filter(({ vendor }) => vendor !== 'thead');
}

describe.skipIf(!hasSheet)('the reference sheet', () => {
  it('has every figure as we have it', () => {
    let figures = 0;
    for (const { vendor, product, peaks } of sheetEntries()) {
      const ours = ourVendor[vendor] ?? vendor;
      const name = ours === 'ascend' ? product.replace(/^Ascend /, '') : product;
      const row = peakVendor(ours)?.table.rows.find((each) => each.name === name);
      expect(row, product).toBeDefined();
      for (const precision of precisions) {
        const key = sheetKeys[precision].find((each) => peaks[each] !== undefined);
        if (key === undefined || (ours === 'nvidia' && key === precision && /^[bf][fp]16$/.test(key)))
          continue;
        const figure = (peaks[key] ?? Number.NaN) * (halved.includes(product) ? 0.5 : 1);
        expect(row?.teraFlops[precision], `${product} ${precision}`).toBeCloseTo(figure, 6);
        figures += 1;
      }
    }
    expect(figures).toBeGreaterThan(250);
  });

  it('has the rows of its check of the formula as the table gives them', () => {
    const page = readFileSync(join(sheetFolder, 'peak-flops.md'), 'utf8');
    const section = page.slice(page.indexOf('## 2.'), page.indexOf('Reading: 18'));
    const lines = section.split('\n').filter((line) => /^\|.* \/ .*\(/.test(line));
    let rowsSeen = 0;
    for (const line of lines) {
      const [, sku = '', , , , figures = ''] = line.split('|').map((cell) => cell.trim());
      const name = nameOfRow(sku);
      const { peakFlops, method } = findPeak({
        vendor: 'nvidia',
        name,
        facts: unknownFacts,
        memoryTotalBytes: null,
        profile: null,
        override: null,
      });
      expect(method, name).toBe('table');
      rowsSeen += 1;
      for (const [, label = '', published = ''] of figures.matchAll(/(\S[^·]*?) [\d.]+ \/ ([\d.]+) \(/g)) {
        const key = label.trim().split('/')[0]?.replace(' tensor', '').toLowerCase() ?? '';
        if (label === 'FP64 tensor' || !isPrecision(key)) continue;
        expect((peakFlops[key] ?? Number.NaN) / 1e12, `${sku} ${label}`).toBeCloseTo(Number(published), 6);
      }
    }
    expect(rowsSeen).toBe(26);
  });
});

/** As nvidia-smi prints the product of a row of the sheet. */
function nameOfRow(sku: string): string {
  const special: Readonly<Record<string, string>> = {
    'V100 SXM2': 'Tesla V100-SXM2-32GB',
    'V100 PCIe': 'Tesla V100-PCIE-16GB',
    'A100 SXM/PCIe': 'NVIDIA A100-SXM4-40GB',
    'AGX Orin 64 GB': 'Jetson AGX Orin 64GB',
    'H100 SXM': 'NVIDIA H100 80GB HBM3',
    'H100 SXM at 1830': 'NVIDIA H100 80GB HBM3',
    'H100 NVL (one GPU)': 'NVIDIA H100 NVL',
    'H200 SXM': 'NVIDIA H200',
    'H800 SXM': 'NVIDIA H800',
    'B200 HGX': 'NVIDIA B200',
    'B300 HGX': 'NVIDIA B300',
    'RTX PRO 6000 Blackwell': 'NVIDIA RTX PRO 6000 Blackwell Server Edition',
  };
  const known = special[sku] ?? `NVIDIA ${sku.startsWith('RTX') ? 'GeForce ' : ''}${sku}`;
  return known.replace(', FP32 accumulate', '');
}

it('no name is matched by two rows of a vendor', () => {
  const names = [
    'A100-SXM4-40GB',
    'H100 80GB HBM3',
    'RTX 5090 D',
    'RTX PRO 6000D',
    'L40S',
    'H20',
    'H200',
    '910B4-1',
    '910B',
    'K100_AI',
  ];
  for (const { vendor, row } of rows) {
    const table = peakVendor(vendor)?.table ?? { rows: [] };
    for (const name of [...names, row.name]) {
      const matching = table.rows.filter(({ match }) => new RegExp(match, 'i').test(name));
      expect(matching.map((each) => each.name).slice(1), `${vendor} ${name}`).toEqual([]);
    }
  }
  expect(findRow({ rows: [] }, 'x', { memoryTotalBytes: null, units: null })).toBeNull();
});
