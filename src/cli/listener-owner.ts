// Who listens at a port of this machine, by the kernel's table: the token of a state directory opens everything, and over
// plain loopback nothing else tells the scheduler from whoever took its port while it was away.
import { statSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import { readText } from '../base/text-file.ts';

const LISTENS = '0A';
/** What a user who has no name here looks like. */
const UNMAPPED = 65_534;

/** Users who listen at this port, by the text of /proc/net/tcp or tcp6. */
export function listenersAt(port: number, table: string): readonly number[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const users: number[] = [];
  for (const line of table.split('\n').slice(1)) {
    const [, local, , state, , , , user] = line.trim().split(/\s+/);
    if (state === LISTENS && local?.endsWith(`:${wanted}`) === true) users.push(Number(user));
  }
  return users;
}

/**
 * Throws Fault TOKEN_STRANGER where a user listens at this URL of this machine who is neither the owner of the token's file,
 * nor who asks, nor root. Where the kernel does not tell, nothing is refused.
 */
export function requireOwnListener(url: string, tokenFile: string, procRoot = '/proc'): void {
  const { protocol, port } = new URL(url);
  if (protocol !== 'http:') return;
  const known = new Set([0, UNMAPPED, process.getuid?.() ?? 0, ownerOf(tokenFile) ?? 0]);
  for (const table of ['tcp', 'tcp6']) {
    const users = listenersAt(Number(port || 80), readText(`${procRoot}/net/${table}`) ?? '');
    const stranger = users.find((user) => !known.has(user));
    if (stranger === undefined) continue;
    throw new Fault(
      'TOKEN_STRANGER',
      `user ${stranger} listens at ${url}, and the token in ${tokenFile} is not theirs`,
      {
        field: 'scheduler',
        remedy:
          'start the scheduler again; if it is run by that user, name a token of yours with --token-file PATH',
      },
    );
  }
}

function ownerOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.uid ?? null;
}
