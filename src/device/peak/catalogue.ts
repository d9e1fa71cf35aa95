// The vendors whose peaks are known. To add one: its table as <vendor>.json, and a line here; a file <vendor>.ts
// where it has a formula.
import amd from './amd.json' with { type: 'json' };
import { ascendPeaks } from './ascend.ts';
import cambricon from './cambricon.json' with { type: 'json' };
import enflame from './enflame.json' with { type: 'json' };
import hygon from './hygon.json' with { type: 'json' };
import iluvatar from './iluvatar.json' with { type: 'json' };
import kunlunxin from './kunlunxin.json' with { type: 'json' };
import metax from './metax.json' with { type: 'json' };
import mthreads from './mthreads.json' with { type: 'json' };
import { nvidiaPeaks } from './nvidia.ts';
import type { PeakTable } from './table.ts';
import type { PeakVendor } from './vendor.ts';

const tableOnly = (table: PeakTable): PeakVendor => ({
  table,
  plainName: (name) => name,
  unitsWord: 'compute units',
  busyIsUnits: false,
});

const vendors: Readonly<Record<string, PeakVendor>> = {
  nvidia: nvidiaPeaks,
  ascend: ascendPeaks,
  amd: tableOnly(amd),
  hygon: tableOnly(hygon),
  cambricon: tableOnly(cambricon),
  mthreads: tableOnly(mthreads),
  metax: tableOnly(metax),
  iluvatar: tableOnly(iluvatar),
  enflame: tableOnly(enflame),
  kunlunxin: tableOnly(kunlunxin),
};

export const peakVendorNames: readonly string[] = Object.keys(vendors);

export function peakVendor(name: string): PeakVendor | null {
  return Object.hasOwn(vendors, name) ? (vendors[name] ?? null) : null;
}
