import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDeviceEnergy, type DeviceEnergy } from '../../../src/agent/device-energy.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createFakeClock, type FakeClock } from '../telemetry/fake-clock.ts';

const NONE = Number.NaN;
const START = 9_000_000;
const card = { vendor: 'some', id: 'card-1' };

let folder = '';
let clock: FakeClock;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-energy-'));
  clock = createFakeClock();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const file = (): string => join(folder, 'device-energy.json');

function start(more: Partial<Parameters<typeof createDeviceEnergy>[0]> = {}): DeviceEnergy {
  return createDeviceEnergy({
    folder,
    bootId: 'boot-1',
    clock,
    log: createSilentLog(),
    uptimeMs: () => clock.monotonicMs(),
    write: async (path, text) => writeFileSync(path, text),
    ...more,
  });
}

/** One window: a second passes, the meter sees it, the keeper looks. */
async function second(
  energy: DeviceEnergy,
  counter: number,
  watts: number,
  hasCounter = true,
): Promise<number> {
  clock.advance(1000);
  const meter = energy.meter(card);
  meter.observe(1000, counter, watts, hasCounter);
  energy.look();
  // The write that look began is through: the clock of this test is not the one of the disk.
  await new Promise((resolve) => setImmediate(resolve));
  return meter.joules();
}

describe('the kept energy of devices', () => {
  it('goes on after an orderly stop', async () => {
    const first = start();
    await second(first, START, 300);
    expect(await second(first, START + 300, 300)).toBe(300);
    await first.close();
    clock.advance(10_000);
    const next = start();
    expect(next.meter(card).joules()).toBe(300);
    expect(await second(next, START + 3600, 300)).toBe(3600);
  });

  it('loses nothing by a kill where there is a counter', async () => {
    const killed = start();
    for (let at = 0; at <= 90; at += 1) await second(killed, START + at * 300, 300);
    const next = start();
    expect(next.meter(card).joules()).toBeNaN();
    expect(await second(next, START + 100 * 300, 300)).toBe(100 * 300);
  });

  it('does not go back by kill after kill, at any second, without a counter', async () => {
    let shown = 0;
    for (let seconds = 1; seconds < 40; seconds += 3) {
      const energy = start();
      for (let at = 0; at < seconds; at += 1) {
        const now = await second(energy, NONE, at > 5 ? 700 : 50, false);
        if (Number.isNaN(now)) continue;
        expect(now).toBeGreaterThanOrEqual(shown);
        shown = now;
      }
      if (seconds % 2 === 0) await energy.close();
    }
    expect(shown).toBeGreaterThan(0);
  });

  it('is written about once a minute', async () => {
    let writes = 0;
    const energy = start({
      write: async (path, text) => {
        writes += 1;
        writeFileSync(path, text);
      },
    });
    for (let at = 0; at <= 600; at += 1) await second(energy, START + at * 300, 300);
    expect(writes).toBeGreaterThanOrEqual(10);
    expect(writes).toBeLessThanOrEqual(14);
  });

  it('goes on in memory while the disk is full, and is kept once it is not', async () => {
    let isFull = true;
    const energy = start({
      write: async (path, text) => {
        if (isFull) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
        writeFileSync(path, text);
      },
    });
    for (let at = 0; at <= 100; at += 1) await second(energy, START + at * 300, 300);
    expect(energy.meter(card).joules()).toBe(30_000);
    isFull = false;
    await energy.close();
    expect(start().meter(card).joules()).toBe(30_000);
  });

  it('waits for no slow disk and writes nothing twice at once', async () => {
    let running = 0;
    let most = 0;
    const finish: (() => void)[] = [];
    const energy = start({
      write: () => {
        running += 1;
        most = Math.max(most, running);
        return new Promise((resolve) => {
          finish.push(() => {
            running -= 1;
            resolve();
          });
        });
      },
    });
    for (let at = 0; at <= 200; at += 1) await second(energy, START + at * 300, 300);
    expect(energy.meter(card).joules()).toBe(60_000);
    expect(most).toBe(1);
    for (const each of finish) each();
    const closed = energy.close();
    await new Promise((resolve) => setImmediate(resolve));
    finish.at(-1)?.();
    await closed;
  });

  it.each([
    ['nothing', ''],
    ['half a file', '{"version":1,"isFinal":true,"dev'],
    ['another version', '{"version":2,"isFinal":true,"devices":{}}'],
    ['a negative figure', '{"version":1,"isFinal":true,"devices":{"some/card-1":{"joules":-5}}}'],
    ['bytes', '\u0000\u0001\u0002'],
  ])('starts at nothing from %s', async (_, text) => {
    writeFileSync(file(), text);
    const energy = start();
    expect(await second(energy, START, 300)).toBe(0);
    await energy.close();
    expect(JSON.parse(readFileSync(file(), 'utf8'))).toMatchObject({ version: 1, isFinal: true });
  });

  it('keeps what it knows of a device that is away', async () => {
    const first = start();
    await second(first, START, 300);
    await second(first, START + 500, 300);
    await first.close();
    const without = start();
    without.meter({ vendor: 'some', id: 'card-2' }).observe(1000, 5, 5, true);
    await without.close();
    expect(start().meter(card).joules()).toBeGreaterThanOrEqual(500);
  });

  it('writes atomically with the real disk too', async () => {
    const energy = createDeviceEnergy({ folder, bootId: 'b', clock, log: createSilentLog() });
    energy.meter(card).observe(1000, 5, 5, true);
    energy.look();
    await energy.close();
    expect(JSON.parse(readFileSync(file(), 'utf8'))).toMatchObject({ isFinal: true });
  });
});
