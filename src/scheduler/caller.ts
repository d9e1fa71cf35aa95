// Who may speak to the scheduler's port at all: against pages of other origins in a browser on this machine, and
// against names that are made to point here (DNS rebinding).
import type { IncomingMessage } from 'node:http';
import type { OwnNames } from './own-names.ts';

/** Why the request is not for us, or null. */
export function callerProblem(request: IncomingMessage, ownNames: OwnNames): string | null {
  const { host, origin } = request.headers;
  if (host === undefined || !isOurs(host, ownNames)) return 'the Host header does not name this scheduler';
  if (origin === undefined) return null;
  // Over TLS no page that came without it is one of ours.
  const isOwn = origin === `https://${host}` || (!isEncrypted(request) && origin === `http://${host}`);
  return isOwn ? null : 'the request comes from a page of another origin';
}

function isEncrypted({ socket }: IncomingMessage): boolean {
  return 'encrypted' in socket && socket.encrypted === true;
}

/** Name and any port: behind a tunnel the port is another one. */
function isOurs(host: string, ownNames: OwnNames): boolean {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:]+)(?::\d{1,5})?$/.exec(host);
  return match?.[1] !== undefined && ownNames.has(match[1]);
}

/** True for loopback addresses. */
export function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  return plain === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(plain);
}

interface Ends {
  readonly remoteAddress?: string | undefined;
  readonly localAddress?: string | undefined;
}

/** Whether a connection comes from this machine itself: over loopback, or to one of its addresses from the same one. */
export function isFromHere({ remoteAddress, localAddress }: Ends): boolean {
  return isLoopbackAddress(remoteAddress) || (remoteAddress !== undefined && remoteAddress === localAddress);
}

/** What a proxy adds to a request that it passes on. */
const PASSED_ON = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via'];

/** Whether a request comes from this machine itself: what a proxy here passes on for others does not. */
export function isAskedHere({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): boolean {
  return isFromHere(socket) && !isPassedOn(headers);
}

/** The address of who asks; undefined where a proxy on this machine passes it on for others. */
export function askerOf({
  socket,
  headers,
}: Pick<IncomingMessage, 'socket' | 'headers'>): string | undefined {
  return isFromHere(socket) && isPassedOn(headers) ? undefined : addressOf(socket);
}

function isPassedOn(headers: IncomingMessage['headers']): boolean {
  return PASSED_ON.some((name) => headers[name] !== undefined);
}

/** The address of the peer; that of loopback for this machine itself, whichever of its addresses it came by. */
export function addressOf(ends: Ends): string | undefined {
  return isFromHere(ends) ? '127.0.0.1' : ends.remoteAddress;
}
