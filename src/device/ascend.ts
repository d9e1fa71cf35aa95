// Ascend: everything about the vendor that is not a number read natively. Its tool is npu-smi (ascend/), its library
// libdcmi; both backends are judged by ascend/health.ts. Not tested on hardware: on captures of the tool.
//
// Ids are the die's own (VDie ID). Where the tool did not tell it in the first query after the start, or cannot, a chip
// goes by its place on the bus until the agent ends: an id that changes would be another device.
import type { DeviceGrant, DeviceReading, Vendor } from './accelerator.ts';
import { chipId, readChip } from './ascend/chip-reading.ts';
import { judgeEvent, judgeSignals } from './ascend/health.ts';
import { TOOL } from './ascend/npu-smi.ts';
import { createSurveyor, type Survey } from './ascend/survey.ts';
import type { ChipRow } from './ascend/table.ts';

/** Shared by all chips of a host: whoever has one of them has these. */
const controlNodes = ['/dev/davinci_manager', '/dev/devmm_svm', '/dev/hisi_hdc'];

export function createAscend(): Vendor {
  const survey = createSurveyor();
  const ids = new Map<string, string>();

  function idOf(found: Survey, row: ChipRow): string {
    const key = row.busId ?? `${row.npu}/${row.chip}`;
    const known = ids.get(key);
    if (known !== undefined) return known;
    const board = found.details(row).answers.get('board')?.block;
    const id = chipId(row, board);
    const isTaken = [...ids.values()].includes(id);
    const own = isTaken ? chipId(row, undefined) : id;
    ids.set(key, own);
    return own;
  }

  return {
    name: 'ascend',
    title: 'Ascend',
    level: 'captures',
    tools: [TOOL],
    async query(tool) {
      const found = await survey(tool);
      const { chips } = found.table;
      const byCard = new Set(chips.map(({ npu }) => npu)).size === chips.length;
      const numbered = (number: number): string | null => {
        const row = byCard
          ? chips.find(({ npu }) => npu === number)
          : (chips.find(({ device }) => device?.number === number) ?? chips[number]);
        return row === undefined ? null : idOf(found, row);
      };
      return chips.flatMap((row, place) =>
        readChip(row, { survey: found, place, id: idOf(found, row), idOf: numbered }),
      );
    },
    grant,
    // CANN counts logic ids; -1 is none of them. The container runtime mounts nothing for `void`.
    hidden: { ASCEND_RT_VISIBLE_DEVICES: '-1', ASCEND_VISIBLE_DEVICES: 'void' },
    judgeEvent,
    judgeSignals,
  };
}

/**
 * CANN goes by logic ids, which the tool counts by; the container runtime and the nodes by physical ones. A part of a
 * chip has no number for CANN outside a container that the runtime made, so here nothing is visible beside it: the
 * chip of that number may be another's.
 */
function grant(devices: readonly DeviceReading[]): DeviceGrant {
  const parts = devices.filter(({ parentId }) => parentId !== null);
  const chips = devices.filter(({ parentId }) => parentId === null);
  const nodes = [
    ...chips.flatMap(({ nodeNumber }) => (nodeNumber === null ? [] : [`/dev/davinci${nodeNumber}`])),
    ...parts.flatMap(({ nodeNumber }) => (nodeNumber === null ? [] : [`/dev/vdavinci${nodeNumber}`])),
  ];
  const visible = (numbers: readonly number[], none: string): string =>
    numbers.length === 0 ? none : numbers.join(',');
  return {
    environment: {
      ASCEND_RT_VISIBLE_DEVICES: visible(
        chips.map(({ index }) => index),
        '-1',
      ),
      ASCEND_VISIBLE_DEVICES: visible(
        devices.flatMap(({ nodeNumber, index, parentId }) =>
          parentId === null ? [nodeNumber ?? index] : nodeNumber === null ? [] : [nodeNumber],
        ),
        'void',
      ),
      ...(parts.length > 0 ? { ASCEND_RUNTIME_OPTIONS: 'VIRTUAL' } : {}),
    },
    deviceNodes: nodes.length === 0 ? [] : [...nodes, ...controlNodes],
    hostCounted: ['ASCEND_RT_VISIBLE_DEVICES'],
  };
}
