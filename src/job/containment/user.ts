// Users of jobs: each attempt gets a user and group id that no other held attempt has. The journal remembers which,
// and an id is free again only when the attempt's folder is gone, since that holds files of this user.
import { readText } from '../../base/text-file.ts';

export interface IdRange {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
}

/** The next free id after `last`, going round; null when all are held. */
export function chooseUser(range: IdRange, held: ReadonlySet<number>, last: number | null): number | null {
  const size = range.to - range.from + 1;
  const first = last === null || last < range.from || last > range.to ? 0 : last - range.from + 1;
  for (let step = 0; step <= held.size && step < size; step++) {
    const id = range.from + ((first + step) % size);
    if (!held.has(id)) return id;
  }
  return null;
}

/** Whether all ids of a range exist in the user namespace whose `uid_map` or `gid_map` this is. */
export function mapsRange(map: string, { from, to }: IdRange): boolean {
  return map.split('\n').some((line) => {
    const [inside, , count] = line.trim().split(/\s+/).map(Number);
    return inside !== undefined && count !== undefined && from >= inside && to < inside + count;
  });
}

/** Why this process cannot give jobs users of the range, or null. `procRoot` stands for /proc. */
export function whyNoUsers(range: IdRange, isRoot: boolean, procRoot: string): string | null {
  if (!isRoot) return 'the agent is not root';
  for (const file of ['uid_map', 'gid_map'])
    if (!mapsRange(readText(`${procRoot}/self/${file}`) ?? '', range))
      return 'this user namespace has no ids of jobs.userRange';
  return null;
}
