// What is fuzzed: a reader of bytes from elsewhere, texts that it takes, and what may become of any others.

export interface Target {
  readonly name: string;
  /** Codes of the faults that it may answer with. */
  readonly faults: RegExp;
  /** Good input, to begin with. */
  readonly seeds: () => readonly Uint8Array[];
  /** What it makes of the bytes; a fault is an answer too, anything else that is thrown is a find. */
  read(input: Uint8Array): unknown;
  /** Throws where what was read cannot be true. */
  readonly check?: (made: unknown, input: Uint8Array) => void;
  /** Puts right what no mutation hits by chance (a checksum), so that what lies behind it is reached. */
  readonly mend?: (input: Uint8Array) => Uint8Array;
  /** Share of the rounds that a run gives it; 1 where it is left out. */
  readonly weight?: number;
}

export const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'utf8');
export const jsonOf = (value: unknown): Uint8Array => bytesOf(JSON.stringify(value));
export const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');

/** For checks: fails with the words. */
export function insist(holds: boolean, words: string): void {
  if (!holds) throw new Error(words);
}
