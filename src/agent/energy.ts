// Which part of the host's energy a job answers for: its share of the CPUs that jobs may use, for the time that it
// ran. The shares of all jobs and the idle share add up to the host's energy, since CPUs are granted once.
// A job that holds devices answers for their energy beside that (job-devices.ts), and for it alone where the host shows
// no power.
// Absent with its reason where the host has no power source, and for a job that this process has not seen starting.
import type { Clock } from '../base/clock.ts';
import type { EnergyAnswer } from '../job/settle.ts';
import type { Column, Window } from '../protocol/columns.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import { hostView } from '../protocol/host.ts';
import { createJobDevices, type DeviceAnswer } from './job-devices.ts';

const RESTARTED = 'the agent was restarted while the job ran';
const NO_POWER_SOURCE = 'no power source: this host shows neither RAPL nor a hardware monitor with power';

export interface JobEnergy {
  /** Hot: every window. */
  window(window: Window): void;
  /** The job holds this many CPUs, once it runs. */
  granted(jobId: string, epoch: number, cpus: number, deviceIds?: readonly string[]): void;
  started(jobId: string, epoch: number): void;
  /** Joules from the start until now, or why they are unknown. The job is forgotten. */
  settle(jobId: string, epoch: number): EnergyAnswer;
  /** The node's devices, whenever they change. */
  devices(records: readonly DeviceRecord[]): void;
}

interface Account {
  readonly share: number;
  /** Monotonic ms up to which `joules` reaches; null until the job runs. */
  countedToMs: number | null;
  joules: number;
}

/** `capacityCpus` is what jobs may use together, `meterOf` the energy meter of a device. */
export function createJobEnergy(
  capacityCpus: number,
  clock: Clock,
  meterOf: Parameters<typeof createJobDevices>[1],
): JobEnergy {
  const accounts = new Map<string, Account>();
  const jobDevices = createJobDevices(clock, meterOf);
  let columns: readonly Column[] | null = null;
  let hasPower = false;
  let last: { joules: number; atMs: number } | null = null;
  /** Mean power of the host between the last two windows, or null. */
  let watts: number | null = null;

  function count(account: Account, nowMs: number): void {
    if (account.countedToMs === null) return;
    account.joules +=
      watts === null ? Number.NaN : (watts * account.share * (nowMs - account.countedToMs)) / 1000;
    account.countedToMs = nowMs;
  }

  function settleHost(key: string): { readonly joules: number } | { readonly absent: string } {
    const account = accounts.get(key);
    accounts.delete(key);
    if (!hasPower) return { absent: NO_POWER_SOURCE };
    if (account === undefined) return { absent: RESTARTED };
    if (account.countedToMs === null) return { absent: 'the job never ran' };
    count(account, clock.monotonicMs());
    if (!Number.isFinite(account.joules))
      return { absent: 'the power source could not be read all the time' };
    return { joules: account.joules };
  }

  return {
    window(window) {
      jobDevices.window(window);
      if (window.columns !== columns) {
        columns = window.columns;
        hasPower = columns.some(({ family }) => family === 'power.energyJoulesTotal');
      }
      if (!hasPower) {
        last = null;
        watts = null;
        return;
      }
      const atMs = clock.monotonicMs();
      const joules = hostView(window).energyJoulesTotal;
      // The first delta serves jobs that began before it, too: `count` applies its power back to their start.
      const isFirst = watts === null && last === null;
      watts =
        joules !== null && last !== null && joules >= last.joules && atMs > last.atMs
          ? ((joules - last.joules) * 1000) / (atMs - last.atMs)
          : null;
      last = joules === null ? null : { joules, atMs };
      if (!isFirst) for (const account of accounts.values()) count(account, atMs);
    },
    granted(jobId, epoch, cpus, deviceIds = []) {
      const key = `${jobId}.${epoch}`;
      jobDevices.granted(key, deviceIds);
      if (accounts.has(key)) return;
      accounts.set(key, { share: Math.min(1, cpus / capacityCpus), countedToMs: null, joules: 0 });
    },
    started(jobId, epoch) {
      jobDevices.started(`${jobId}.${epoch}`);
      const account = accounts.get(`${jobId}.${epoch}`);
      if (account !== undefined) account.countedToMs ??= clock.monotonicMs();
    },
    settle(jobId, epoch) {
      const key = `${jobId}.${epoch}`;
      const host = settleHost(key);
      const devices = jobDevices.settle(key);
      return devices === null ? host : together(host, devices);
    },
    devices: (records) => jobDevices.update(records),
  };
}

/** Host and devices. The devices' part may stand alone, the host's not: it would be taken for the whole. */
function together(
  host: { readonly joules: number } | { readonly absent: string },
  { joules, flop, method, flopMethod, absent }: DeviceAnswer,
): EnergyAnswer {
  const devices =
    flop === null ? { absent: absent.flop ?? 'its devices tell no rate' } : { flop, method: flopMethod };
  if (joules === null) return { absent: absent.joules ?? 'its devices tell no energy', devices };
  if ('absent' in host)
    return { joules, method: `${method}, without the host (${host.absent})`.slice(0, 256), devices };
  return { joules: joules + host.joules, method: `${method}, and the CPUs' share of the host`, devices };
}
