import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renderDeviceSection } from '../../../src/cli/device-grid.ts';
import { renderDevices } from '../../../src/cli/device-table.ts';
import { displayWidth } from '../../../src/cli/text.ts';
import { deviceViews } from '../../../src/protocol/device-view.ts';
import {
  FLEET_MS,
  type Fleet,
  type FleetOptions,
  sampleFault,
  sampleFleet,
  withPartition,
} from '../../fakes/fleet.ts';

const plain = (width: number | null, wide = false) => ({ width, colour: false, wide });
const options = { heldBy: null, nowMs: FLEET_MS };
const views = ({ records, window }: Fleet) => deviceViews(records, window, FLEET_MS);
const show = (fleet: Fleet, width: number | null) => renderDevices(views(fleet), plain(width), options);

const sick = {
  3: { health: 'failed', rung: 'resetNeeded', faults: [sampleFault()] },
  5: { cordon: { by: 'admin', reason: '換風扇', sinceMs: FLEET_MS - 90_000, untilMs: null } },
} satisfies FleetOptions['records'];
const fleets = {
  1: sampleFleet('1xH100'),
  8: sampleFleet('8xH100', { busy: 4, records: sick }),
  64: sampleFleet('32xH100,32xAscend910B3', { busy: 32, records: sick }),
};

describe('the table of devices', () => {
  it('of one device at 80 columns is exactly this', () => {
    expect(show(fleets[1], 80)).toEqual([
      'DEVICE    MODEL           SIM  HEALTH  BUSY  MEM GiB  POWER W  °C  TFLOPS',
      'nvidia 0  H100 80GB HBM3  sim  ok        2%   2.2/80  103/700  34  12/989',
      '',
      '1 × nvidia H100 80GB HBM3 · simulated · 1 ok · power 103 W ·',
      '  peak 989 TFLOPS BF16 · available 890 TFLOPS · achieved 12.2 TFLOPS',
    ]);
  });

  it.each([1, 8, 64] as const)(
    'of %i devices fits 40, 80, 120 and 200 columns, one line a device',
    (count) => {
      for (const width of [40, 60, 80, 120, 200]) {
        const lines = show(fleets[count], width);
        for (const line of lines) expect(displayWidth(line), `${width}: ${line}`).toBeLessThanOrEqual(width);
        const body = lines.slice(1, lines.indexOf(''));
        expect(body).toHaveLength(count);
        for (const line of body) expect(line).toMatch(/^(?:nvidia|ascend) \d+ .*sim.*(?:ok|failed|cordoned)/);
      }
    },
  );

  it.each([1, 8, 64] as const)(
    'of %i devices says the main things at 80 columns and more at 200',
    (count) => {
      const head = (width: number) => show(fleets[count], width)[0] ?? '';
      for (const title of ['DEVICE', 'MODEL', 'SIM', 'HEALTH', 'BUSY', 'MEM GiB', 'POWER W', '°C', 'TFLOPS'])
        expect(head(80)).toContain(title);
      for (const title of ['SIMULATED', 'ENERGY', 'MHz', 'METHOD', 'ECC', 'BUS'])
        expect(head(200)).toContain(title);
    },
  );

  it('drops columns by importance and never changes their order', () => {
    const titles = (width: number) => (show(fleets[64], width)[0] ?? '').split(/ {2,}/);
    const all = titles(400);
    for (let width = 240; width >= 40; width -= 8) {
      const kept = titles(width).map((title) => (title === 'SIM' ? 'SIMULATED' : title));
      expect(kept).toEqual(all.filter((title) => kept.includes(title)));
    }
    expect(titles(40)).toEqual(expect.arrayContaining(['DEVICE', 'HEALTH']));
  });

  it('tells faults, cordons and their reasons, Chinese text at its right width', () => {
    const text = show(fleets[8], 80).join('\n');
    expect(text).toContain('nvidia 3: xid-79 ×2 (reset needed, 50s ago): the device has fallen off the bus:');
    expect(text).toContain('nvidia 5: cordoned by admin 1m30s ago, until it is lifted: 換風扇');
    const chinese = sampleFleet('2xH100', { records: { 0: { name: '昇騰處理器' } } });
    const [, one, other] = show(chinese, 80);
    const at = (line = '') => displayWidth(line.slice(0, line.indexOf(' sim ')));
    expect(at(one)).toBe(at(other));
  });

  it('indents partitions below their device', () => {
    const lines = show(withPartition(withPartition(fleets[8], 0, '1g.10gb'), 0, '2g.20gb'), 80);
    expect(lines[1]).toMatch(/^nvidia 0 /);
    expect(lines[2]).toMatch(/^ {2}0\.0 +1g\.10gb .* - +2\.0\/10 /);
    expect(lines[3]).toMatch(/^ {2}0\.1 +2g\.20gb /);
    expect(lines[4]).toMatch(/^nvidia 1 /);
  });

  it('shows an absent number as absent, and sums say over how many devices they are', () => {
    const fleet = sampleFleet('3xH100', {
      values: { '1/accelerator.powerWatts': 'denied', '1/accelerator.achievedFlops': 'late' },
    });
    const lines = show(fleet, 120);
    expect(lines[2]).toMatch(/ -\/700 .* -\/989 /);
    expect(lines.join('\n')).toMatch(/power \d+ W of 2 .*achieved [\d.]+ TFLOPS of 2/s);
    const unknown = show(sampleFleet('2xV100'), 200).join('\n');
    expect(unknown).toContain('peak unknown · achieved -');
    expect(unknown).not.toContain('NaN');
  });

  it('has colours only where they are wanted, and cannot be broken by what a device says', () => {
    expect(show(fleets[8], 80).join('')).not.toContain('\u001b');
    const coloured = renderDevices(views(fleets[8]), { ...plain(80), colour: true }, options).join('\n');
    expect(coloured).toContain('\u001b[31mfailed');
    const hostile = sampleFleet('1xH100', {
      records: { 0: { name: 'a\u001b[2J\nb', faults: [sampleFault({ text: 'x\u202e\r\n' })] } },
    });
    const text = show(hostile, 80);
    for (const line of text) expect(line).not.toMatch(/\p{Cc}|\u202e/u);
  });

  it('marks as simulated only what is', () => {
    const real = sampleFleet('2xH100', { records: { 0: { backend: 'native' }, 1: { backend: 'cli' } } });
    expect(show(real, 200).join('\n')).not.toMatch(/sim/i);
    const mixed = sampleFleet('2xH100', { records: { 0: { backend: 'native' } } });
    expect(show(mixed, 200).join('\n')).toContain('1 simulated');
  });

  it('fits any width from 40 with any names', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 40, max: 300 }),
        fc.string({ maxLength: 60, unit: 'binary' }),
        (width, name) => {
          const fleet = sampleFleet('2xH100', { records: { 1: { name: name.slice(0, 128) } } });
          for (const line of show(fleet, width)) expect(displayWidth(line)).toBeLessThanOrEqual(width);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('the devices in top', () => {
  it.each([
    [60, 80],
    [40, 80],
    [24, 80],
    [12, 80],
    [40, 200],
  ])('of 64 devices fit %i lines of %i columns and name every model', (rows, width) => {
    const lines = renderDeviceSection(views(fleets[64]), plain(width), rows, FLEET_MS);
    expect(lines.length).toBeLessThanOrEqual(rows);
    for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    const text = lines.join('\n');
    expect(text).toContain('910B3');
    expect(text).toContain('simulated');
    expect(text).toMatch(/failed/);
  });

  it('of 8 devices are a table', () => {
    expect(renderDeviceSection(views(fleets[8]), plain(80), 40, FLEET_MS)[0]).toMatch(/^DEVICE/);
  });
});
