// A fleet that does not exist: `--simulate 8xH100,8xAscend910B3`, for demos and for tests of everything above the
// vendors. Its readings move like real ones: a slow background, a ramp while a job holds the device, power that
// follows the load, temperature that follows the power. All of it is a function of seed, time and who holds what.
// Whoever shows such a device says that it is simulated: the backend of its record is `simulated`.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { ToolReading } from './accelerator.ts';
import { emptyReading } from './reading.ts';
import { type SimulatedModel, simulatedModels } from './simulated-model.ts';

const MAX_DEVICES = 1024;
const MAX_TEXT = 1024;
/** Time constants of load and of heat. */
const LOAD_MS = 2500;
const HEAT_MS = 20_000;
const IDLE_POWER = 0.11;
const ROOM_CELSIUS = 27;
const HEAT_CELSIUS = 47;
const IDLE_MEMORY = 0.008;
const NAMED_NEAR = 4;

export interface SimulatedGroup {
  readonly count: number;
  readonly model: SimulatedModel;
}

export type SimulatedReading = ToolReading & { readonly vendor: string };

export interface Simulated {
  /** Vendors of the fleet, each once, in the order of the specification. */
  readonly vendors: readonly string[];
  /** Readings of all devices at this time; those whose id is in `busyIds` work, the others idle. */
  read(nowMs: number, busyIds: ReadonlySet<string>): readonly SimulatedReading[];
}

/**
 * `8xH100,8xAscend910B3`: groups of a count and a model; a model alone is one device. Throws Fault CONFIG_SIMULATE
 * that names what is wrong and, for an unknown model, those that are near.
 */
export function parseSimulated(text: string): readonly SimulatedGroup[] {
  if (text.length > MAX_TEXT) throw refusal(`longer than ${MAX_TEXT} characters`);
  const groups = text.split(',').map((part) => parseGroup(part.trim()));
  const total = groups.reduce((sum, { count }) => sum + count, 0);
  if (total > MAX_DEVICES) throw refusal(`${total} devices: more than ${MAX_DEVICES}`);
  return groups;
}

function parseGroup(part: string): SimulatedGroup {
  if (part === '') throw refusal('an empty group');
  const match = /^(?:(\d{1,6})\s*[xX×*]\s*)?(\S.*)$/u.exec(part);
  const [, digits, name = part] = match ?? [];
  const count = digits === undefined ? 1 : Number(digits);
  if (count === 0) throw refusal(`"${shown(part)}" asks for no device`);
  const wanted = plain(name);
  const model = simulatedModels.find((each) => namesOf(each).includes(wanted));
  if (model === undefined)
    throw refusal(`there is no model "${shown(name)}" to simulate`, nearModels(wanted));
  return { count, model };
}

/** How a model may be called: its key, with or without the vendor, or its whole name. */
function namesOf({ key, vendor, name }: SimulatedModel): readonly string[] {
  return [plain(key), plain(vendor + key), plain(name)];
}

const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, '');
const shown = (text: string): string => text.slice(0, 40).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');

function refusal(problem: string, remedy?: string): Fault {
  return new Fault('CONFIG_SIMULATE', problem, {
    field: 'simulate',
    remedy: remedy ?? 'write groups of count and model, for example 8xH100,8xAscend910B3',
  });
}

/** Models that share most pairs of neighbouring letters with the word; all where none does. */
function nearModels(wanted: string): string {
  const near = simulatedModels
    .map((model) => ({
      key: model.key,
      likeness: Math.max(...namesOf(model).map((name) => likeness(name, wanted))),
    }))
    .filter(({ likeness }) => likeness >= 0.3)
    .sort((one, other) => other.likeness - one.likeness)
    .slice(0, NAMED_NEAR);
  if (near.length > 0) return `did you mean ${near.map(({ key }) => key).join(', ')}?`;
  return `known models: ${simulatedModels.map(({ key }) => key).join(', ')}`;
}

function likeness(one: string, other: string): number {
  const pairs = (text: string): readonly string[] =>
    Array.from({ length: Math.max(0, text.length - 1) }, (_, at) => text.slice(at, at + 2));
  const left = pairs(one);
  const right = pairs(other);
  const both = left.filter((pair) => right.includes(pair)).length;
  return left.length + right.length === 0 ? 0 : (2 * both) / (left.length + right.length);
}

/** `seed` keeps the ids of two hosts apart; the same seed and specification give the same ids after a restart. */
export function createSimulated(
  groups: readonly SimulatedGroup[],
  clock: Pick<Clock, 'wallMs'>,
  seed = '',
): Simulated {
  const counts = new Map<string, number>();
  const startMs = clock.wallMs();
  const devices = groups.flatMap(({ count, model }) =>
    Array.from({ length: count }, () => {
      const index = counts.get(model.vendor) ?? 0;
      counts.set(model.vendor, index + 1);
      return createDevice(model, index, seed, startMs);
    }),
  );
  return {
    vendors: [...counts.keys()],
    read: (nowMs, busyIds) => devices.map((device) => device(nowMs, busyIds)),
  };
}

function createDevice(
  model: SimulatedModel,
  index: number,
  seed: string,
  startMs: number,
): (nowMs: number, busyIds: ReadonlySet<string>) => SimulatedReading {
  const { vendor, powerLimitWatts, memoryBytes, maxClockHertz } = model;
  const chance = chances(`${seed}/${vendor}/${model.key}/${index}`);
  const hex = Math.floor(chance() * 2 ** 32)
    .toString(16)
    .padStart(8, '0');
  const id = `${model.idPrefix}-sim-${hex}-${String(index).padStart(4, '0')}`;
  const phase = chance() * 2 * Math.PI;
  const character = 0.94 + 0.06 * chance();
  const eccCorrectedTotal = Math.floor(chance() * 3);
  let energyJoules = Math.floor(chance() * 5e6);
  let load = 0.03;
  let celsius = ROOM_CELSIUS + HEAT_CELSIUS * IDLE_POWER + 4 * chance();
  let watts = powerLimitWatts * IDLE_POWER;
  let beforeMs = startMs;

  return (nowMs, busyIds) => {
    const passedMs = Math.max(0, nowMs - beforeMs);
    beforeMs = Math.max(beforeMs, nowMs);
    const seconds = nowMs / 1000;
    const wave = (periodSeconds: number): number => Math.sin((2 * Math.PI * seconds) / periodSeconds + phase);
    const works = busyIds.has(id);
    const target = works
      ? character * (0.9 + 0.05 * wave(31) + 0.03 * wave(7.3))
      : 0.04 + 0.025 * wave(47) + 0.015 * wave(11);
    load += (clamp(target) - load) * (1 - Math.exp(-passedMs / LOAD_MS));
    energyJoules += (watts * passedMs) / 1000;
    watts = powerLimitWatts * (IDLE_POWER + (0.97 - IDLE_POWER) * load ** 0.85);
    const warm = ROOM_CELSIUS + (HEAT_CELSIUS * watts) / powerLimitWatts + 2 * (1 - character) * 16;
    celsius += (warm - celsius) * (1 - Math.exp(-passedMs / HEAT_MS));
    const pressed = watts > 0.93 * powerLimitWatts;
    const clock = load > 0.2 ? maxClockHertz * (pressed ? 0.93 : 0.985) : maxClockHertz * 0.3;
    return {
      vendor,
      ...emptyReading(index, id, {
        values: {
          busyRatio: round(clamp(load), 4),
          memoryBusyRatio: round(clamp(load * 0.55), 4),
          memoryTotalBytes: memoryBytes,
          memoryUsedBytes: Math.round(memoryBytes * (IDLE_MEMORY + 0.78 * clamp(load))),
          powerWatts: round(watts, 2),
          powerLimitWatts,
          energyCounterJoules: round(energyJoules, 3),
          temperatureCelsius: round(celsius, 1),
          memoryTemperatureCelsius: round(celsius + 3 + 4 * load, 1),
          clockHertz: Math.round(clock / 1e6) * 1e6,
          memoryClockHertz: model.memoryClockHertz,
          eccCorrectedTotal,
          eccUncorrectedTotal: 0,
        },
        ...(model.tellsCube && {
          engineBusyRatio: { cube: round(clamp(load * 0.72), 4), vector: round(clamp(load * 0.31), 4) },
        }),
        throttledRatio: { powerCap: pressed ? 1 : 0 },
      }),
      name: model.name,
      busId: busIdOf(vendor, index),
      driverVersion: 'simulated',
      numaNode: Math.floor(index / 4) % 2,
      facts: {
        computeCapability: model.computeCapability,
        lanes: model.units === null || model.lanesPerUnit === null ? null : model.units * model.lanesPerUnit,
        units: model.units,
        maxClockHertz,
      },
      healthKnown: true,
      absent: { processes: 'unsupported', serial: 'unsupported', firmwareVersion: 'unsupported' },
    };
  };
}

/** Addresses that no two devices of a host share, in a domain that real machines do not use. */
function busIdOf(vendor: string, index: number): string {
  const domain = 0xf000 + (hash(vendor) & 0xfff);
  const hex = (value: number, digits: number): string =>
    value.toString(16).toUpperCase().padStart(digits, '0');
  return `${hex(domain, 8)}:${hex(index & 0xff, 2)}:${hex((index >> 8) & 0x1f, 2)}.0`;
}

const clamp = (ratio: number): number => Math.min(1, Math.max(0, ratio));
const round = (value: number, digits: number): number => Math.round(value * 10 ** digits) / 10 ** digits;

/** FNV-1a over UTF-16 units. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

/** Numbers in [0, 1) that only depend on the text (mulberry32). */
function chances(text: string): () => number {
  let value = hash(text);
  return () => {
    value = (value + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(value ^ (value >>> 15), value | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
