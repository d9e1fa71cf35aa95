// Small messages written one by one cost a system call each, and wake the reader each time. Gathered, those of one turn of
// the event loop leave together at its end.
import type { Duplex } from 'node:stream';

/** So much is passed on before the turn is over: the writer's own bound counts what has not been passed on. */
const GATHERED_MAX_BYTES = 256 * 1024;

/** Gives a function to be called before each write to the channel. What is written is not on its way when that returns. */
export function gatherWrites(channel: Duplex): () => void {
  let gathering = false;
  return () => {
    if (gathering) {
      if (channel.writableLength < GATHERED_MAX_BYTES) return;
      channel.uncork();
      channel.cork();
      return;
    }
    gathering = true;
    channel.cork();
    setImmediate(() => {
      gathering = false;
      channel.uncork();
    });
  };
}
