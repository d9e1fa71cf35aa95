// Whether the disk of the jobs takes anything, asked now and then, so that a node says that it takes no orders before it has
// refused one. Never waits for that disk: one question at a time, and one that stays open is an answer too.
import type { Clock } from '../base/clock.ts';

const LOOK_MS = 5000;
/** Sooner while there is something wrong: jobs wait for its end. */
const LOOK_AGAIN_MS = 1000;
/** Looks for which a question may be open. */
const PATIENCE = 3;

export interface SpaceWatch {
  /** What was found last, a clause; null where all is well, and before anything is known. */
  problem(): string | null;
  close(): void;
}

/** `find` never rejects. */
export function createSpaceWatch(find: () => Promise<string | null>, clock: Clock): SpaceWatch {
  let problem: string | null = null;
  /** Looks since the open question was asked; null while there is none. */
  let open: number | null = null;

  function look(): void {
    ask();
    timer = clock.after(problem === null ? LOOK_MS : LOOK_AGAIN_MS, look);
  }

  function ask(): void {
    if (open !== null) {
      open += 1;
      if (open > PATIENCE) problem = 'its disk does not answer';
      return;
    }
    open = 0;
    void find().then((found) => {
      open = null;
      problem = found;
    });
  }

  ask();
  let timer = clock.after(LOOK_MS, look);
  return { problem: () => problem, close: () => timer.cancel() };
}
