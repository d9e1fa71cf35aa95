// What an accelerator is to everybody who is not its vendor's file: a record (identity, facts, health, what stands on
// it; sent when it changes) and numbers (columns of telemetry whose owner is the record's slot). `deviceView` joins
// the two into the contract of `flopd devices -o json`; the scheduler's API and the dashboard show the same view.
//
// Slots: the agent gives each device and each partition a number when it first sees its id, and never uses that
// number for another one while it runs. A partition (a slice with an id of its own) is a record like a device, with
// the slot of the device that it is cut from.
import * as z from 'zod';
import { absentReasons } from './columns.ts';

const count = z.number().int().nonnegative();
const line = (maximum: number) => z.string().max(maximum);
const amount = z.number().nonnegative();

/** Precisions of the peak table; all dense, a fused multiply-add counted as two. */
export const precisions = ['fp64', 'fp32', 'tf32', 'bf16', 'fp16', 'fp8', 'int8'] as const;
export type Precision = (typeof precisions)[number];

export function isPrecision(word: string): word is Precision {
  return (precisions as readonly string[]).includes(word);
}

/** FLOP/s by precision (INT8: operations per second); null where the device has none or nobody knows. */
export const flopsByPrecisionSchema = z.strictObject(
  Object.fromEntries(precisions.map((each) => [each, amount.nullable()])) as Record<
    Precision,
    z.ZodNullable<z.ZodNumber>
  >,
);
export type FlopsByPrecision = z.output<typeof flopsByPrecisionSchema>;

/**
 * The health ladder, from well to gone. observe: told, nothing changes · warn: worth a look, work goes on ·
 * noNewJobs: running jobs go on, no new ones come · stopJobs: its jobs are ended with the fault as their cause ·
 * resetNeeded: as stopJobs, and only a reset or a reboot brings it back · replace: as stopJobs, and the part is to be
 * replaced.
 */
export const rungs = ['ok', 'observe', 'warn', 'noNewJobs', 'stopJobs', 'resetNeeded', 'replace'] as const;
export type Rung = (typeof rungs)[number];
export const healths = ['ok', 'degraded', 'failed', 'unknown'] as const;
export type Health = (typeof healths)[number];

/** True where `rung` is at least as bad as `least`. */
export function isRungAtLeast(rung: Rung, least: Rung): boolean {
  return rungs.indexOf(rung) >= rungs.indexOf(least);
}

export const faultSchema = z.strictObject({
  /** Stable, e.g. `xid-79`, `ecc-uncorrected`, `row-remap-failed`, `device-lost`. */
  code: line(64),
  rung: z.enum(rungs),
  /** One sentence: what it means and what to do. */
  text: line(512),
  /** ms since the Unix epoch. */
  firstAtMs: z.number(),
  lastAtMs: z.number(),
  /** How often it was seen since `firstAtMs`. */
  count,
  /** Still the case, or (false) over and kept for the record until the re-test has passed. */
  active: z.boolean(),
});
export type DeviceFault = z.output<typeof faultSchema>;

/** No new jobs on a device because somebody said so, until it is lifted or runs out. */
export const cordonSchema = z.strictObject({
  by: line(128),
  reason: line(512),
  sinceMs: z.number(),
  /** ms since the Unix epoch; null until it is lifted. */
  untilMs: z.number().nullable(),
});
export type Cordon = z.output<typeof cordonSchema>;

export const deviceProcessSchema = z.strictObject({
  pid: count,
  /** Device memory that it holds; null where the tool does not tell. */
  memoryBytes: amount.nullable(),
  name: line(256).nullable(),
});
export type DeviceProcess = z.output<typeof deviceProcessSchema>;

export const deviceLinkSchema = z.strictObject({
  /** `nvlink`, `hccs`, `sio`, `pcie`, … in lower case, or the vendor's word for the path (`PHB`, `SYS`). */
  kind: line(32),
  /** Id of the device at the other end, where it is one of this host's. */
  peer: line(96).nullable(),
  /** Number of links of this kind to that peer. */
  count,
  /** Null where nobody tells. */
  up: z.boolean().nullable(),
});
export type DeviceLink = z.output<typeof deviceLinkSchema>;

const reason = z.enum(absentReasons);

export const deviceRecordSchema = z.strictObject({
  slot: count,
  /** Slot of the device that this partition is cut from; null for a device. */
  parentSlot: count.nullable(),
  /** The vendor's one lowercase spelling. */
  vendor: line(32),
  /** As the vendor's tool counts, per vendor; for a partition, its place on its device. */
  index: count,
  /** UUID or the vendor's unique id; what jobs are granted by. */
  id: z.string().min(1).max(96),
  /** What kind of slice a partition is, e.g. `1g.10gb`, `vir04`; null for a device. */
  profile: line(64).nullable(),
  name: line(128).nullable(),
  busId: line(64).nullable(),
  serial: line(128).nullable(),
  driverVersion: line(64).nullable(),
  firmwareVersion: line(64).nullable(),
  numaNode: z.number().int().nullable(),
  /** How it is read. */
  backend: z.enum(['native', 'cli', 'simulated']),
  /** How far reading this vendor has been tested. */
  level: z.enum(['hardware', 'captures', 'bestEffort']),
  /** Device memory when it was last known; also a column. */
  memoryTotalBytes: amount.nullable(),
  peakFlops: flopsByPrecisionSchema,
  /** `table`: a published figure · `formula`: units × rate × clock · `override`: the operator's · null: none known. */
  peakMethod: z.enum(['table', 'formula', 'override']).nullable(),
  /** Where the peaks come from and how far to trust them, or why there are none, in words. */
  peakSource: line(512),
  /** How the achieved rate is found, e.g. `gpm`, `aicube`, `estimate`; null where it cannot be. */
  achievedMethod: line(256).nullable(),
  energyMethod: z.enum(['counter', 'integral']).nullable(),
  health: z.enum(healths),
  rung: z.enum(rungs),
  faults: z.array(faultSchema).max(64),
  /** Set on the node itself; what the scheduler sets is its own. */
  cordon: cordonSchema.nullable(),
  processes: z.array(deviceProcessSchema).max(256),
  links: z.array(deviceLinkSchema).max(256),
  /** Why strings and lists of this record are absent, by field; numbers have theirs in the columns. */
  absent: z.record(line(64), reason),
  /** What went wrong when it was last read, for `error: …`; null when it went well. */
  problem: line(512).nullable(),
});
export type DeviceRecord = z.output<typeof deviceRecordSchema>;

/** Whether new jobs may come to the device, as far as the node is concerned. */
export function takesJobs(record: DeviceRecord, nowMs: number): boolean {
  const { cordon, rung } = record;
  const isCordoned = cordon !== null && (cordon.untilMs === null || cordon.untilMs > nowMs);
  return !isCordoned && !isRungAtLeast(rung, 'noNewJobs');
}
