// When a node is told how far the scheduler's own audit log has come, so that it is a witness of it: in its welcome, and
// again after HEAD_TELL_MS when the log has grown. The head is the one that is signed anyway, so telling costs a message.
import type { Clock } from '../base/clock.ts';
import type { SignedHead } from '../protocol/audit.ts';

/** Nodes are told each at its own time: of many, one was told a moment ago. */
export const HEAD_TELL_MS = 5 * 60_000;

export interface HeadTeller {
  /** The field of a message that tells it; empty while nothing is due. */
  due(): { readonly auditHead?: SignedHead };
}

/** One for each session. */
export function createHeadTeller(
  head: () => SignedHead | null,
  clock: Pick<Clock, 'monotonicMs'>,
): HeadTeller {
  let told: SignedHead | null = null;
  let toldMs = Number.NEGATIVE_INFINITY;
  return {
    due() {
      const nowMs = clock.monotonicMs();
      if (nowMs - toldMs < HEAD_TELL_MS) return {};
      const present = head();
      if (present === null || present === told) return {};
      told = present;
      toldMs = nowMs;
      return { auditHead: present };
    },
  };
}
