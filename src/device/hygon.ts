// Hygon: hy-smi prints as rocm-smi does, with its own words for the same columns (DCU, HCU).
import type { Vendor } from './accelerator.ts';
import { createRocmQuestion } from './amd.ts';
import { readRenderNode } from './render-node.ts';
import { indexGrants } from './vendor-grant.ts';

// biome-ignore format: a list to read, not a column
const flags = [
  '--showid', '--showproductname', '--showuniqueid', '--showserial', '--showbus', '--showdriverversion', '--showtemp',
  '--showpower', '--showmaxpower', '--showuse', '--showmemuse', '--showmeminfo', 'vram', '--showclocks', '--json',
];
const variables = ['HIP_VISIBLE_DEVICES'];

export function createHygon(devRoot = '/dev'): Vendor {
  const ask = createRocmQuestion(flags);
  return {
    name: 'hygon',
    title: 'Hygon',
    level: 'captures',
    tools: ['hy-smi'],
    async query(tool) {
      const readings = await ask(tool);
      return readings.map((reading) => ({ ...reading, nodeNumber: readRenderNode(devRoot, reading.busId) }));
    },
    ...indexGrants({ variables, nodePrefix: '/dev/dri/renderD', controlNodes: ['/dev/kfd', '/dev/mkfd'] }),
  };
}
