// A recorded history: one line per fact, in the order in which they happened, from whoever saw them: agents, shims or
// what stands for them, the scheduler, its users. The checker (checker.ts) decides from these lines alone.
import type { JobResult } from '../../src/protocol/result.ts';

export interface Attempted {
  readonly jobId: string;
  readonly epoch: number;
  readonly node: string;
}

/** What a stream held in the end: bytes that were kept, and a digest of exactly those. */
export interface StreamFact {
  readonly bytes: number;
  readonly digest: string;
}

export type FactBody =
  /** The scheduler has told a user that it has the job. */
  | { readonly kind: 'submitted'; readonly jobId: string }
  /** Somebody may have asked for its end: a user, or the scheduler for him. */
  | { readonly kind: 'cancelAsked'; readonly jobId: string; readonly by: string }
  | ({ readonly kind: 'orderSent' } & Attempted)
  | ({ readonly kind: 'orderReceived' } & Attempted)
  | ({ readonly kind: 'orderAnswered'; readonly outcome: string; readonly code: string | null } & Attempted)
  /** A process tree was started, by the kernel's word or that of a ledger which the job itself writes. */
  | ({ readonly kind: 'start'; readonly devices: readonly string[] } & Attempted)
  /** It has ended, all of it. */
  | ({
      readonly kind: 'exit';
      readonly exitCode: number | null;
      readonly signal: number | null;
      readonly outOfMemory: boolean;
      /** Who stopped it, where somebody did. */
      readonly stopped: 'timeLimit' | 'lease' | 'stop' | null;
      readonly stdout: StreamFact;
      readonly stderr: StreamFact;
    } & Attempted)
  /** From here on the truth about this attempt may be unknown: its shim was killed, its host lost. */
  | {
      readonly kind: 'truthLost';
      readonly node: string;
      readonly jobId: string | null;
      readonly epoch: number | null;
      readonly why: string;
    }
  /** The scheduler's store was lost: what only it knew is gone. */
  | { readonly kind: 'storeLost' }
  /** A device of the attempt failed. */
  | { readonly kind: 'deviceFailed'; readonly node: string; readonly device: string }
  /** The agent tells the scheduler the result; each time. */
  | ({ readonly kind: 'resultTold'; readonly result: JobResult } & Attempted)
  | ({ readonly kind: 'resultAcknowledged'; readonly result: JobResult } & Attempted)
  /** The disk of a node takes nothing: what it tells meanwhile it may tell otherwise after a crash. */
  | { readonly kind: 'diskRefuses'; readonly node: string; readonly refuses: boolean }
  /** What a user sees of a job that has ended; each time that it is looked at. */
  | {
      readonly kind: 'final';
      readonly jobId: string;
      readonly epoch: number;
      readonly state: string;
      readonly result: JobResult | null;
    }
  /** Output at the scheduler in the end. `expected` is the digest of as many first bytes of what was kept. */
  | {
      readonly kind: 'stored';
      readonly jobId: string;
      readonly epoch: number;
      readonly stream: 'stdout' | 'stderr';
      readonly bytes: number;
      readonly digest: string;
      readonly expected: string;
    }
  /** Something of an attempt that is over was still there in the end. */
  | { readonly kind: 'residue'; readonly what: string; readonly node: string | null }
  /** What was done to them, for people who read the history. */
  | { readonly kind: 'event'; readonly what: string }
  /** Everything has come to rest: what has not happened by now will not. */
  | { readonly kind: 'rest' };

export type Fact = FactBody & {
  /** Monotonic. */
  readonly atMs: number;
  /** Who saw it. */
  readonly who: string;
};

export interface History {
  readonly seed: number;
  add(who: string, fact: FactBody): void;
  facts(): readonly Fact[];
}

export function createHistory(seed: number, nowMs: () => number): History {
  const facts: Fact[] = [];
  return {
    seed,
    add: (who, fact) => void facts.push({ atMs: nowMs(), who, ...fact }),
    facts: () => facts,
  };
}

/** One fact as a line, for people and for files. */
export function lineOf(fact: Fact): string {
  const { atMs, who, kind, ...rest } = fact;
  return JSON.stringify({ atMs: Math.round(atMs), who, kind, ...rest });
}
