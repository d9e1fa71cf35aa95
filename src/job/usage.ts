// What an attempt used, from the facts of its end: `null` is unknown and `absent` says why. Pure.
import type { Usage } from '../protocol/result.ts';
import { clip } from './cause.ts';
import type { SettleFacts } from './settle.ts';

export function usageOf({ end, order, meter, energy }: SettleFacts): Usage {
  const absent: Record<string, string> = {};
  const ran = end.kind !== 'failedToStart';
  const unknown = ran ? 'lost: the shim did not live to measure it' : 'no program ran';
  const known = (key: string, value: number | null): number | null => {
    if (value === null) absent[key] = unknown;
    return value;
  };
  const durationMs = known('durationMs', end.durationMs);
  const counted = (key: string, value: number | null): number | null => {
    if (value === null) absent[key] = ran ? 'no control group counted it' : unknown;
    return value;
  };
  const reading = typeof meter === 'object' ? meter : null;
  const devices = ran ? (energy.devices ?? null) : null;
  const byDevices = reading?.flop == null && devices !== null && 'flop' in devices ? devices : null;
  const flop = reading?.flop ?? byDevices?.flop ?? null;
  if (flop === null) {
    const unreported = devices !== null && 'absent' in devices ? `, and ${devices.absent}` : '';
    absent.flop =
      typeof meter === 'string'
        ? meter
        : (reading?.problem ?? (ran ? `not reported by the job${unreported}` : unknown));
  }
  if (reading !== null && reading.flop !== null && reading.problem !== null)
    absent.meter = clip(reading.problem, 250);
  const seconds = reading?.seconds ?? (durationMs === null ? null : durationMs / 1000);
  const ratio = flop === null || seconds === null || seconds <= 0 ? Number.NaN : flop / seconds;
  if (!Number.isFinite(ratio))
    absent.achievedFlops = flop === null ? (absent.flop ?? unknown) : 'its compute time is not known';
  const held = order?.devices.length ?? null;
  const deviceSeconds =
    held === 0 ? 0 : held === null || durationMs === null ? null : (held * durationMs) / 1000;
  if (deviceSeconds === null) absent.deviceSeconds = unknown;
  const joules = 'joules' in energy ? energy.joules : null;
  if ('absent' in energy) absent.energyJoules = energy.absent;
  for (const key of Object.keys(absent)) absent[key] = clip(absent[key] ?? '', 250);
  return {
    durationMs,
    cpuUserSeconds: known('cpuUserSeconds', end.cpuUserSeconds),
    cpuSystemSeconds: known('cpuSystemSeconds', end.cpuSystemSeconds),
    maxResidentBytes: known('maxResidentBytes', end.maxResidentBytes),
    memoryPeakBytes: counted('memoryPeakBytes', end.memoryPeakBytes),
    processesPeak: counted('processesPeak', end.processesPeak),
    deviceSeconds,
    energyJoules: joules,
    energyMethod: 'joules' in energy ? (energy.method ?? null) : null,
    flop,
    achievedFlops: Number.isFinite(ratio) ? ratio : null,
    flopMethod: flop === null ? null : byDevices === null ? 'job' : byDevices.method,
    absent,
  };
}
