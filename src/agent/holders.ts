// Views of held jobs that others of the agent's rooms ask for.
import type { HeldJob } from '../protocol/control.ts';
import { ATTEMPT_HEADER } from '../protocol/file-api.ts';

/** Jobs by the device that they hold: looked up once per device of a page. */
export function holdersOf(held: readonly HeldJob[]): (id: string) => readonly string[] {
  const holders = new Map<string, string[]>();
  for (const { jobId, devices } of held)
    for (const id of devices ?? []) holders.set(id, [...(holders.get(id) ?? []), jobId]);
  return (id) => holders.get(id) ?? [];
}

/** What opens the scheduler's store of files for an attempt; null without a session. */
export function fileHeaders(
  ticket: string | null,
  jobId: string,
  epoch: number,
): Record<string, string> | null {
  return ticket === null
    ? null
    : { authorization: `Bearer ${ticket}`, [ATTEMPT_HEADER]: `${jobId}.${epoch}` };
}
