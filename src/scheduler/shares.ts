// What there is a bounded number of, shared among users: nobody alone takes all of it from the others.
import type { Caller } from '../protocol/role.ts';

export interface Shares {
  /** Returns the function that gives it back; null where this user has as many as one may have. */
  take(caller: Pick<Caller, 'user'>): (() => void) | null;
}

/** `most`: how many one user may have at the same time. */
export function createShares(most: number): Shares {
  const byUser = new Map<string, number>();
  return {
    take({ user }) {
      const taken = byUser.get(user) ?? 0;
      if (taken >= most) return null;
      byUser.set(user, taken + 1);
      let isHeld = true;
      return () => {
        if (!isHeld) return;
        isHeld = false;
        const rest = (byUser.get(user) ?? 1) - 1;
        if (rest === 0) byUser.delete(user);
        else byUser.set(user, rest);
      };
    },
  };
}
