// Whether the disk of the jobs takes anything, asked now and then, so that a node says that it takes no orders before it has
// refused one. Never waits for that disk: one question at a time, and one that stays open is an answer too.
import { type Clock, every } from '../base/clock.ts';

const LOOK_MS = 5000;
/** Looks that a question may be open for. */
const PATIENCE = 3;

export interface SpaceWatch {
  /** What was found last, a clause; null where all is well, and before anything is known. */
  problem(): string | null;
  close(): void;
}

/** `look` never rejects. */
export function createSpaceWatch(look: () => Promise<string | null>, clock: Clock): SpaceWatch {
  let problem: string | null = null;
  /** Looks since the open question was asked; null while there is none. */
  let open: number | null = null;

  function ask(): void {
    if (open !== null) {
      open += 1;
      if (open > PATIENCE) problem = 'its disk does not answer';
      return;
    }
    open = 0;
    void look().then((found) => {
      open = null;
      problem = found;
    });
  }

  ask();
  const timer = every(clock, LOOK_MS, ask);
  return { problem: () => problem, close: () => timer.cancel() };
}
