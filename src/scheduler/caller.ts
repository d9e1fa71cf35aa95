// Who may speak to the scheduler's port at all: against pages of other origins in a browser on this machine, and
// against names that are made to point here (DNS rebinding).
import type { IncomingMessage } from 'node:http';

const LOOPBACK_NAMES = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Why the request is not for us, or null. `listenHost` is the host that the server was told to listen on. */
export function callerProblem(request: IncomingMessage, listenHost: string): string | null {
  const { host, origin } = request.headers;
  if (host === undefined || !isOurs(host, listenHost)) return 'the Host header does not name this scheduler';
  if (origin === undefined) return null;
  return origin === `http://${host}` || origin === `https://${host}`
    ? null
    : 'the request comes from a page of another origin';
}

/** Name and any port: behind a tunnel the port is another one. */
function isOurs(host: string, listenHost: string): boolean {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:]+)(?::\d{1,5})?$/.exec(host);
  const name = match?.[1]?.toLowerCase();
  if (name === undefined) return false;
  return (
    LOOPBACK_NAMES.has(name) || name === listenHost.toLowerCase() || name === `[${listenHost.toLowerCase()}]`
  );
}

/** True for addresses of this machine itself. */
export function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  return plain === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(plain);
}
