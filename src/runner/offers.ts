// Which executors this node offers: asked anew for each hello, since a container runtime may come and go.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Executor } from '../job/executor/executor.ts';

const TEXT_MAX = 1024;
/** How long the first hello waits for executors that are still being looked at. */
export const OFFERS_DEADLINE_MS = 2000;

export interface Offers {
  /** The executors that work now, and a sentence for each that does not. */
  offered(): { readonly executors: readonly string[]; readonly limitations: readonly string[] };
  /** Resolves when all are looked at, or after the deadline. Never rejects. */
  settled(): Promise<void>;
}

export function createOffers(executors: readonly Executor[], clock: Clock, log: Log): Offers {
  const said = new Map<string, string | null>();

  function note(name: string, problem: string | null): void {
    if (said.get(name) === problem) return;
    const worked = said.get(name) === null;
    said.set(name, problem);
    if (problem === null) return;
    // One that never worked here is among what the node says of itself, which `flopd up` prints; a loss is news.
    const text = `no jobs through this executor: ${problem}`;
    if (worked) log.warn({ executor: name }, text);
    else log.info({ executor: name }, text);
  }

  return {
    offered() {
      const names: string[] = [];
      const limitations: string[] = [];
      for (const executor of executors) {
        const problem = executor.probe();
        note(executor.name, problem);
        if (problem === null) names.push(executor.name);
        else limitations.push(`executor ${executor.name}: ${problem}`.slice(0, TEXT_MAX));
      }
      return { executors: names, limitations };
    },

    async settled() {
      const deadline = new Promise<void>((resolve) => clock.after(OFFERS_DEADLINE_MS, resolve));
      await Promise.race([Promise.all(executors.map((executor) => executor.probed?.())), deadline]);
    },
  };
}
