// Messages that must not be lost, kept until the scheduler has acknowledged them. They are made into text once,
// so that every copy that travels is the same byte for byte. On disk they are the job room's business.
//
// INVARIANTS: sequences grow by one and are never used twice; an acknowledgement counts only for a message that
// this session has sent; the order of sending is the order of putting.

interface Entry {
  readonly key: string;
  readonly text: string;
  readonly settled: () => void;
}

export interface Outbox {
  /**
   * Keeps the message that `make` builds for its sequence; `settled` is called once, when it is acknowledged.
   * False when a message with this key waits already.
   */
  put(key: string, make: (sequence: number) => string, settled: () => void): boolean;
  /** The next message to send, or null; it counts as sent. */
  next(): string | null;
  /** A new session: everything that is not acknowledged is to be sent again. */
  rewind(): void;
  /** False for a sequence that is unknown or not sent in this session. */
  acknowledge(sequence: number): boolean;
  size(): number;
  /** Messages that were sent and wait for their acknowledgement. */
  awaiting(): boolean;
}

export function createOutbox(): Outbox {
  const entries = new Map<number, Entry>();
  const keys = new Set<string>();
  let nextSequence = 1;
  /** Lowest sequence that this session has not sent. */
  let cursor = 1;
  const oldest = (): number => entries.keys().next().value ?? nextSequence;
  return {
    put(key, make, settled) {
      if (keys.has(key)) return false;
      const text = make(nextSequence);
      keys.add(key);
      entries.set(nextSequence, { key, text, settled });
      nextSequence += 1;
      return true;
    },
    next() {
      while (cursor < nextSequence) {
        const entry = entries.get(cursor);
        cursor += 1;
        if (entry !== undefined) return entry.text;
      }
      return null;
    },
    rewind() {
      cursor = oldest();
    },
    acknowledge(sequence) {
      const entry = entries.get(sequence);
      if (entry === undefined || sequence >= cursor) return false;
      entries.delete(sequence);
      keys.delete(entry.key);
      entry.settled();
      return true;
    },
    size: () => entries.size,
    awaiting: () => oldest() < cursor,
  };
}
