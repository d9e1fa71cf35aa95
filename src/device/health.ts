// The health ladder: what is or was wrong with each device, how bad it is, and when it is over. A condition stands for
// as long as readings show it; an event happened once. Either holds its rung until the device has read well, without
// it, for the whole re-test. What needs a reset stays until there is evidence of one: the device was lost and came
// back, its driver was loaded again, or the host was booted.
//
// Damping: a device that goes down to `noNewJobs` or worse three times within an hour is cordoned for an hour, by
// itself and visibly. Rungs only ever rise at once; they fall after the re-test.
import type { Clock } from '../base/clock.ts';
import type { Cordon, DeviceFault, Health, Rung } from '../protocol/device.ts';
import { isRungAtLeast, rungs } from '../protocol/device.ts';
import type { Finding } from './accelerator.ts';

const HOUR_MS = 3_600_000;
/** Falls within an hour after which a device is cordoned. */
const MAX_FALLS = 3;
const MAX_FAULTS = 64;
const MAX_CODE = 64;
const MAX_TEXT = 512;

export interface DeviceHealth {
  readonly rung: Rung;
  /** Worst first. */
  readonly faults: readonly DeviceFault[];
  readonly cordon: Cordon | null;
}

/** What a ladder keeps over a restart; see `createLadder`. */
export interface LadderState {
  readonly bootId: string;
  readonly devices: Readonly<Record<string, SavedDevice>>;
}

interface SavedDevice {
  readonly faults: readonly (DeviceFault & { readonly needsReset: boolean })[];
  readonly cordon: Cordon | null;
  readonly fallsMs: readonly number[];
}

export interface Ladder {
  /**
   * What a reading of the device showed. `isGood`: it could be read, so that a condition that is not among
   * `conditions` is over; else those that stood go on standing.
   */
  observe(id: string, conditions: readonly Finding[], isGood: boolean): void;
  /** `count` events came together. */
  happened(id: string, finding: Finding, count: number): void;
  /** There is evidence of a reset: what needed one is now re-tested like the rest. */
  wasReset(id: string): void;
  /** Ends the re-tests whose time is over. */
  tick(): void;
  of(id: string): DeviceHealth;
  /** Grows whenever `of` answers differently for any device. */
  revision(): number;
  state(): LadderState;
}

interface Entry {
  fault: DeviceFault;
  /** Reported by the last reading. */
  stands: boolean;
  needsReset: boolean;
  /** Monotonic ms since when the device reads well without it; null while it does not. */
  wellSinceMs: number | null;
}

interface Patient {
  readonly entries: Map<string, Entry>;
  readonly fallsMs: number[];
  cordon: Cordon | null;
  health: DeviceHealth | null;
}

const well: DeviceHealth = { rung: 'ok', faults: [], cordon: null };

export interface LadderOptions {
  readonly clock: Clock;
  readonly retestMs: number;
  readonly bootId: string;
  /** What an earlier process of this host kept; faults of another boot start their re-test. */
  readonly saved: LadderState | null;
}

export function createLadder({ clock, retestMs, bootId, saved }: LadderOptions): Ladder {
  const patients = new Map<string, Patient>();
  let revision = 0;
  if (saved !== null) restore(saved);

  function restore(state: LadderState): void {
    const isSameBoot = state.bootId === bootId;
    for (const [id, { faults, cordon, fallsMs }] of Object.entries(state.devices)) {
      const entries = new Map(
        faults.map(({ needsReset, ...fault }): [string, Entry] => [
          fault.code,
          { fault, stands: false, needsReset: needsReset && isSameBoot, wellSinceMs: null },
        ]),
      );
      patients.set(id, { entries, cordon, fallsMs: [...fallsMs], health: null });
    }
  }

  function patientOf(id: string): Patient {
    let patient = patients.get(id);
    if (patient === undefined) {
      patient = { entries: new Map(), fallsMs: [], cordon: null, health: null };
      patients.set(id, patient);
    }
    return patient;
  }

  function changed(patient: Patient): void {
    patient.health = null;
    revision += 1;
  }

  /** Notes a fault that is new, came again, or is of another rung now. */
  function note(patient: Patient, finding: Finding, count: number, isEvent: boolean): void {
    const nowMs = clock.wallMs();
    const code = finding.code.slice(0, MAX_CODE);
    const { rung } = finding;
    const text = finding.text.slice(0, MAX_TEXT);
    const known = patient.entries.get(code);
    if (known === undefined) {
      const fault = { code, rung, text, firstAtMs: nowMs, lastAtMs: nowMs, count, active: true };
      const needsReset = isEvent && isRungAtLeast(rung, 'resetNeeded');
      patient.entries.set(code, { fault, stands: !isEvent, needsReset, wellSinceMs: null });
      if (isRungAtLeast(rung, 'noNewJobs')) fell(patient, code, nowMs);
      shed(patient);
    } else {
      const { fault } = known;
      const isSame = known.stands && fault.active && fault.rung === rung && fault.text === text;
      if (!isEvent && isSame) return;
      known.fault = { ...fault, rung, text, lastAtMs: nowMs, count: fault.count + count, active: true };
      known.stands ||= !isEvent;
      known.needsReset ||= isEvent && isRungAtLeast(rung, 'resetNeeded');
      known.wellSinceMs = null;
    }
    changed(patient);
  }

  function fell(patient: Patient, code: string, nowMs: number): void {
    const { fallsMs } = patient;
    fallsMs.push(nowMs);
    while ((fallsMs[0] ?? nowMs) < nowMs - HOUR_MS) fallsMs.shift();
    if (fallsMs.length < MAX_FALLS) return;
    const reason = `unfit ${fallsMs.length} times within an hour, last for ${code}`;
    patient.cordon = { by: 'health', reason, sinceMs: nowMs, untilMs: nowMs + HOUR_MS };
    // Counting starts over: the cordon is not renewed by what it was made for.
    fallsMs.length = 0;
  }

  /** A device with more faults than anybody reads keeps the worst. */
  function shed({ entries }: Patient): void {
    if (entries.size <= MAX_FAULTS) return;
    const [mildest] = [...entries.values()].sort((a, b) => -compare(a.fault, b.fault));
    if (mildest !== undefined) entries.delete(mildest.fault.code);
  }

  function lift(patient: Patient): void {
    const nowMs = clock.monotonicMs();
    for (const [code, { wellSinceMs }] of patient.entries) {
      if (wellSinceMs === null || nowMs - wellSinceMs < retestMs) continue;
      patient.entries.delete(code);
      changed(patient);
    }
    if ((patient.cordon?.untilMs ?? Number.POSITIVE_INFINITY) <= clock.wallMs()) {
      patient.cordon = null;
      changed(patient);
    }
  }

  return {
    observe(id, conditions, isGood) {
      if (conditions.length === 0 && !patients.has(id)) return;
      const patient = patientOf(id);
      const seen = new Set<string>();
      for (const finding of conditions) {
        seen.add(finding.code.slice(0, MAX_CODE));
        note(patient, finding, 1, false);
      }
      for (const [code, entry] of patient.entries) {
        if (seen.has(code)) continue;
        if (!isGood) {
          entry.wellSinceMs = null;
          continue;
        }
        entry.stands = false;
        if (entry.needsReset) continue;
        entry.wellSinceMs ??= clock.monotonicMs();
        if (!entry.fault.active) continue;
        entry.fault = { ...entry.fault, active: false };
        changed(patient);
      }
      lift(patient);
    },
    happened(id, finding, count) {
      if (finding.rung !== 'ok') note(patientOf(id), finding, count, true);
    },
    wasReset(id) {
      for (const entry of patients.get(id)?.entries.values() ?? []) entry.needsReset = false;
    },
    tick() {
      for (const patient of patients.values()) lift(patient);
    },
    of(id) {
      const patient = patients.get(id);
      if (patient === undefined) return well;
      patient.health ??= healthOf(patient);
      return patient.health;
    },
    revision: () => revision,
    state() {
      const kept = [...patients].filter(
        ([, { entries, cordon, fallsMs }]) => entries.size > 0 || cordon !== null || fallsMs.length > 0,
      );
      return { bootId, devices: Object.fromEntries(kept.map(([id, patient]) => [id, saveOf(patient)])) };
    },
  };
}

function saveOf({ entries, cordon, fallsMs }: Patient): SavedDevice {
  const faults = [...entries.values()].map(({ fault, needsReset }) => ({ ...fault, needsReset }));
  return { faults, cordon, fallsMs: [...fallsMs] };
}

function healthOf({ entries, cordon }: Patient): DeviceHealth {
  const faults = [...entries.values()].map(({ fault }) => fault).sort(compare);
  return { rung: faults[0]?.rung ?? 'ok', faults, cordon };
}

/** Worst first, then newest first. */
function compare(a: DeviceFault, b: DeviceFault): number {
  return rungs.indexOf(b.rung) - rungs.indexOf(a.rung) || b.lastAtMs - a.lastAtMs;
}

/** The contract's word for a rung; `isKnown`: the backend can tell whether the device is well. */
export function healthFor(rung: Rung, isKnown: boolean): Health {
  if (isRungAtLeast(rung, 'stopJobs')) return 'failed';
  if (isRungAtLeast(rung, 'warn')) return 'degraded';
  return isKnown ? 'ok' : 'unknown';
}
