// Who may do what at the scheduler. Each role may also do what those before it may.
//
//   viewer     sees nodes and devices, and that there are jobs; no environment, no output
//   submitter  submits; sees all of its own jobs, their output and files; cancels and enters them
//   operator   the same with everybody's jobs; drains, resumes and removes nodes
//   admin      users, join tokens, keys, audit
export const roles = ['viewer', 'submitter', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

/** Who asks, as known by a token. */
export interface Caller {
  /** Name of the user; `local` for the token of the scheduler's own state directory. */
  readonly user: string;
  readonly role: Role;
  /** Public id of the token; null for the local one. */
  readonly tokenId: string | null;
}

/** Whether one who is `role` may do what needs `least`. */
export function isAtLeast(role: Role, least: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(least);
}
