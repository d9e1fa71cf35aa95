// Keeps the energy of devices over a restart. Written once a minute, sooner where what was kept no longer leads to
// what is shown, and at the end; at most once in five seconds, and never waited for. A disk that is full costs the
// memory of this process, never the numbers.
import { readFileSync } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, errnoOf } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { createEnergyMeter, type EnergyMeter, type EnergyState } from '../device/energy.ts';
import type { DeviceRecord } from '../protocol/device.ts';

const INTERVAL_MS = 60_000;
const LEAST_MS = 5000;
/** An orderly stop leaves exact figures; what is shown before the first writing is below this much more. */
const FIRST_MARGIN_JOULES = 5000;
/** Of devices that are no longer here the latest are kept. */
const MAX_DEVICES = 4096;

const amount = z.number().nonnegative();
const deviceSchema = z.strictObject({
  joules: amount,
  floorJoules: amount,
  ceilingJoules: amount,
  elapsedMs: amount,
  measuredMs: amount,
  openMs: amount,
  counterJoules: amount.nullable(),
  /** When it was kept. */
  wallMs: z.number(),
  uptimeMs: z.number(),
  bootId: z.string(),
});
const fileSchema = z.strictObject({
  version: z.literal(1),
  /** Written by an orderly stop. */
  isFinal: z.boolean(),
  devices: z.record(z.string().max(256), deviceSchema),
});
type KeptDevice = z.output<typeof deviceSchema>;

export interface DeviceEnergyOptions {
  /** The agent's state folder. */
  readonly folder: string;
  readonly bootId: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Time since the boot, ms: the same clock for every process of one boot. */
  readonly uptimeMs?: () => number;
  /** Replaces the file; tests put a full disk in its place. */
  readonly write?: (path: string, text: string) => Promise<void>;
}

export interface DeviceEnergy {
  /** The same meter for the same device. */
  meter(record: Pick<DeviceRecord, 'vendor' | 'id'>): EnergyMeter;
  /** Every window, after the meters: writes when it is due. */
  look(): void;
  /** Writes what is not written yet. */
  close(): Promise<void>;
}

export function createDeviceEnergy(options: DeviceEnergyOptions): DeviceEnergy {
  const { folder, bootId, clock, log, write = replaceFile } = options;
  const uptimeMs = options.uptimeMs ?? (() => Number(process.hrtime.bigint() / 1_000_000n));
  const path = join(folder, 'device-energy.json');
  const kept = readKept(path, log);
  const meters = new Map<string, { meter: EnergyMeter; keptJoules: number; ceilingJoules: number }>();
  let writtenMs = Number.NEGATIVE_INFINITY;
  let writing: Promise<void> | null = null;
  let isFailing = false;

  if (kept.isFinal && kept.devices.size > 0) reopen();

  /** From now on the file is not that of an orderly stop. */
  function reopen(): void {
    const devices = [...kept.devices].map(([key, before]) => [
      key,
      { ...before, ceilingJoules: before.ceilingJoules + FIRST_MARGIN_JOULES },
    ]);
    try {
      writeFileAtomic(
        path,
        JSON.stringify({ version: 1, isFinal: false, devices: Object.fromEntries(devices) }),
        0o600,
      );
    } catch (error) {
      failed(error);
    }
  }

  function resume(key: string): EnergyMeter {
    const before = kept.devices.get(key);
    if (before === undefined) return createEnergyMeter(null);
    const { wallMs, uptimeMs: keptUptimeMs, bootId: keptBootId, ...state } = before;
    const sameBoot = keptBootId === bootId && uptimeMs() >= keptUptimeMs;
    const gapMs = Math.max(0, sameBoot ? uptimeMs() - keptUptimeMs : clock.wallMs() - wallMs);
    return createEnergyMeter({ state, gapMs, sameBoot, isFinal: kept.isFinal });
  }

  /** What is in the file next; devices that were not seen in this process stay as they were. */
  function snapshot(isFinal: boolean): string {
    const stamp = { wallMs: clock.wallMs(), uptimeMs: uptimeMs(), bootId };
    const devices = new Map<string, KeptDevice>();
    for (const [key, entry] of meters) {
      // Not seen yet: it has nothing of its own, and what was kept of it must stand.
      const before = kept.devices.get(key);
      if (Number.isNaN(entry.meter.joules()) && before === undefined) continue;
      const state: EnergyState = entry.meter.state(isFinal ? 0 : INTERVAL_MS);
      entry.keptJoules = state.floorJoules;
      entry.ceilingJoules = state.ceilingJoules;
      devices.set(key, { ...state, ...stamp });
    }
    for (const [key, before] of kept.devices) {
      if (devices.size >= MAX_DEVICES) break;
      // Of an unfinished file only the ceilings are sure.
      if (!devices.has(key))
        devices.set(key, kept.isFinal ? before : { ...before, floorJoules: before.ceilingJoules });
    }
    return JSON.stringify({ version: 1, isFinal, devices: Object.fromEntries(devices) });
  }

  function isDue(): boolean {
    const sinceMs = clock.monotonicMs() - writtenMs;
    if (sinceMs < LEAST_MS) return false;
    if (sinceMs >= INTERVAL_MS) return true;
    for (const { meter, keptJoules, ceilingJoules } of meters.values()) {
      if (meter.isUrgent()) return true;
      if (meter.joules() > (keptJoules + ceilingJoules) / 2) return true;
    }
    return false;
  }

  function failed(error: unknown): void {
    if (!isFailing) log.error({ reason: describeError(error) }, 'the energy of accelerators cannot be kept');
    isFailing = true;
  }

  return {
    meter({ vendor, id }) {
      const key = `${vendor}/${id}`;
      let entry = meters.get(key);
      if (entry === undefined) {
        const meter = resume(key);
        // Nothing is kept of a new device, so it is due at once.
        entry = { meter, keptJoules: kept.devices.get(key)?.joules ?? -1, ceilingJoules: -1 };
        meters.set(key, entry);
      }
      return entry.meter;
    },
    look() {
      if (meters.size === 0 || writing !== null || !isDue()) return;
      writtenMs = clock.monotonicMs();
      writing = write(path, snapshot(false))
        .then(() => {
          isFailing = false;
        })
        .catch(failed)
        .finally(() => {
          writing = null;
        });
    },
    async close() {
      await writing;
      if (meters.size === 0) return;
      try {
        if (options.write === undefined) writeFileAtomic(path, snapshot(true), 0o600);
        else await write(path, snapshot(true));
      } catch (error) {
        failed(error);
      }
    },
  };
}

interface Kept {
  readonly isFinal: boolean;
  readonly devices: ReadonlyMap<string, KeptDevice>;
}

function readKept(path: string, log: Log): Kept {
  try {
    const file = fileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    return { isFinal: file.isFinal, devices: new Map(Object.entries(file.devices)) };
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT')
      log.warn(
        { reason: describeError(error) },
        'the energy of accelerators that was kept cannot be read; it starts at nothing',
      );
    return { isFinal: true, devices: new Map() };
  }
}

/** As writeFileAtomic, without holding up the event loop while the disk is slow. */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}
