// AMD: rocm-smi, of which captures were read, before amd-smi, which is newer but known from documentation alone.
import { isFault } from '../base/fault.ts';
import type { DeviceGrant, DeviceReading, ToolReading, ToolRunner, Vendor } from './accelerator.ts';
import { parseAmdSmi, readAmdSmi } from './amd/amd-smi.ts';
import { parseAmdSmiTable } from './amd/amd-smi-table.ts';
import { parseRocmSmi } from './amd/rocm-smi.ts';
import { layoutFault } from './reading.ts';
import { readRenderNode } from './render-node.ts';
import { askText, refusalFault } from './tool-text.ts';
import { hiddenBy } from './vendor-grant.ts';

/** What rocm-smi is asked for; versions that lack one of these ignore it or say so beside the JSON. */
// biome-ignore format: a list to read, not a column
const rocmSmiFlags = [
  '--showid', '--showproductname', '--showuniqueid', '--showserial', '--showbus', '--showdriverversion', '--showvbios',
  '--showtemp', '--showpower', '--showmaxpower', '--showuse', '--showmemuse', '--showmeminfo', 'vram',
  '--showclocks', '--showfan', '--showreplaycount', '--showtoponuma', '--json',
];

export function createAmd(devRoot = '/dev'): Vendor {
  const askRocmSmi = createRocmQuestion(rocmSmiFlags);
  const askAmdSmi = createAmdQuestion();
  return {
    name: 'amd',
    title: 'AMD',
    level: 'captures',
    tools: ['rocm-smi', 'amd-smi'],
    async query(tool) {
      const readings = tool.name === 'amd-smi' ? await askAmdSmi(tool) : await askRocmSmi(tool);
      return readings.map((reading) => ({ ...reading, nodeNumber: readRenderNode(devRoot, reading.busId) }));
    },
    grant,
    hidden: hiddenBy(['ROCR_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES']),
  };
}

/**
 * As JSON; a version that cannot print that is asked for its table. Whichever worked first is kept to: the table does
 * not tell ids, and a card that changed its id would be another card.
 */
export function createRocmQuestion(flags: readonly string[]): (tool: ToolRunner) => Promise<ToolReading[]> {
  let form: 'json' | 'table' | null = null;
  return async (tool) => {
    let complaint = '';
    if (form !== 'table') {
      const { stdout, stderr } = await tool.run(flags);
      complaint = stderr;
      try {
        if (stdout.trim() === '') throw layoutFault(tool.name, stderr);
        const readings = parseRocmSmi(tool.name, stdout);
        form = 'json';
        return readings;
      } catch (error) {
        if (form === 'json' || !isFault(error, 'DEVICE_OUTPUT_UNKNOWN')) throw error;
      }
    }
    const { stdout, stderr, exitCode } = await tool.run([]);
    if (stdout.trim() === '') throw refusalFault(tool.name, stderr || complaint, exitCode);
    const readings = parseRocmSmi(tool.name, stdout);
    form = 'table';
    return readings;
  };
}

/** As JSON, else its table; kept to as with the other tool. */
function createAmdQuestion(): (tool: ToolRunner) => Promise<ToolReading[]> {
  let form: 'json' | 'table' | null = null;
  return async (tool) => {
    if (form !== 'table')
      try {
        const readings = await askAmdSmiJson(tool);
        form = 'json';
        return readings;
      } catch (error) {
        const isOther = isFault(error, 'DEVICE_OUTPUT_UNKNOWN') || isFault(error, 'DEVICE_TOOL_FAILED');
        if (form === 'json' || !isOther) throw error;
      }
    const readings = parseAmdSmiTable(tool.name, await askText(tool, []));
    form = 'table';
    return readings;
  };
}

async function askAmdSmiJson(tool: ToolRunner): Promise<ToolReading[]> {
  const ask = async (what: string) => {
    const stdout = await askText(tool, [what, '--json']);
    return parseAmdSmi(tool.name, stdout);
  };
  const metric = await ask('metric');
  const fixed = await ask('static');
  let processes = null;
  try {
    processes = await ask('process');
  } catch (error) {
    // Root's alone in some versions: the rest stands without it.
    if (!isFault(error)) throw error;
  }
  return readAmdSmi({ metric, fixed, processes });
}

/**
 * The runtime below takes unique ids and leaves what it lists; the one above counts what is left, from 0. Indexes of the
 * tool need not be the runtime's order, so they are used only where a card has no unique id.
 */
function grant(devices: readonly DeviceReading[]): DeviceGrant {
  const isById = devices.every(({ id }) => /^GPU-[0-9a-f]{16}$/.test(id));
  const visible = devices.map(({ id, index }) => (isById ? id : index)).join(',');
  const none = devices.length === 0;
  return {
    environment: {
      ROCR_VISIBLE_DEVICES: none ? '-1' : visible,
      HIP_VISIBLE_DEVICES: none ? '-1' : devices.map((_, at) => at).join(','),
    },
    cdiNames: devices.map(({ index }) => [`amd.com/gpu=${index}`]),
    ...(isById ? {} : { hostCounted: ['ROCR_VISIBLE_DEVICES'] }),
    deviceNodes: none
      ? []
      : [
          '/dev/kfd',
          ...devices.flatMap(({ nodeNumber }) =>
            nodeNumber === null ? [] : [`/dev/dri/renderD${nodeNumber}`],
          ),
        ],
  };
}
