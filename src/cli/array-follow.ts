// Following an array to its end: asks how its jobs stand, and tells each that has ended, once, in the order of their
// ends as far as they are seen. A scheduler that is away is waited for, as for a single job (follow.ts).
import type { Clock } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { ArrayView, MemberView } from '../protocol/api.ts';
import { formatIndices, parseIndices } from '../protocol/array.ts';
import { finalStates } from '../protocol/result.ts';
import { type Client, isPassing } from './client.ts';
import { RECONNECT_DEADLINE_MS } from './follow.ts';
import { pause } from './output.ts';

const MIN_PERIOD_MS = 100;
const MAX_PERIOD_MS = 2000;
/** Jobs asked for at a time; their indices are part of an address. */
const MEMBERS_AT_ONCE = 400;

export interface ArraySink {
  /** A job has ended. The next is told when this has resolved. */
  ended(member: MemberView): Promise<void>;
  /** How the array stands, each time it was asked. */
  array(view: ArrayView): void;
  /** The link broke (`problem` in words) or is back (null). Told once per break. */
  link(problem: string | null): void;
}

/** Resolves when all have ended and been told. Rejects with SCHEDULER_GONE, or what the sink threw. */
export async function followArray(options: {
  readonly client: Client;
  readonly id: string;
  readonly clock: Clock;
  readonly sink: ArraySink;
}): Promise<ArrayView> {
  const { client, id, clock, sink } = options;
  const told = new Set<number>();
  let brokenSinceMs: number | null = null;

  /** Asks until there is an answer. */
  async function ask<T>(question: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const answer = await question();
        if (brokenSinceMs !== null) sink.link(null);
        brokenSinceMs = null;
        return answer;
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (brokenSinceMs === null) {
          brokenSinceMs = clock.monotonicMs();
          sink.link(error instanceof Fault ? error.message : describeError(error));
        } else if (clock.monotonicMs() - brokenSinceMs > RECONNECT_DEADLINE_MS) {
          throw new Fault(
            'SCHEDULER_GONE',
            `no answer for ${RECONNECT_DEADLINE_MS / 60_000} minutes; gave up`,
            {
              remedy: `look again with "flopd job ${id}" or "flopd wait ${id}"; the jobs may still run`,
              cause: error,
            },
          );
        }
        await pause(MAX_PERIOD_MS / 4);
      }
    }
  }

  let periodMs = MIN_PERIOD_MS;
  for (;;) {
    const view = await ask(() => client.array(id));
    sink.array(view);
    const fresh = endedIndices(view).filter((index) => !told.has(index));
    await forEachMember(
      { members: (of, indices) => ask(() => client.members(of, indices)) },
      id,
      fresh,
      (member) => {
        told.add(member.index);
        return sink.ended(member);
      },
    );
    if (view.ended) return view;
    periodMs = fresh.length > 0 ? MIN_PERIOD_MS : Math.min(MAX_PERIOD_MS, periodMs * 1.5);
    await pause(periodMs);
  }
}

/** In ascending order. */
export function endedIndices({ indices, size }: Pick<ArrayView, 'indices' | 'size'>): readonly number[] {
  return finalStates.flatMap((state) => parseIndices(indices[state] ?? '', size) ?? []).sort((a, b) => a - b);
}

/** Asks for the jobs a few hundred at a time, and gives each that there is. */
export async function forEachMember(
  client: Pick<Client, 'members'>,
  id: string,
  indices: readonly number[],
  give: (member: MemberView) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < indices.length; at += MEMBERS_AT_ONCE) {
    const { members } = await client.members(id, formatIndices(indices.slice(at, at + MEMBERS_AT_ONCE)));
    for (const member of members) await give(member);
  }
}
