// An adaptive binary range coder: turns a sequence of yes/no decisions into close to as many bits as they carry
// information. Each decision is made under a model: a 16-bit probability of "yes" that learns from what it sees.
// Encoder and decoder have the same `bit`: the encoder returns the decision it was given, the decoder the one it
// read, so that one piece of code can describe a format for both directions and the two cannot drift apart.
//
// The interval [low, high] has 24 bits and is never empty; whole leading bytes that both ends share are emitted.
// The decoder takes bytes after the end as zeros, so trailing zero bytes of the code are not sent.

/** Value of a model that knows nothing. */
export const FRESH_MODEL = 32768;
/** How fast models learn: each decision moves the probability by 1/2^RATE of the way. */
const RATE = 5;
const TOP = 0xffffff;
/** Least interval that is divided among 256 at once: little is lost to rounding. */
const MIN_FAIR = 0xffff;
const NO_BYTES = new Uint8Array(0);

export interface BitCoder {
  /** Codes one decision under `models[at]` and teaches the model. */
  bit(models: Uint16Array, at: number, value: number): number;
  /** Codes an integer of `count` (1 to 8) bits of which nothing is known. */
  fairBits(count: number, value: number): number;
}

/** Hot: every window. Allocates only when a frame outgrows every earlier one. */
export class RangeEncoder implements BitCoder {
  #low = 0;
  #high = TOP;
  #bytes = new Uint8Array(1024);
  #length = 0;

  /** Starts a code after `reserved` bytes that the caller fills in itself. */
  start(reserved: number): void {
    this.#low = 0;
    this.#high = TOP;
    this.#length = reserved;
  }

  bit(models: Uint16Array, at: number, value: number): number {
    const p = models[at] ?? 0;
    const middle = this.#low + (((this.#high - this.#low) * p * (1 / 65536)) | 0);
    if (value === 1) {
      this.#high = middle;
      models[at] = p + ((65535 - p) >> RATE);
    } else {
      this.#low = middle + 1;
      models[at] = p - (p >> RATE);
    }
    if (((this.#low ^ this.#high) & 0xff0000) === 0) this.#shift();
    return value;
  }

  fairBits(count: number, value: number): number {
    // Where the interval straddles a byte's border it may be too small for all at once.
    if (this.#high - this.#low < MIN_FAIR) return this.#singly(count, value);
    const step = (this.#high - this.#low + 1) >> count;
    this.#low += step * value;
    this.#high = this.#low + step - 1;
    if (((this.#low ^ this.#high) & 0xff0000) === 0) this.#shift();
    return value;
  }

  #singly(count: number, value: number): number {
    for (let at = count - 1; at >= 0; at -= 1) {
      const middle = this.#low + ((this.#high - this.#low) >> 1);
      if (((value >> at) & 1) === 1) this.#high = middle;
      else this.#low = middle + 1;
      if (((this.#low ^ this.#high) & 0xff0000) === 0) this.#shift();
    }
    return value;
  }

  /** Ends the code and returns a copy: `before` bytes for the caller to fill, the code, `after` bytes likewise. */
  finish(before: number, after: number): Uint8Array {
    if (this.#low > 0) this.#emit((this.#low >> 16) + 1);
    let end = this.#length;
    while (end > before && this.#bytes[end - 1] === 0) end -= 1;
    const frame = new Uint8Array(end + after);
    for (let at = before; at < end; at += 1) frame[at] = this.#bytes[at] ?? 0;
    return frame;
  }

  #shift(): void {
    do {
      this.#emit(this.#high >> 16);
      this.#low = (this.#low << 8) & TOP;
      this.#high = ((this.#high << 8) & TOP) | 0xff;
    } while (((this.#low ^ this.#high) & 0xff0000) === 0);
  }

  #emit(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }
}

/** Hot: every frame. Never fails and never reads outside the bytes given: what they mean is the caller's to judge. */
export class RangeDecoder implements BitCoder {
  #low = 0;
  #high = TOP;
  #code = 0;
  #bytes: Uint8Array = NO_BYTES;
  #at = 0;
  #end = 0;

  /** Begins to read the code in bytes [from, end). */
  start(bytes: Uint8Array, from: number, end: number): void {
    this.#end = end;
    this.#low = 0;
    this.#high = TOP;
    this.#bytes = bytes;
    this.#at = from;
    this.#code = (this.#next() << 16) | (this.#next() << 8) | this.#next();
  }

  bit(models: Uint16Array, at: number): number {
    const p = models[at] ?? 0;
    const middle = this.#low + (((this.#high - this.#low) * p * (1 / 65536)) | 0);
    let value = 0;
    if (this.#code <= middle) {
      value = 1;
      this.#high = middle;
      models[at] = p + ((65535 - p) >> RATE);
    } else {
      this.#low = middle + 1;
      models[at] = p - (p >> RATE);
    }
    if (((this.#low ^ this.#high) & 0xff0000) === 0) this.#shift();
    return value;
  }

  fairBits(count: number): number {
    if (this.#high - this.#low < MIN_FAIR) return this.#singly(count);
    const step = (this.#high - this.#low + 1) >> count;
    // No encoder ends up in what the division leaves over; a hostile code may.
    const value = Math.min(((this.#code - this.#low) / step) | 0, (1 << count) - 1);
    this.#low += step * value;
    this.#high = this.#low + step - 1;
    if (((this.#low ^ this.#high) & 0xff0000) === 0) this.#shift();
    return value;
  }

  #singly(count: number): number {
    let value = 0;
    for (let at = 0; at < count; at += 1) {
      const middle = this.#low + ((this.#high - this.#low) >> 1);
      const isOne = this.#code <= middle;
      value = (value << 1) | (isOne ? 1 : 0);
      if (isOne) this.#high = middle;
      else this.#low = middle + 1;
      if (((this.#low ^ this.#high) & 0xff0000) === 0) this.#shift();
    }
    return value;
  }

  /** Bytes that were there but that no decision needed; 0 for what the encoder wrote. Lets go of the bytes. */
  finish(): number {
    // Three bytes are always read ahead; the encoder's last byte lies among them.
    const unused = this.#end - (this.#at - 2);
    this.#bytes = NO_BYTES;
    return Math.max(0, unused);
  }

  #shift(): void {
    do {
      this.#low = (this.#low << 8) & TOP;
      this.#high = ((this.#high << 8) & TOP) | 0xff;
      this.#code = ((this.#code << 8) & TOP) | this.#next();
    } while (((this.#low ^ this.#high) & 0xff0000) === 0);
  }

  #next(): number {
    const at = this.#at;
    this.#at = at + 1;
    return at < this.#end ? (this.#bytes[at] ?? 0) : 0;
  }
}
