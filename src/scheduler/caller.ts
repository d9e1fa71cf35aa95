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

/**
 * Where the request comes from. A program of this machine that dials one of its own addresses comes from that very
 * address, which nobody outside can: it is told as loopback.
 */
export function peerAddress({ socket }: Pick<IncomingMessage, 'socket'>): string | undefined {
  const { remoteAddress, localAddress } = socket;
  return remoteAddress !== undefined && remoteAddress === localAddress ? '127.0.0.1' : remoteAddress;
}

/** True for loopback addresses. */
export function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  return plain === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(plain);
}
