// The walls of one attempt: decided when it is accepted, the same when it starts, told in its result.
import type { Attempt } from './book.ts';
import type { Walls } from './containment/walls.ts';
import { type Containment, type Executor, noContainment } from './executor/executor.ts';

export interface Walling {
  /** The containment of an attempt that is about to start; what its result will tell of it is kept the first time. */
  contain(attempt: Attempt, userId: number | null): Containment;
  /** Whether this is what it was accepted for. */
  isWalledAs(attempt: Attempt, containment: Containment): boolean;
  /** Most bytes of each stream that are kept, of a job that asks for so many; null for no limit. */
  outputQuotaBytes(asked: number | null): number | null;
}

/** Each of these as it was; there may be more, of which an earlier flopd did not know. */
const holds = (then: Readonly<Record<string, string>>, now: Readonly<Record<string, string>>): boolean =>
  Object.entries(then).every(([name, words]) => now[name] === words);

export function createWalling(
  walls: Walls | undefined,
  executors: ReadonlyMap<string, Executor>,
  folderOf: (attempt: Attempt) => string,
): Walling {
  return {
    contain(attempt, userId) {
      const { order, granted } = attempt;
      if (walls === undefined || order === null) return noContainment;
      const decided = walls.contain(order, folderOf(attempt), granted, userId);
      const own = { spec: order.spec, deviceNodes: granted?.deviceNodes ?? [] };
      const containment = executors.get(order.spec.executor)?.contain?.(decided, own) ?? decided;
      const { limits, isolation } = containment;
      attempt.walled ??= { userId, limits, isolation };
      return containment;
    },

    isWalledAs({ walled }, { limits, isolation }) {
      return walled === null || (holds(walled.limits, limits) && holds(walled.isolation, isolation));
    },

    outputQuotaBytes(asked) {
      const node = walls?.outputQuotaBytes ?? null;
      return asked === null || node === null ? (asked ?? node) : Math.min(asked, node);
    },
  };
}
