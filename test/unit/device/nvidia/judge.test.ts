// One state of a device, told by the library as signals and by the tool as XML: both must be judged alike.
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { judgeSignals } from '../../../../src/device/nvidia/judge.ts';
import { readingsOfLog } from '../../../../src/device/nvidia/log.ts';
import { treeAt, treeOfXml } from '../../../../src/device/nvidia/tree.ts';
import { nvidia } from '../../../../src/device/nvidia.ts';
import { isRungAtLeast } from '../../../../src/protocol/device.ts';
import { fixture } from '../scripted-runner.ts';

type Parse = (text: string, options: object, done: (error: Error | null, data: unknown) => void) => void;
const { parseString } = createRequire(import.meta.url)('xml2js') as { parseString: Parse };
const xml = fixture('nvidia/query.xml');

/** The first device of the fixture, which is well, after a change of its text. */
function told(from: string, to: string) {
  const text = xml.replace(from, to);
  if (from !== '') expect(text).not.toBe(xml);
  let tree = treeOfXml(null);
  parseString(text, { explicitArray: false, trim: true, async: false }, (_, data) => {
    tree = treeOfXml(data);
  });
  return readingsOfLog(treeAt(tree, 'nvidia_smi_log'), text)[0]?.conditions;
}

const rows = '<remapped_row_pending>No</remapped_row_pending>';
const failure = '<remapped_row_failure>No</remapped_row_failure>';
const action = '<gpu_recovery_action>None</gpu_recovery_action>';
const acting = (what: string): string => action.replace('None', what);
const fan = '<fan_speed>N/A</fan_speed>';
const fabric = (state: string, status: string): string =>
  `${fan}<fabric><state>${state}</state><status>${status}</status></fabric>`;
const reason = (name: string): string =>
  `<clocks_event_reason_${name}>Not Active</clocks_event_reason_${name}>`;
const active = (name: string): string => reason(name).replace('Not ', '');

describe('both backends judge alike', () => {
  it.each<[string, string, Record<string, number>, string[]]>([
    [
      '',
      '',
      { throttleReasons: 0x1, recoveryAction: 0, pcieWidth: 16, pcieWidthMax: 16, fabricState: 3 },
      [],
    ],
    [rows, rows.replace('No', 'Yes'), { rowRemapPending: 1 }, ['row-remap-pending warn']],
    [failure, failure.replace('No', 'Yes'), { rowRemapFailed: 1 }, ['row-remap-failed replace']],
    [
      fan,
      `${fan}<retired_pages><pending_retirement>Yes</pending_retirement></retired_pages>`,
      { pagesPending: 1 },
      ['pages-pending warn'],
    ],
    [
      '<dram_uncorrectable>0</dram_uncorrectable>',
      '<dram_uncorrectable>4</dram_uncorrectable>',
      { eccUncorrectedVolatile: 4 },
      ['ecc-uncorrected warn'],
    ],
    [action, acting('Reset'), { recoveryAction: 1 }, ['recovery-reset resetNeeded']],
    [action, acting('Reboot'), { recoveryAction: 2 }, ['recovery-reboot resetNeeded']],
    [action, acting('Drain P2P'), { recoveryAction: 3 }, ['recovery-drain noNewJobs']],
    [action, acting('Drain and Reset'), { recoveryAction: 4 }, ['recovery-drain-reset noNewJobs']],
    [action, acting('Something New'), { recoveryAction: 5 }, ['recovery-other warn']],
    [
      `${reason('hw_slowdown')}\n\t\t\t${reason('hw_thermal_slowdown')}`,
      active('hw_slowdown') + active('hw_thermal_slowdown'),
      { throttleReasons: 0x48 },
      ['throttled-thermal warn'],
    ],
    [reason('hw_slowdown'), active('hw_slowdown'), { throttleReasons: 0x8 }, ['throttled-hardware warn']],
    [
      reason('hw_power_brake_slowdown'),
      active('hw_power_brake_slowdown'),
      { throttleReasons: 0x80 },
      ['throttled-power-brake observe'],
    ],
    [reason('sw_power_cap'), active('sw_power_cap'), { throttleReasons: 0x4 }, []],
    [fan, fabric('In Progress', 'N/A'), { fabricState: 2 }, ['fabric-not-ready noNewJobs']],
    [fan, fabric('Completed', 'Success'), { fabricState: 3, fabricStatus: 0 }, []],
    [
      fan,
      fabric('Completed', 'Unknown Failure'),
      { fabricState: 3, fabricStatus: 1 },
      ['fabric-failed noNewJobs'],
    ],
    [fan, fabric('N/A', 'N/A'), {}, []],
    [
      '<current_link_width>16x',
      '<current_link_width>8x',
      { pcieWidth: 8, pcieWidthMax: 16 },
      ['pcie-width observe'],
    ],
  ])('%j: %j', (from, to, signals, expected) => {
    const conditions = told(from, to);
    expect(conditions?.map(({ code, rung }) => `${code} ${rung}`)).toEqual(expected);
    expect(conditions).toEqual(judgeSignals(signals));
  });

  it('what only the library tells', () => {
    expect(nvidia.judgeSignals?.({ resetRequired: 1, linksDown: 2 }, [])).toMatchObject([
      { code: 'reset-required', rung: 'resetNeeded' },
      { code: 'nvlink-down', rung: 'observe', text: '2 NVLink connections are down' },
    ]);
  });
});

describe('Xids', () => {
  it('each has one line that fits a record, and none that may be the application takes the device away', () => {
    const all = Array.from({ length: 400 }, (_, code) =>
      nvidia.judgeEvent?.({ kind: 'xid', code, count: 1, detail: null }),
    );
    for (const [code, finding] of all.entries()) {
      expect(finding?.code).toBe(`xid-${code}`);
      expect(finding?.text.length).toBeLessThan(512);
      if (finding?.text.includes('application') === true && code !== 94)
        expect(isRungAtLeast(finding.rung, 'noNewJobs')).toBe(false);
    }
    expect(all.filter((finding) => finding?.text.includes('Not in our table') === false)).toHaveLength(56);
  });
});
