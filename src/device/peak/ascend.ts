// Ascend peaks of products that are in no table: AI cores × cube rate × rated clock. A cube does 16 × 16 × 16
// multiply-adds a clock in FP16, twice that in INT8; each of the two vector units beside it on the newer parts adds
// 256 FLOP (reference/peak-flops.md, section 4). The advertised FP16 figure is the sum, BF16 the cube alone.
import type { ComputeFacts } from '../accelerator.ts';
import table from './ascend.json' with { type: 'json' };
import type { FormulaPeak, PeakVendor } from './vendor.ts';

const CUBE = 8192;
const VECTOR = 512;

/** Generations that have vector units of their own and BF16; the first 910B is not one of them. */
const newer = /^(?:910B\d|910_93|950)/i;

function formula(name: string, { units, maxClockHertz }: ComputeFacts): FormulaPeak | string {
  if (units === null || maxClockHertz === null)
    return 'it is in no table, and its number of AI cores or its rated clock is not known';
  const cube = units * CUBE * maxClockHertz;
  const vector = newer.test(name) ? units * VECTOR * maxClockHertz : 0;
  return {
    flops: { ...(newer.test(name) && { bf16: cube }), fp16: cube + vector, int8: 2 * cube },
    cube,
    fp16Vector: vector === 0 ? null : vector,
    vectorClockHertz: maxClockHertz,
    tensorClockHertz: maxClockHertz,
    units,
    text: `${units} AI cores × ${CUBE}${vector === 0 ? '' : ` + ${VECTOR}`} × ${Math.round(maxClockHertz / 1e6)} MHz`,
  };
}

export const ascendPeaks: PeakVendor = {
  table,
  plainName: (name) => name.replace(/^(?:huawei\s*)?(?:ascend)?[\s-]*/i, ''),
  formula,
  // `vir04`, `vir12_3c_32g`: the number is that of the AI cores.
  partitionUnits(profile, _capability, wholeUnits) {
    const cores = Number(/^vir(\d{1,2})/i.exec(profile)?.[1] ?? Number.NaN);
    return cores > 0 ? Math.min(wholeUnits, cores) : null;
  },
  unitsWord: 'AI cores',
  busyIsUnits: true,
};
