// Whose a job is, and who may do more with it than see that it is there: its owner, and operators. Pure.
import { Fault } from '../../base/fault.ts';
import { type Caller, isAtLeast, type Role } from '../../protocol/role.ts';
import type { JobRecord } from '../queue/queue.ts';

/** Whether the caller may see all of the job, its output and files, cancel and enter it. */
export function isOwn(caller: Caller, job: Pick<JobRecord, 'owner'>): boolean {
  if (isAtLeast(caller.role, 'operator')) return true;
  return isAtLeast(caller.role, 'submitter') && job.owner !== null && job.owner === caller.user;
}

/** Throws Fault API_ROLE. */
export function requireRole(caller: Caller, least: Role): void {
  if (isAtLeast(caller.role, least)) return;
  throw new Fault('API_ROLE', `this needs the role ${least}; ${caller.user} is ${caller.role}`, {
    remedy: `ask an admin for it: flopd user role ${caller.user} ${least}`,
  });
}

/** Throws Fault API_NOT_OWNER. */
export function requireOwn(caller: Caller, job: Pick<JobRecord, 'id' | 'owner'>): void {
  if (isOwn(caller, job)) return;
  throw new Fault(
    'API_NOT_OWNER',
    `${job.id} belongs to ${job.owner ?? 'nobody who is known'}, not to ${caller.user}`,
    { remedy: 'ask its owner, or an operator' },
  );
}
