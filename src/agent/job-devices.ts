// What a job's devices used and did while it held them: joules from their energy meters, FLOP from their achieved
// rates, both over the time from the job's start to its end. A device that several running jobs hold is divided
// equally between them, and the answer says so. A partition without energy of its own answers for its share of the
// device by peak.
//
// Per device the meter tells totals up to a window; a delta belongs to the jobs by how much of its time they ran.
import type { Clock } from '../base/clock.ts';
import type { EnergyMeter } from '../device/energy.ts';
import { type Column, statistic, type Window, windowStatistics } from '../protocol/columns.ts';
import { type DeviceRecord, precisions } from '../protocol/device.ts';
import { flopMethods, type Usage } from '../protocol/result.ts';

export interface DeviceAnswer {
  readonly joules: number | null;
  readonly flop: number | null;
  /** How the joules were found, in words. */
  readonly method: string;
  readonly flopMethod: Usage['flopMethod'];
  readonly absent: Readonly<{ joules?: string; flop?: string }>;
}

export interface JobDevices {
  /** The node's devices, whenever they change. */
  update(records: readonly DeviceRecord[]): void;
  /** Hot: every window. */
  window(window: Window): void;
  granted(key: string, deviceIds: readonly string[]): void;
  started(key: string): void;
  /** Null for a job that holds no devices. It is forgotten. */
  settle(key: string): DeviceAnswer | null;
}

interface Account {
  readonly ids: readonly string[];
  startedMs: number | null;
  joules: number;
  flop: number;
  /** Device-milliseconds for which energy and rate were told. */
  energyMs: number;
  flopMs: number;
  isShared: boolean;
  isPart: boolean;
  readonly methods: Set<string>;
}

/** What is asked of a device's energy meter. */
type Measured = Pick<EnergyMeter, 'measuredJoules' | 'measuredMs'>;

interface Track {
  record: DeviceRecord;
  /** Its own, or that of the device that it is cut from, of whose energy it has a share. */
  meter: Measured | null;
  energyShare: number;
  rateAt: number;
  lastJoules: number;
  lastMeasuredMs: number;
  /** Up to when the energy has been divided. */
  lastMs: number;
  watts: number;
  rate: number;
}

/** Of the time of a job for which numbers must have been told. */
const LEAST_SHARE = 0.9;
const PRESENT = 0;

/** `meterOf`: the energy meter of a device. */
export function createJobDevices(clock: Clock, meterOf: (record: DeviceRecord) => Measured): JobDevices {
  const accounts = new Map<string, Account>();
  const tracks = new Map<string, Track>();
  let columns: readonly Column[] | null = null;
  let lastWindowMs = clock.monotonicMs();

  const running = (id: string): Account[] =>
    [...accounts.values()].filter((each) => each.startedMs !== null && each.ids.includes(id));

  function bind(now: readonly Column[]): void {
    columns = now;
    const places = new Map<string, number>();
    now.forEach(({ family, owner }, at) => {
      if (owner !== 'host') places.set(`${owner} ${family}`, at);
    });
    for (const track of tracks.values()) {
      const { slot, parentSlot } = track.record;
      const whole = parentSlot === null ? track.record : recordAt(parentSlot);
      track.meter = whole === null ? null : meterOf(whole);
      track.energyShare = parentSlot === null ? 1 : shareOf(track.record, whole);
      track.rateAt = places.get(`${slot} accelerator.achievedFlops`) ?? -1;
    }
  }

  function recordAt(slot: number): DeviceRecord | null {
    return [...tracks.values()].find(({ record }) => record.slot === slot)?.record ?? null;
  }

  /** Of a partition's peak in its device's; NaN where either is unknown. */
  function shareOf({ peakFlops }: DeviceRecord, device: DeviceRecord | null): number {
    const whole = device?.peakFlops;
    for (const each of precisions) {
      const [part, all] = [peakFlops[each], whole?.[each] ?? null];
      if (part !== null && all !== null && all > 0) return Math.min(1, part / all);
    }
    return Number.NaN;
  }

  /** Gives what a device used and did between two moments to the jobs that ran on it. */
  function divide(
    track: Track,
    fromMs: number,
    toMs: number,
    joules: number,
    rate: number,
    rateFromMs: number,
    /** Share of the time that the joules were measured in. */
    toldShare: number,
  ): void {
    const holders = running(track.record.id);
    for (const account of holders) {
      const startedMs = account.startedMs ?? toMs;
      if (holders.length > 1) account.isShared = true;
      if (track.record.parentSlot !== null) account.isPart = true;
      const part = track.energyShare / holders.length;
      const ranMs = toMs - Math.max(startedMs, fromMs);
      if (ranMs > 0 && Number.isFinite(joules * part) && toMs > fromMs) {
        account.joules += (joules * part * ranMs) / (toMs - fromMs);
        account.energyMs += ranMs * toldShare;
      }
      const didMs = toMs - Math.max(startedMs, rateFromMs);
      if (didMs > 0 && Number.isFinite(rate)) {
        account.flop += (rate * didMs) / 1000 / holders.length;
        account.flopMs += didMs;
        if (track.record.achievedMethod !== null) account.methods.add(track.record.achievedMethod);
      }
    }
  }

  function read(window: Window, at: number, which: number): number {
    if (at < 0 || window.reasons[at] !== PRESENT) return Number.NaN;
    return window.values[at * windowStatistics + which] ?? Number.NaN;
  }

  return {
    update(records) {
      const ids = new Set<string>();
      for (const record of records) {
        ids.add(record.id);
        const known = tracks.get(record.id);
        if (known !== undefined) known.record = record;
        else
          tracks.set(record.id, {
            record,
            meter: null,
            energyShare: 1,
            rateAt: -1,
            lastJoules: Number.NaN,
            lastMeasuredMs: 0,
            lastMs: clock.monotonicMs(),
            watts: Number.NaN,
            rate: Number.NaN,
          });
      }
      for (const id of tracks.keys()) if (!ids.has(id)) tracks.delete(id);
      columns = null;
    },
    window(window) {
      if (tracks.size === 0) return;
      if (window.columns !== columns) bind(window.columns);
      const nowMs = clock.monotonicMs();
      for (const track of tracks.values()) {
        const joules = track.meter?.measuredJoules() ?? Number.NaN;
        const measuredMs = track.meter?.measuredMs() ?? 0;
        const rate = read(window, track.rateAt, statistic.mean);
        const delta = joules - track.lastJoules;
        // While nothing is measured the total stands; that is not a device which uses nothing.
        const isTold = delta >= 0 && measuredMs > track.lastMeasuredMs && nowMs > track.lastMs;
        const toldMs = measuredMs - track.lastMeasuredMs;
        track.watts = isTold ? (delta * 1000) / toldMs : Number.NaN;
        const toldShare = Math.min(1, toldMs / (nowMs - track.lastMs));
        divide(track, track.lastMs, nowMs, isTold ? delta : Number.NaN, rate, lastWindowMs, toldShare);
        track.rate = rate;
        if (!isTold && !Number.isNaN(track.lastJoules)) continue;
        track.lastJoules = joules;
        track.lastMeasuredMs = measuredMs;
        track.lastMs = nowMs;
      }
      lastWindowMs = nowMs;
    },
    granted(key, ids) {
      if (ids.length === 0 || accounts.has(key)) return;
      accounts.set(key, {
        ids,
        startedMs: null,
        joules: 0,
        flop: 0,
        energyMs: 0,
        flopMs: 0,
        isShared: false,
        isPart: false,
        methods: new Set(),
      });
    },
    started(key) {
      const account = accounts.get(key);
      if (account !== undefined) account.startedMs ??= clock.monotonicMs();
    },
    settle(key) {
      const account = accounts.get(key);
      if (account === undefined) return null;
      const nowMs = clock.monotonicMs();
      if (account.startedMs !== null) tail(account, nowMs);
      accounts.delete(key);
      return answerOf(account, nowMs);
    },
  };

  /** From the last window to the end, at the power and the rate of that window. */
  function tail(account: Account, nowMs: number): void {
    for (const id of account.ids) {
      const track = tracks.get(id);
      if (track === undefined) continue;
      const sharers = running(id).length;
      if (sharers > 1) account.isShared = true;
      if (track.record.parentSlot !== null) account.isPart = true;
      const ranMs = nowMs - Math.max(account.startedMs ?? nowMs, track.lastMs);
      const joules = (track.watts * track.energyShare * ranMs) / 1000 / sharers;
      if (ranMs > 0 && Number.isFinite(joules)) {
        account.joules += joules;
        account.energyMs += ranMs;
      }
      const didMs = nowMs - Math.max(account.startedMs ?? nowMs, lastWindowMs);
      if (didMs > 0 && Number.isFinite(track.rate)) {
        account.flop += (track.rate * didMs) / 1000 / sharers;
        account.flopMs += didMs;
        if (track.record.achievedMethod !== null) account.methods.add(track.record.achievedMethod);
      }
    }
  }
}

function answerOf(account: Account, nowMs: number): DeviceAnswer {
  const { ids, startedMs, joules, flop, energyMs, flopMs, isShared, isPart, methods } = account;
  const wholeMs = startedMs === null ? 0 : (nowMs - startedMs) * ids.length;
  const isTold = (ms: number): boolean => startedMs !== null && ms > 0 && ms >= LEAST_SHARE * wholeMs;
  const why = (what: string, ms: number): string =>
    startedMs === null
      ? 'the job never ran'
      : `${what} of its devices was told for ${wholeMs === 0 ? 0 : Math.floor((100 * ms) / wholeMs)} % of the time`;
  const hasEnergy = isTold(energyMs);
  const hasFlop = isTold(flopMs) && methods.size > 0;
  return {
    joules: hasEnergy ? joules : null,
    flop: hasFlop ? flop : null,
    method: `sum of its devices${isPart ? ', partitions by their share of the peak' : ''}${isShared ? ', shared ones divided equally' : ''}`,
    flopMethod: hasFlop
      ? (flopMethods.find((each) => methods.size === 1 && methods.has(each)) ?? 'mixed')
      : null,
    absent: {
      ...(!hasEnergy && { joules: why('the energy', energyMs) }),
      ...(!hasFlop && { flop: why('the achieved rate', flopMs) }),
    },
  };
}
