// The device records of this node on their way to the scheduler: with every hello, and whenever they have changed
// since. Only the latest list counts, so changes that come fast share a message: the first goes at once, the next
// after MIN_INTERVAL_MS.
import type { Clock, Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Devices } from '../protocol/control.ts';
import { type DeviceRecord, deviceRecordSchema } from '../protocol/device.ts';

/** Between two messages of one session. */
export const MIN_INTERVAL_MS = 250;
/** Of the records in a hello or a message; under half a frame, since the hello names jobs and the host as well. */
export const MAX_RECORDS_BYTES = 256 * 1024;
const MAX_RECORDS = 4096;

export interface DeviceFlow {
  /** The records as they are now; the list replaces the one before. */
  put(records: readonly DeviceRecord[]): void;
  /** For a hello: what it tells need not be told again. */
  tell(): readonly DeviceRecord[];
  /** A session is live. */
  begin(): void;
  end(): void;
  /** Sends what is due, if there is room. */
  pump(): void;
}

export interface DeviceFlowParts {
  send(text: string): void;
  /** True while the session lives and its socket takes more. */
  hasRoom(): boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export function createDeviceFlow({ send, hasRoom, clock, log }: DeviceFlowParts): DeviceFlow {
  let latest: readonly DeviceRecord[] = [];
  /** `latest` has not been looked at since it was put. */
  let isNew = false;
  let present: readonly DeviceRecord[] = [];
  let presentText = '[]';
  /** What this session has been told. */
  let toldText = '';
  let isLive = false;
  let sentAtMs = Number.NEGATIVE_INFINITY;
  let timer: Timer | null = null;
  /** Ids of records that cannot travel; said once each. */
  let unfit = new Set<string>();

  /** Checks and measures the latest list: not at every change, only when it is to be sent. */
  function look(): void {
    if (!isNew) return;
    isNew = false;
    present = fitting(latest);
    presentText = JSON.stringify(present);
  }

  function pump(): void {
    if (!isLive || timer !== null || (!isNew && presentText === toldText) || !hasRoom()) return;
    const waitMs = sentAtMs + MIN_INTERVAL_MS - clock.monotonicMs();
    if (waitMs > 0) {
      timer = clock.after(waitMs, () => {
        timer = null;
        pump();
      });
      return;
    }
    look();
    if (presentText === toldText) return;
    sentAtMs = clock.monotonicMs();
    toldText = presentText;
    send(JSON.stringify({ type: 'devices', devices: [...present] } satisfies Devices));
  }

  /** One record that the scheduler must refuse would end every session. */
  function fitting(records: readonly DeviceRecord[]): DeviceRecord[] {
    const without = new Set<string>();
    const found: DeviceRecord[] = [];
    for (const record of records.slice(0, MAX_RECORDS)) {
      const parsed = deviceRecordSchema.safeParse(record);
      if (parsed.success) {
        found.push(parsed.data);
        continue;
      }
      without.add(record.id);
      const field = parsed.error.issues[0]?.path.join('.') ?? 'record';
      if (!unfit.has(record.id))
        log.error({ device: record.id, field }, 'a device does not fit the protocol and is not reported');
    }
    unfit = without;
    return withinBytes(found);
  }

  return {
    put(records) {
      latest = records;
      isNew = true;
      pump();
    },
    tell() {
      look();
      toldText = presentText;
      return present;
    },
    begin() {
      isLive = true;
      sentAtMs = clock.monotonicMs();
      pump();
    },
    end() {
      isLive = false;
      timer?.cancel();
      timer = null;
    },
    pump,
  };
}

/** Leaves out, while the list is too long for its place in a frame, what placement needs least. */
export function withinBytes(records: DeviceRecord[], maximum = MAX_RECORDS_BYTES): DeviceRecord[] {
  const lessen: readonly ((record: DeviceRecord) => DeviceRecord)[] = [
    (record) => ({ ...record, processes: [], absent: { ...record.absent, processes: 'error' } }),
    (record) => ({ ...record, links: [], absent: { ...record.absent, links: 'error' } }),
    (record) => ({ ...record, faults: record.faults.slice(0, 2), peakSource: '', problem: null }),
  ];
  let fitting = records;
  let lengths = fitting.map(lengthOf);
  for (const less of lessen) {
    if (sum(lengths) <= maximum) return fitting;
    fitting = fitting.map(less);
    lengths = fitting.map(lengthOf);
  }
  // Whole devices before partitions.
  const ordered = [...fitting].sort((a, b) => Number(a.parentSlot !== null) - Number(b.parentSlot !== null));
  let bytes = 0;
  return ordered.filter((record) => {
    bytes += lengthOf(record);
    return bytes <= maximum;
  });
}

const lengthOf = (record: DeviceRecord): number => Buffer.byteLength(JSON.stringify(record)) + 1;
const sum = (lengths: readonly number[]): number => lengths.reduce((total, one) => total + one, 0);
