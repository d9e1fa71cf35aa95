// The list of accelerator vendors, in the order in which they are shown. To add one: its file, and a line here.
import type { Vendor } from './accelerator.ts';
import { createAmd } from './amd.ts';
import { createAscend } from './ascend.ts';
import { cambricon } from './cambricon.ts';
import { enflame } from './enflame.ts';
import { createHygon } from './hygon.ts';
import { iluvatar } from './iluvatar.ts';
import { kunlunxin } from './kunlunxin.ts';
import { createMetax } from './metax.ts';
import { mthreads } from './mthreads.ts';
import { nvidia } from './nvidia.ts';
import { tenstorrent } from './tenstorrent.ts';

/** New ones for each bank: some remember what their tool told before. */
export function createVendors(): readonly Vendor[] {
  return [
    nvidia,
    createAscend(),
    createAmd(),
    createHygon(),
    cambricon,
    enflame,
    iluvatar,
    kunlunxin,
    createMetax(),
    mthreads,
    tenstorrent,
  ];
}
