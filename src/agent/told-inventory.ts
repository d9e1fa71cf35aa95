// The inventory as a hello tells it: facts of the host, and what the job room offers now.
import type { Inventory } from '../protocol/control.ts';
import type { Offered } from '../runner/job-room.ts';

const SENTENCES_MAX = 32;
const CHARACTERS_MAX = 1024;

/** In safe mode nothing may be ordered, and what could not be taken up is said. */
export function toldInventory(
  inventory: Inventory,
  safeMode: string | null,
  { executors, problems, limitations, dataClasses, readsProofs }: Offered,
): Inventory {
  const said = [
    ...(safeMode === null ? [] : [safeMode]),
    ...problems,
    ...limitations,
    ...inventory.limitations,
  ];
  return {
    ...inventory,
    executors: safeMode === null ? [...executors] : [],
    dataClasses: [...dataClasses],
    ...(readsProofs === true ? { passesProofs: true } : {}),
    limitations: said.map((sentence) => sentence.slice(0, CHARACTERS_MAX)).slice(0, SENTENCES_MAX),
  };
}
