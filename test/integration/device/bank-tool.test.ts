// A bank over a tool that misbehaves, with real children: the devices' numbers become absent for the right reason,
// return by themselves, and nothing is left behind.
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { Fault } from '../../../src/base/fault.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import type { ToolRunner, Vendor } from '../../../src/device/accelerator.ts';
import { createBank } from '../../../src/device/bank.ts';
import { createLadder } from '../../../src/device/health.ts';
import { noFlops } from '../../../src/device/peak/peak.ts';
import { emptyReading } from '../../../src/device/reading.ts';
import type { Window } from '../../../src/protocol/columns.ts';
import { createSlowRow } from '../../../src/telemetry/slow-row.ts';
import { type Behaviour, createFakeTool, type FakeTool } from '../../fakes/tool.ts';

const PERIOD_MS = 1000;
const WAIT_MS = 20_000;

/** Reads lines of `id watts`, or `id lost`. */
const acme: Vendor = {
  name: 'acme',
  title: 'Acme',
  level: 'captures',
  tools: ['acme-smi'],
  async query(tool: ToolRunner) {
    const { stdout, exitCode } = await tool.run([]);
    if (exitCode === 9) throw new Fault('DEVICE_DRIVER_LOST', 'the driver is not loaded');
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line, index) => {
        const [id = '', watts] = line.split(' ');
        return emptyReading(index, id, {
          values: { powerWatts: watts === 'lost' ? watts : Number(watts) },
        });
      });
  },
  grant: () => ({ environment: {}, deviceNodes: [] }),
  hidden: {},
};

function bed(tool: FakeTool) {
  const clock = createClock();
  const bank = createBank({
    native: null,
    vendors: [acme],
    simulated: null,
    backend: 'auto',
    ladder: createLadder({ clock, retestMs: 100, bootId: 'boot', saved: null }),
    rate: () => ({
      peakFlops: noFlops,
      peakMethod: null,
      peakSource: 'none',
      achievedMethod: null,
      energyMethod: null,
    }),
    held: () => new Set(),
    toolPeriodMs: PERIOD_MS,
    scriptFolder: '/nowhere',
    environment: { PATH: `${tool.folder}:/usr/bin:/bin` },
    clock,
    log: createSilentLog(),
    onChange() {},
    onFailed() {},
  });
  const row = createSlowRow(bank.slowDevices, clock, createSilentLog());
  const watts = (): (number | string)[] => {
    const columns = row.columns();
    const values = new Float64Array(columns.length * 4);
    const reasons = new Uint8Array(columns.length);
    row.writeInto(values, reasons, 0);
    return columns.flatMap(({ family }, at) =>
      family === 'accelerator.powerWatts'
        ? [reasons[at] === 0 ? (values[at * 4] ?? 0) : (reasons[at] ?? 0)]
        : [],
    );
  };
  return { bank, row, watts };
}

const noWindow: Window = {
  generation: 1,
  columns: [],
  sequence: 1,
  endMs: 0,
  durationMs: 1,
  ticks: 1,
  values: new Float64Array(0),
  reasons: new Uint8Array(0),
};

const LOST = 3;
const LATE = 4;
const ERROR = 5;

describe('a bank over a tool', () => {
  let tool: FakeTool;
  beforeEach(() => {
    tool = createFakeTool('acme-smi', [{ args: '', stdout: 'A 100\nB 200\n' }]);
  });
  afterEach(() => tool.close());

  it.each<[Behaviour, number]>([
    ['hang', LATE],
    ['ignoreTerm', LATE],
    ['flood', ERROR],
    ['fail', LOST],
    ['crash', ERROR],
    ['cut', ERROR],
  ])('%s: absent for its reason and back by itself', async (behaviour, reason) => {
    const descriptors = readdirSync('/proc/self/fd').length;
    const { bank, row, watts } = bed(tool);
    try {
      await vi.waitFor(() => expect(watts()).toEqual([100, 200]), WAIT_MS);
      tool.behave(behaviour);
      await vi.waitFor(() => {
        expect(watts()).toEqual([reason, reason]);
        expect(bank.records()).toHaveLength(2);
        expect(bank.records()[0]?.problem).not.toBeNull();
        expect(bank.problems()).toHaveLength(1);
      }, WAIT_MS);
      tool.behave('answer');
      await vi.waitFor(() => expect(watts()).toEqual([100, 200]), WAIT_MS);
      await vi.waitFor(() => {
        bank.window(noWindow);
        expect(bank.records()[0]).toMatchObject({ rung: 'ok', problem: null });
      }, WAIT_MS);
    } finally {
      row.close();
      bank.close();
    }
    await vi.waitFor(() => {
      expect(tool.alive()).toEqual([]);
      expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(descriptors);
    }, WAIT_MS);
  });

  it('says that a tool is gone, keeps its devices, and finds it again', async () => {
    const { bank, row, watts } = bed(tool);
    try {
      await vi.waitFor(() => expect(watts()).toEqual([100, 200]), WAIT_MS);
      tool.vanish();
      await vi.waitFor(() => {
        expect(watts()).toEqual([ERROR, ERROR]);
        expect(bank.problems()[0]).toMatch(/acme-smi is gone/);
      }, WAIT_MS);
      tool.restore();
      await vi.waitFor(() => expect(watts()).toEqual([100, 200]), WAIT_MS);
    } finally {
      row.close();
      bank.close();
    }
  });

  it('takes a device that is listed without a number for lost, and for reset when it is back', async () => {
    const { bank, row, watts } = bed(tool);
    try {
      await vi.waitFor(() => expect(watts()).toEqual([100, 200]), WAIT_MS);
      tool.answer([{ args: '', stdout: 'A 110\nB lost\n' }]);
      await vi.waitFor(() => {
        expect(watts()).toEqual([110, LOST]);
        expect(bank.records().map(({ rung }) => rung)).toEqual(['ok', 'resetNeeded']);
      }, WAIT_MS);
      tool.answer([{ args: '', stdout: 'A 110\nB 210\n' }]);
      await vi.waitFor(() => expect(watts()).toEqual([110, 210]), WAIT_MS);
      await vi.waitFor(() => {
        bank.refresh();
        bank.window(noWindow);
        expect(bank.records()[1]).toMatchObject({ rung: 'ok', health: 'unknown' });
      }, WAIT_MS);
    } finally {
      row.close();
      bank.close();
    }
  });

  it('takes a device that is no longer listed for lost, and leaves its sibling alone', async () => {
    const { bank, row, watts } = bed(tool);
    try {
      await vi.waitFor(() => expect(watts()).toEqual([100, 200]), WAIT_MS);
      tool.answer([{ args: '', stdout: 'A 110\n' }]);
      await vi.waitFor(() => {
        expect(watts()).toEqual([110, LOST]);
        expect(bank.records().map(({ rung }) => rung)).toEqual(['ok', 'resetNeeded']);
      }, WAIT_MS);
    } finally {
      row.close();
      bank.close();
    }
  });
});
