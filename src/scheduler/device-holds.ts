// Which jobs hold which devices of one node. INVARIANTS: a device has one holder, or several that all asked to share;
// a device and a partition cut from it are never held at the same time. What is held stays held when the device is
// told of no more: it may come back, and the job may still be on it.
import type { AcceleratorRequest } from '../protocol/spec.ts';

/** What of a device matters for who may hold it. */
export interface HeldDevice {
  readonly id: string;
  readonly parentId: string | null;
  readonly memoryBytes: number | null;
}

export interface DeviceHolds {
  hold(jobId: string, ids: readonly string[], request: AcceleratorRequest | null): void;
  release(jobId: string): void;
  /** Learns which partition belongs to which device. */
  learn(devices: readonly HeldDevice[]): void;
  /** Whether a job with this request may have the device beside those that hold it. */
  isFree(device: HeldDevice, request: AcceleratorRequest): boolean;
  holders(id: string): readonly string[];
  /** Partitions of the device are held. */
  isCut(id: string): boolean;
}

type Holder = Pick<AcceleratorRequest, 'shared' | 'memoryBytes'>;

/** Of a job that nobody knows more of than what it holds. */
const alone: Holder = { shared: false, memoryBytes: null };

export function createDeviceHolds(): DeviceHolds {
  const holdersOf = new Map<string, Map<string, Holder>>();
  const idsOf = new Map<string, readonly string[]>();
  const parentOf = new Map<string, string>();

  function isCut(id: string): boolean {
    for (const held of holdersOf.keys()) if (parentOf.get(held) === id) return true;
    return false;
  }

  return {
    hold(jobId, ids, request) {
      if (ids.length === 0 || idsOf.has(jobId)) return;
      idsOf.set(jobId, ids);
      for (const id of ids) {
        const holders = holdersOf.get(id) ?? new Map<string, Holder>();
        holdersOf.set(id, holders.set(jobId, request ?? alone));
      }
    },
    release(jobId) {
      for (const id of idsOf.get(jobId) ?? []) {
        const holders = holdersOf.get(id);
        holders?.delete(jobId);
        if (holders?.size === 0) holdersOf.delete(id);
      }
      idsOf.delete(jobId);
    },
    learn(devices) {
      for (const id of [...parentOf.keys()]) if (!holdersOf.has(id)) parentOf.delete(id);
      for (const { id, parentId } of devices) if (parentId !== null) parentOf.set(id, parentId);
    },
    isFree(device, request) {
      if (device.parentId === null ? isCut(device.id) : holdersOf.has(device.parentId)) return false;
      const holders = holdersOf.get(device.id);
      if (holders === undefined) return true;
      if (!request.shared) return false;
      // What sharers asked for is theirs; a device of unknown memory is not divided by it.
      let leftBytes = device.memoryBytes ?? Number.POSITIVE_INFINITY;
      for (const { shared, memoryBytes } of holders.values()) {
        if (!shared) return false;
        leftBytes -= memoryBytes ?? 0;
      }
      return (request.memoryBytes ?? 0) <= leftBytes;
    },
    holders: (id) => [...(holdersOf.get(id)?.keys() ?? [])],
    isCut,
  };
}
